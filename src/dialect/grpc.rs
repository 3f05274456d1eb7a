//! Refusals of gRPC calls in every dialect. gRPC clients do not read an HTTP body.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use voxgate_core::denial::DenialKind;

use super::refusal::sentence;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `grpc-message` contains printable ASCII except `%` unchanged.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether these are the headers of a gRPC call (`application/grpc`, with or without a suffix).
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| {
        let Some((start, rest)) = value.split_at_checked("application/grpc".len()) else {
            return false;
        };
        // `application/grpc-web` is another protocol.
        let is_whole = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        is_whole && start.eq_ignore_ascii_case(b"application/grpc")
    })
}

/// A trailers-only answer: HTTP 200, with the status among the headers
/// (gRPC over HTTP/2, *Responses*).
pub(super) fn refuse(kind: DenialKind) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status(kind)));
    let message = utf8_percent_encode(sentence(kind), ENCODED).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The gRPC status code for this kind of denial, after the *HTTP to gRPC Status Code Mapping*. The
/// exceptions are 413 and 429, which become 8.
pub(super) fn status(kind: DenialKind) -> u16 {
    match kind.status().as_u16() {
        400 => 3,              // INVALID_ARGUMENT
        401 => 16,             // UNAUTHENTICATED
        403 => 7,              // PERMISSION_DENIED
        404 | 405 | 501 => 12, // UNIMPLEMENTED
        413 | 429 => 8,        // RESOURCE_EXHAUSTED
        500 => 13,             // INTERNAL
        _ => 14,               // UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_trailers_only() {
        for (kind, code, message) in [
            (
                DenialKind::MissingCredential,
                "16",
                "The API key is missing.",
            ),
            (
                DenialKind::UnknownCredential,
                "16",
                "The API key is invalid.",
            ),
            (
                DenialKind::InsufficientScope,
                "7",
                "The API key does not have access to this resource.",
            ),
            (
                DenialKind::RateLimited,
                "8",
                "Too many requests; retry later.",
            ),
            (
                DenialKind::Unavailable,
                "14",
                "The service is unavailable; retry later.",
            ),
            (DenialKind::InternalError, "13", "The gateway failed."),
            (
                DenialKind::UpstreamUnreachable,
                "14",
                "The TTS server cannot be reached.",
            ),
            (
                DenialKind::UpstreamTimeout,
                "14",
                "The TTS server did not answer in time.",
            ),
        ] {
            let response = refuse(kind);
            assert_eq!(response.status(), 200, "{kind:?}");
            assert_eq!(response.headers()["grpc-status"], code, "{kind:?}");
            assert_eq!(response.headers()["grpc-message"], message, "{kind:?}");
            assert!(response.body().is_empty());
        }
    }

    #[test]
    fn grpc_is_recognized_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;x", true),
            ("application/json", false),
            ("application/grp", false),
            ("application/grpc-web+proto", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), expected, "{content_type}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
