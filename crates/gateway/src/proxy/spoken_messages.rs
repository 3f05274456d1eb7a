//! Checks the voice of each message of a WebSocket, and counts its text.

use http::{Request, StatusCode};
use serde_json::json;
use voxgate::{DenialKind, Dialect, SpeechSession, speech};
use voxgate_websocket::{CredentialFormat, Message, MessageKind, VendorError};

use super::accepted::Accepted;
use super::message_credentials::answers_in_binary;
use super::tunnel::{Inspect, Refusal};

/// Policy violation (RFC 6455 §7.4.1).
const POLICY_VIOLATION: u16 = 1008;

/// KugelAudio's code for an account without credits (`kugelaudio` 2.7.0, `exceptions`).
const INSUFFICIENT_CREDITS: u16 = 4003;

/// The messages of one WebSocket, if its key or its meter asks for them.
pub(super) struct SpokenMessages {
    session: SpeechSession,
    refusals: MessageRefusals,
}

impl SpokenMessages {
    /// `None` if nothing asks for the messages of this request.
    pub(super) fn of<B>(request: &mut Request<B>, accepted: &Accepted) -> Option<Self> {
        let session = request.extensions_mut().remove::<SpeechSession>()?;
        let refusals = MessageRefusals {
            dialect: accepted.dialect,
            binary: answers_in_binary(request),
            request_id: accepted.request_id().to_string(),
        };
        Some(Self { session, refusals })
    }
}

impl Inspect for SpokenMessages {
    fn inspect(&mut self, message: Message) -> Result<Message, Refusal> {
        let payload = message.payload();
        let asked = match message.kind() {
            MessageKind::Text => speech::Message::Text(payload),
            MessageKind::Binary => speech::Message::Binary(payload),
        };
        match self.session.allow(asked) {
            Ok(()) => Ok(message),
            Err(kind) => Err(self.refusals.refuse(kind)),
        }
    }
}

/// How a vendor's server refuses a message.
struct MessageRefusals {
    dialect: Dialect,
    /// Whether Rime's engine answers in protobuf.
    binary: bool,
    request_id: String,
}

impl MessageRefusals {
    /// Closes with the vendor's code, or with 1008. Vendors whose clients read an error from a
    /// message are sent one before.
    fn refuse(&self, kind: DenialKind) -> Refusal {
        let message = match self.dialect {
            Dialect::Rime => Some(self.error(CredentialFormat::Rime, rime_kind(kind), kind)),
            Dialect::ElevenLabs => {
                Some(self.error(CredentialFormat::ElevenLabs, elevenlabs_kind(kind), kind))
            }
            Dialect::Kugel => Some(self.kugel_error(kind)),
            _ => None,
        };
        let code = match (self.dialect, kind) {
            (Dialect::Kugel, DenialKind::QuotaExhausted) => INSUFFICIENT_CREDITS,
            _ => POLICY_VIOLATION,
        };
        Refusal::new(kind.as_str(), code, message)
    }

    fn error(&self, format: CredentialFormat, word: &str, kind: DenialKind) -> Message {
        let error = VendorError {
            kind: word,
            message: kind.sentence(),
            request_id: Some(&self.request_id),
            close_code: POLICY_VIOLATION,
        };
        format.error(error, self.binary)
    }

    /// The error frame that `kugelaudio` 2.7.0 reads (`exceptions.classify_ws_frame`).
    fn kugel_error(&self, kind: DenialKind) -> Message {
        let (status, word) = match kind {
            DenialKind::QuotaExhausted => (StatusCode::PAYMENT_REQUIRED, "INSUFFICIENT_CREDITS"),
            _ => match kind.status() {
                status @ StatusCode::FORBIDDEN => (status, "FORBIDDEN"),
                status if status.is_server_error() => (status, "SERVICE_UNAVAILABLE"),
                status => (status, "VALIDATION_ERROR"),
            },
        };
        let content = json!({
            "error": kind.sentence(),
            "error_code": word,
            "code": status.as_u16(),
            "request_id": self.request_id,
        });
        Message::text(content.to_string())
    }
}

/// A kind of <https://docs.rime.ai/docs/on-prem/protocols>.
fn rime_kind(kind: DenialKind) -> &'static str {
    match (kind, kind.status()) {
        (DenialKind::QuotaExhausted, _) => "resource_exhausted",
        (_, StatusCode::FORBIDDEN) => "permission_denied",
        (_, status) if status.is_server_error() => "unavailable",
        _ => "invalid_input",
    }
}

/// A status of <https://help.elevenlabs.io/hc/en-us/articles/19572237925521>.
fn elevenlabs_kind(kind: DenialKind) -> &'static str {
    match (kind, kind.status()) {
        (DenialKind::QuotaExhausted, _) => "quota_exceeded",
        (DenialKind::VoiceNotAllowed | DenialKind::VoiceNotSeen, _) => "voice_not_found",
        (_, StatusCode::FORBIDDEN) => "missing_permissions",
        (_, status) if status.is_server_error() => "system_busy",
        _ => "invalid_request",
    }
}
