//! Answers to proxies.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::changes::Changes;
use crate::proxy::Proxy;

const TARGET: HeaderName = HeaderName::from_static("x-voxgate-target");
const STATUS: HeaderName = HeaderName::from_static("x-voxgate-status");
const BODY: HeaderName = HeaderName::from_static("x-voxgate-body");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The longest refusal that goes into a header. nginx reads headers of an answer into 4 KiB by default.
const MOST_IN_HEADER: usize = 2048;

/// The body of an answer: a few bytes, and the trailers of gRPC.
#[derive(Debug, Default)]
pub struct AnswerBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl AnswerBody {
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    pub(crate) fn new(data: Bytes) -> Self {
        Self {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers: None,
        }
    }

    pub(crate) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self {
            trailers: Some(trailers),
            ..Self::new(data)
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// A refusal in the words of the vendor.
pub(crate) struct Refused {
    /// Never a success: proxies would read it as an acceptance.
    pub(crate) status: StatusCode,
    /// The vendor's status, also if it is a success, as refusals of gRPC are.
    vendors: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Refused {
    pub(crate) fn new(refusal: Response<Bytes>) -> Self {
        let (mut head, body) = refusal.into_parts();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(CONNECTION);
        let is_refusal = head.status.is_client_error() || head.status.is_server_error();
        let status = match is_refusal {
            true => head.status,
            false => http_of(&head.headers),
        };
        Self {
            status,
            vendors: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The code of gRPC (`google/rpc/code.proto`).
    pub(crate) fn grpc_code(&self) -> i32 {
        match self.status.as_u16() {
            401 => 16,
            429 => 8,
            500..=599 => 14,
            _ => 7,
        }
    }

    /// The answer to a proxy that asks over HTTP.
    pub(crate) fn into_http(self, proxy: Proxy) -> Response<AnswerBody> {
        let Self {
            status,
            vendors,
            mut headers,
            body,
        } = self;
        // nginx knows only these two; every other status is an error of its own.
        let shown = match (proxy, status) {
            (Proxy::Nginx, StatusCode::UNAUTHORIZED) => status,
            (Proxy::Nginx, _) => StatusCode::FORBIDDEN,
            _ => status,
        };
        if proxy == Proxy::Nginx {
            headers.insert(STATUS, status.as_u16().into());
            // nginx drops the body of the answer. A variable can have a header.
            let in_header = Some(&body).filter(|body| body.len() <= MOST_IN_HEADER);
            if let Some(text) = in_header.and_then(|body| HeaderValue::from_bytes(body).ok()) {
                headers.insert(BODY, text);
            }
        } else if vendors != status {
            headers.insert(STATUS, vendors.as_u16().into());
        }
        let mut response = Response::new(AnswerBody::new(body));
        *response.status_mut() = shown;
        *response.headers_mut() = headers;
        response
    }
}

/// The status of HTTP for a refusal of gRPC, the other way round than gRPC itself maps statuses
/// (`doc/http-grpc-status-mapping.md` of gRPC).
fn http_of(headers: &HeaderMap) -> StatusCode {
    let code = headers.get(GRPC_STATUS).map(HeaderValue::as_bytes);
    match code {
        Some(b"16") => StatusCode::UNAUTHORIZED,
        Some(b"8") => StatusCode::TOO_MANY_REQUESTS,
        Some(b"14") => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// The answer about an accepted request, to a proxy that asks over HTTP.
pub(crate) fn accept(changes: Changes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    let headers = response.headers_mut();
    for (name, value) in changes.set {
        headers.append(name, value);
    }
    if let Ok(target) = HeaderValue::try_from(changes.target) {
        headers.insert(TARGET, target);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &[(&'static str, &'static str)]) -> Refused {
        let mut refusal = Response::new(Bytes::from_static(b"{\"error\":\"no\"}"));
        *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            refusal
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        Refused::new(refusal)
    }

    #[test]
    fn no_refusal_is_a_success() {
        for proxy in [
            Proxy::Nginx,
            Proxy::Traefik,
            Proxy::Caddy,
            Proxy::Haproxy,
            Proxy::EnvoyHttp,
        ] {
            for status in (200..=599).filter(|status| status % 7 == 0 || *status < 210) {
                for code in ["0", "7", "16"] {
                    let refused = refused(status, &[("grpc-status", code)]);
                    assert_ne!(refused.grpc_code(), 0);
                    let shown = refused.into_http(proxy).status().as_u16();
                    assert!(shown >= 400, "{proxy:?} {status} {code}: {shown}");
                }
            }
        }
    }

    #[test]
    fn nginx_gets_the_status_and_the_body_in_headers() {
        let answer = refused(429, &[("retry-after", "1")]).into_http(Proxy::Nginx);
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.headers()["x-voxgate-status"], "429");
        assert_eq!(answer.headers()["x-voxgate-body"], "{\"error\":\"no\"}");
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(refused(401, &[]).into_http(Proxy::Nginx).status(), 401);
        let answer = refused(429, &[]).into_http(Proxy::Traefik);
        assert_eq!(answer.status(), 429);
        assert!(!answer.headers().contains_key("x-voxgate-body"));
    }
}
