//! Clients that close their side of a connection and read on (`shutdown(SHUT_WR)`).
//!
//! The end of what a client sends looks the same whether the client reads on or has gone. A client that
//! announced its last request has nothing more to send (RFC 9112 §9.6), so that its end is no sign that
//! it has gone; it is served, and found out when a write fails. Any other client has gone, and its
//! request is broken off, which frees the TTS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::header::CONNECTION;
use http::{Request, Version};

/// Whether a client has ended its side of an HTTP/1.1 connection. Cloning shares it.
///
/// The connection and the body of its request are polled by different tasks. The connection hides the
/// end after it has passed on every byte before it, and then wakes the body. A body that still waits
/// waits in vain.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientEnd(Arc<ClientEndState>);

#[derive(Debug, Default)]
struct ClientEndState {
    is_last_request: AtomicBool,
    has_ended: AtomicBool,
    body: AtomicWaker,
}

impl ClientEnd {
    /// Notes a request. Returns a handle for its body if it is the last one.
    pub(crate) fn request<B>(&self, request: &Request<B>) -> Option<Self> {
        let is_last = is_last(request);
        self.0.is_last_request.store(is_last, Ordering::Relaxed);
        is_last.then(|| self.clone())
    }

    /// Whether the end of what the client sends is left unseen. If so, a body that waits is woken.
    pub(super) fn hide(&self) -> bool {
        let hides = self.0.is_last_request.load(Ordering::Relaxed);
        if hides {
            self.0.has_ended.store(true, Ordering::Release);
            self.0.body.wake();
        }
        hides
    }

    /// Whether the client has ended its side. If not, `body` is woken when it does. What the client
    /// sent before is with the body when this returns true.
    pub(crate) fn has_ended(&self, body: &Waker) -> bool {
        self.0.body.register(body);
        self.0.has_ended.load(Ordering::Acquire)
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
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

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
    fn a_body_that_waits_for_the_client_is_woken() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let end = ClientEnd::default();
        let body = end.request(&request(Version::HTTP_11, "close"));
        let body = body.expect("the last request");
        assert!(!body.has_ended(&waker));
        assert!(end.hide());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(body.has_ended(&waker), "there comes nothing more");
    }
}
