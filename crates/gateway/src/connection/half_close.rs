//! Clients that close their side of a connection and read on (`shutdown(SHUT_WR)`).
//!
//! The end of what a client sends looks the same whether the client reads on or has gone. A client that
//! announced its last request has nothing more to send (RFC 9112 §9.6), so that its end is no sign that
//! it has gone; it is served, and found out when a write fails. Any other client has gone, and its
//! request is broken off, which frees the TTS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::header::CONNECTION;
use http::{Request, Version};

/// Whether a client has ended its side of an HTTP/1.1 connection. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientEnd(Arc<ClientEndState>);

#[derive(Debug, Default)]
struct ClientEndState {
    is_last_request: AtomicBool,
    body_waits: AtomicBool,
    has_ended: AtomicBool,
}

impl ClientEnd {
    /// Notes a request. Returns a handle for its body if it is the last one.
    pub(crate) fn request<B>(&self, request: &Request<B>) -> Option<Self> {
        let is_last = is_last(request);
        self.0.is_last_request.store(is_last, Relaxed);
        is_last.then(|| self.clone())
    }

    /// Whether the end of what the client sends can be left unseen, which it then is.
    pub(super) fn hide(&self) -> bool {
        let state = &self.0;
        let hides = state.is_last_request.load(Relaxed) && !state.body_waits.load(Relaxed);
        state.has_ended.store(hides, Relaxed);
        hides
    }

    /// Notes whether the request's body waits for the client. Returns whether it waits in vain.
    pub(crate) fn body_waits(&self, waits: bool) -> bool {
        self.0.body_waits.store(waits, Relaxed);
        waits && self.0.has_ended.load(Relaxed)
    }
}

/// Whether the client sends no more requests on this connection.
fn is_last<B>(request: &Request<B>) -> bool {
    let options = request.headers().get_all(CONNECTION);
    let has = |option: &str| {
        let mut options = options.iter().filter_map(|value| value.to_str().ok());
        options.any(|value| {
            let mut names = value.split(',');
            names.any(|name| name.trim().eq_ignore_ascii_case(option))
        })
    };
    match request.version() {
        Version::HTTP_10 => !has("keep-alive"),
        Version::HTTP_11 => has("close"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, connection: &str) -> Request<()> {
        let request = Request::builder().version(version);
        let request = request.header(CONNECTION, connection);
        request.body(()).expect("a request")
    }

    #[test]
    fn only_the_last_request_outlives_the_clients_end() {
        for (version, connection, expected) in [
            (Version::HTTP_11, "close", true),
            (Version::HTTP_11, "te, Close", true),
            (Version::HTTP_11, "keep-alive", false),
            (Version::HTTP_10, "x", true),
            (Version::HTTP_10, "keep-alive", false),
            (Version::HTTP_2, "close", false),
        ] {
            let end = ClientEnd::default();
            let body = end.request(&request(version, connection));
            assert_eq!(body.is_some(), expected, "{version:?} {connection}");
            assert_eq!(end.hide(), expected, "{version:?} {connection}");
        }
    }

    #[test]
    fn a_body_that_waits_for_the_client_ends_with_it() {
        let end = ClientEnd::default();
        let body = end.request(&request(Version::HTTP_11, "close"));
        let body = body.expect("the last request");
        assert!(!body.body_waits(true));
        assert!(!end.hide(), "the body has to see the end");
        body.body_waits(false);
        assert!(end.hide());
        assert!(body.body_waits(true), "there comes nothing more");
    }
}
