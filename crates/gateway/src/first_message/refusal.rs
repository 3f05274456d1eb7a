//! Refuses a client after its handshake, in the words of its vendor.

use http::{HeaderValue, Response, StatusCode};
use voxgate::gateway::X_REQUEST_ID;
use voxgate_websocket::{ControlFrame, CredentialFormat, Message, VendorError};

use super::handshake::Handshake;
use super::held::NoCredential;

/// What a client is told: a message in its vendor's form, and a `Close` frame.
pub(super) struct Refusal {
    message: Message,
    close: ControlFrame,
}

impl Refusal {
    /// The refusal for this answer of the authentication layer or the upstream. `failed` says why
    /// no credential was presented.
    pub(super) fn of<B>(
        handshake: &Handshake,
        response: &Response<B>,
        failed: Option<NoCredential>,
    ) -> Self {
        let status = response.status();
        let request_id = response.headers().get(X_REQUEST_ID);
        let close_code = match failed {
            Some(NoCredential::Unreadable(error)) => error.close_code(),
            _ => close_code(status),
        };
        let message = message(status, failed);
        let error = VendorError {
            kind: kind(handshake.format, status),
            message,
            request_id: request_id.and_then(|id: &HeaderValue| id.to_str().ok()),
            close_code,
        };
        Self {
            message: handshake.format.error(error, handshake.is_binary()),
            close: ControlFrame::close(close_code, message),
        }
    }

    /// The frames for the client.
    pub(super) fn frames(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        self.message.write(None, &mut frames);
        self.close.write(None, &mut frames);
        frames
    }
}

/// RFC 6455 §7.4.1, and 1013 of the IANA registry: try again later.
fn close_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        429 | 503 => 1013,
        500.. => 1011,
        _ => 1008,
    }
}

/// The vendor's word. Those of Rime's engine are in its `docs/on-prem/protocols`.
fn kind(format: CredentialFormat, status: StatusCode) -> &'static str {
    match (format, status.as_u16()) {
        (CredentialFormat::ElevenLabs, 401) => "invalid_api_key",
        (CredentialFormat::ElevenLabs, 403) => "missing_permissions",
        (CredentialFormat::ElevenLabs, 429) => "too_many_concurrent_requests",
        (_, 401) => "unauthenticated",
        (_, 403) => "permission_denied",
        (_, 404) => "not_found",
        (_, 429) => "resource_exhausted",
        (_, 405 | 501) => "unimplemented",
        (_, 504) => "timeout",
        (_, 502 | 503) => "unavailable",
        (_, 500..) => "internal",
        _ => "invalid_input",
    }
}

/// A sentence of at most 123 bytes, so that it is also the reason of the `Close` frame.
fn message(status: StatusCode, failed: Option<NoCredential>) -> &'static str {
    match (failed, status.as_u16()) {
        (Some(NoCredential::Timeout), _) => "No API key was received within ten seconds.",
        (Some(NoCredential::Evicted), _) => {
            "No API key was received, and the connection is needed."
        }
        (Some(NoCredential::Stopped), _) => "The gateway stops.",
        (Some(NoCredential::Malformed), _) => "The first message is malformed.",
        (Some(NoCredential::Unreadable(error)), _) => match error.close_code() {
            1009 => "The first message is too long.",
            _ => "The first message cannot be read.",
        },
        (_, 401) => "The API key is missing or invalid.",
        (_, 403) => "The API key does not have access to this resource.",
        (_, 404) => "There is no server for this path.",
        (_, 429) => "Too many requests; retry later.",
        (_, 502) => "The TTS server cannot be reached.",
        (_, 503) => "The service is unavailable; retry later.",
        (_, 504) => "The TTS server did not answer in time.",
        (_, 500..) => "The gateway failed.",
        _ => "The request is invalid.",
    }
}
