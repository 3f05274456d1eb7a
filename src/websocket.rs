//! Recognizes WebSocket upgrades.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

/// Whether `request` is a WebSocket handshake (RFC 6455 §4.1): a `GET` in HTTP/1.1 whose
/// `Connection` contains `upgrade` and whose only `Upgrade` is `websocket`.
#[must_use]
pub fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && upgrades_to_websocket(request.headers())
}

/// Whether these headers, of a request or a response, upgrade the connection to WebSocket.
#[must_use]
pub fn upgrades_to_websocket(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(CONNECTION).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    connection && upgrades.next().is_some_and(websocket) && upgrades.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, pairs: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method);
        for (name, value) in pairs {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn only_a_plain_websocket_upgrade_is_recognized() {
        for pairs in [
            [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
            ],
            [("connection", "upgrade"), ("upgrade", "websocket")],
        ] {
            assert!(asks_for_websocket(&request("GET", &pairs)), "{pairs:?}");
            assert!(!asks_for_websocket(&request("POST", &pairs)), "{pairs:?}");
        }
        for pairs in [
            &[("upgrade", "websocket")][..],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "h2c, websocket")],
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("upgrade", "h2c"),
            ],
            &[("connection", "xupgrade"), ("upgrade", "websocket")],
        ] {
            assert!(!asks_for_websocket(&request("GET", pairs)), "{pairs:?}");
        }
        let mut newer = request(
            "GET",
            &[("connection", "upgrade"), ("upgrade", "websocket")],
        );
        *newer.version_mut() = Version::HTTP_2;
        assert!(!asks_for_websocket(&newer));
    }
}
