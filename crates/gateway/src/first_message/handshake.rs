//! The handshake of a WebSocket that has no credential yet (RFC 6455 §4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use voxgate::gateway::RefuseAs;
use voxgate::{ClientCertificate, Dialect};
use voxgate_websocket::CredentialFormat;

use crate::proxy::{RIME_BINARY, credential_format};

/// The subprotocols of Rime's engine. It selects the first one of the client's offers that it
/// recognizes (`text_to_speech.asyncapi.yaml` in the package `rime-api` 0.4.0).
const RIME: [&str; 2] = [RIME_BINARY, "rime.v1.json"];

/// A handshake that is accepted without a credential, because the first message may hold it.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    pub(super) dialect: Dialect,
    pub(super) format: CredentialFormat,
    accept: HeaderValue,
    /// The subprotocol that the vendor's server would select.
    subprotocol: Option<&'static str>,
}

impl Handshake {
    /// `None` if the authentication layer decides about the request as it is: it asks for no
    /// WebSocket, or for one of another vendor or path, or presents a credential, or is malformed.
    pub(super) fn of<B>(dialect: Dialect, request: &Request<B>) -> Option<Self> {
        let extensions = request.extensions();
        // A client with a certificate has its credential.
        if extensions.get::<RefuseAs>().is_some() || extensions.get::<ClientCertificate>().is_some()
        {
            return None;
        }
        let dialect = dialect.of_credential_in_message(request)?;
        let format = credential_format(dialect)?;
        let headers = request.headers();
        let key = one(headers, SEC_WEBSOCKET_KEY.as_str())?;
        let is_nonce = STANDARD.decode(key.as_bytes()).ok()?.len() == 16;
        let version = one(headers, SEC_WEBSOCKET_VERSION.as_str())?;
        if !dialect.lacks_credential(request) || !is_nonce || version != "13" {
            return None;
        }
        Some(Self {
            dialect,
            format,
            accept: HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?,
            subprotocol: match format {
                CredentialFormat::Rime => {
                    offers(headers).find_map(|offer| RIME.into_iter().find(|name| *name == offer))
                }
                _ => None,
            },
        })
    }

    /// The answer to the client. No extension is agreed on.
    pub(super) fn answer(&self) -> Response<Empty<Bytes>> {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        self.write_subprotocol(headers);
        response
    }

    /// Offers the upstream what the client was told, and nothing else.
    pub(super) fn narrow(&self, headers: &mut HeaderMap) {
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
        self.write_subprotocol(headers);
    }

    fn write_subprotocol(&self, headers: &mut HeaderMap) {
        if let Some(name) = self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
    }

    /// Whether the upstream answers as the client was answered.
    pub(super) fn was_told(
        &self,
        accept: Option<&HeaderValue>,
        subprotocol: Option<&HeaderValue>,
    ) -> bool {
        let subprotocol = subprotocol.map(HeaderValue::as_bytes);
        accept == Some(&self.accept) && subprotocol == self.subprotocol.map(str::as_bytes)
    }

    /// Whether the vendor's server answers in its binary form.
    pub(super) fn is_binary(&self) -> bool {
        self.subprotocol == Some(RIME_BINARY)
    }
}

fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    fn request(path: &str) -> Request<()> {
        Request::get(path)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .body(())
            .expect("a request")
    }

    fn with(name: &'static str, value: &'static str) -> Request<()> {
        let mut request = request("/ws");
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
        request
    }

    #[test]
    fn a_handshake_is_answered_as_the_engine_answers_it() {
        for (offers, selected) in [
            (None, None),
            (Some("rime.v1.json"), Some("rime.v1.json")),
            (
                Some("x, rime.v1.binary,rime.v1.json"),
                Some("rime.v1.binary"),
            ),
            (Some("x"), None),
        ] {
            let request = match offers {
                Some(offers) => with("sec-websocket-protocol", offers),
                None => request("/ws"),
            };
            let handshake = Handshake::of(Dialect::Rime, &request).expect("accepted");
            let answer = handshake.answer();
            assert_eq!(answer.status(), 101);
            let accept = &answer.headers()["sec-websocket-accept"];
            assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            let told = answer.headers().get("sec-websocket-protocol");
            assert_eq!(told.map(HeaderValue::as_bytes), selected.map(str::as_bytes));
            assert!(!answer.headers().contains_key("sec-websocket-extensions"));
            let mut narrowed = request.headers().clone();
            handshake.narrow(&mut narrowed);
            assert_eq!(narrowed.get("sec-websocket-protocol"), told);
            assert!(handshake.was_told(Some(accept), told));
            let other = HeaderValue::from_static("other");
            assert!(!handshake.was_told(Some(&other), told));
            assert!(!handshake.was_told(Some(accept), Some(&other)));
        }
    }

    #[test]
    fn only_documented_websockets_without_a_credential_are_accepted() {
        let stream = "/v1/text-to-speech/cove/multi-stream-input";
        for (dialect, path, expected) in [
            (Dialect::Rime, "/ws", true),
            (Dialect::Auto, "/ws", true),
            (Dialect::Rime, "/ws2", false),
            (Dialect::Rime, "/", false),
            (Dialect::Rime, stream, false),
            (Dialect::ElevenLabs, stream, true),
            (Dialect::Auto, stream, true),
            (Dialect::ElevenLabs, "/v1/text-to-speech/cove", false),
            (Dialect::ElevenLabs, "/ws", false),
            (Dialect::Bearer, "/ws", false),
        ] {
            let handshake = Handshake::of(dialect, &request(path));
            assert_eq!(handshake.is_some(), expected, "{dialect} {path}");
        }
        for request in [
            with("authorization", "Bearer k"),
            with("authorization", "malformed"),
            with("sec-websocket-version", "8"),
            with("sec-websocket-key", "c2hvcnQ="),
            with("sec-websocket-key", "***"),
            with("upgrade", "h2c"),
        ] {
            assert!(Handshake::of(Dialect::Rime, &request).is_none());
        }
    }
}
