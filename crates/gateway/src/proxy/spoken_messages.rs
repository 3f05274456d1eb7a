//! Checks the voice of each message of a WebSocket, and counts its text.

use http::{Request, StatusCode};
use serde::Deserialize;
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

/// Longest context of a client in bytes that is told again.
const LONGEST_CONTEXT: usize = 256;

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
            is_version_2: request.uri().path().starts_with("/v2/"),
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
            Err(kind) => Err(self.refusals.refuse(kind, &message)),
        }
    }
}

/// How a vendor's server refuses a message.
struct MessageRefusals {
    dialect: Dialect,
    /// Whether Rime's engine answers in protobuf.
    binary: bool,
    /// Whether it is version 2 of Deepgram's API.
    is_version_2: bool,
    request_id: String,
}

impl MessageRefusals {
    /// Closes with the vendor's code, or with 1008. Vendors whose clients read an error from a
    /// message are sent one before.
    fn refuse(&self, kind: DenialKind, refused: &Message) -> Refusal {
        let message = match self.dialect {
            Dialect::Rime => Some(self.error(CredentialFormat::Rime, rime_kind(kind), kind)),
            Dialect::ElevenLabs => {
                Some(self.error(CredentialFormat::ElevenLabs, elevenlabs_kind(kind), kind))
            }
            Dialect::Kugel => Some(self.kugel_error(kind)),
            Dialect::Cartesia => Some(self.cartesia_error(kind, refused)),
            Dialect::Inworld => Some(self.inworld_error(kind)),
            Dialect::Smallest => Some(self.smallest_error(kind)),
            Dialect::Deepgram if self.is_version_2 => Some(deepgram_error(kind)),
            Dialect::OpenAi => Some(openai_error(kind)),
            // Nothing is documented for the others, and for version 1 of Deepgram.
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

    /// The event `error` of `cartesia` 4.2.0 (`types/websocket_response.py`), with the codes of its HTTP
    /// API. Clients give it to the context that it names.
    fn cartesia_error(&self, kind: DenialKind, refused: &Message) -> Message {
        let (status, code) = match (kind, kind.status()) {
            (DenialKind::QuotaExhausted, _) => (StatusCode::PAYMENT_REQUIRED, "quota_exceeded"),
            (_, status @ StatusCode::FORBIDDEN) => (status, "forbidden"),
            (_, status) if status.is_server_error() => (status, "service_unavailable"),
            (_, status) => (status, "bad_request"),
        };
        let content = json!({
            "type": "error",
            "context_id": context_of(refused),
            "done": true,
            "status_code": status.as_u16(),
            "error_code": code,
            "title": status.canonical_reason(),
            "message": kind.sentence(),
            "request_id": self.request_id,
        });
        Message::text(content.to_string())
    }

    /// An error with a gRPC status, as its HTTP API has it and `livekit-plugins-inworld` 1.8.9 reads it
    /// (`tts.py`).
    fn inworld_error(&self, kind: DenialKind) -> Message {
        let code = match (kind, kind.status()) {
            (DenialKind::QuotaExhausted, _) => 8, // RESOURCE_EXHAUSTED
            (_, StatusCode::FORBIDDEN) => 7,      // PERMISSION_DENIED
            (_, status) if status.is_server_error() => 14, // UNAVAILABLE
            _ => 3,                               // INVALID_ARGUMENT
        };
        let error = json!({ "code": code, "message": kind.sentence(), "details": [] });
        Message::text(json!({ "error": error }).to_string())
    }

    /// The message that `smallestai` 5.14.0 reads (`waves/stream_tts.py`).
    fn smallest_error(&self, kind: DenialKind) -> Message {
        let content = json!({
            "status": "error",
            "message": kind.sentence(),
            "request_id": self.request_id,
        });
        Message::text(content.to_string())
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

/// The context that a message names.
fn context_of(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        context_id: String,
    }
    let named = serde_json::from_slice::<Named>(message.payload()).ok();
    named
        .map(|named| named.context_id)
        .filter(|id| id.len() <= LONGEST_CONTEXT)
}

/// `SpeakV2Error` of `deepgram-sdk` 7.17.0. Codes are those of `speak/v2/types`.
fn deepgram_error(kind: DenialKind) -> Message {
    let code = match kind.status() {
        status if status.is_server_error() => "NET-0000",
        _ => "MESSAGE-0000",
    };
    let content = json!({ "type": "Error", "code": code, "description": kind.sentence() });
    Message::text(content.to_string())
}

/// The event `error` of <https://platform.openai.com/docs/api-reference/realtime-server-events/error>.
fn openai_error(kind: DenialKind) -> Message {
    let (class, code) = match (kind, kind.status()) {
        (DenialKind::QuotaExhausted, _) => ("insufficient_quota", "insufficient_quota"),
        (_, status) if status.is_server_error() => ("server_error", kind.as_str()),
        _ => ("invalid_request_error", kind.as_str()),
    };
    let error = json!({ "type": class, "code": code, "message": kind.sentence() });
    Message::text(json!({ "type": "error", "error": error }).to_string())
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
