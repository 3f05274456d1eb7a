//! The messages with which a vendor's server refuses a client after the handshake.

use serde_json::json;

use super::CredentialFormat;
use super::protobuf::write_field;
use crate::message::Message;

/// `WebSocketResponse.error`.
const ERROR: u64 = 7;

/// Why a client is refused.
#[derive(Clone, Copy, Debug)]
pub struct VendorError<'a> {
    /// The kind, in the vendor's words: `unauthenticated`, or `invalid_api_key`.
    pub kind: &'a str,
    /// A sentence.
    pub message: &'a str,
    /// The identifier of the request in the audit trail, if there is one.
    pub request_id: Option<&'a str>,
    /// The code of the `Close` frame that follows.
    pub close_code: u16,
}

impl CredentialFormat {
    /// The error as a message of the vendor's server. With `binary`, and if the vendor has that
    /// form, it is protobuf.
    #[must_use]
    pub fn error(self, error: VendorError<'_>, binary: bool) -> Message {
        match self {
            Self::Rime if binary => {
                let mut content = Vec::new();
                let texts = [Some(error.kind), Some(error.message), error.request_id];
                for (number, text) in (1..).zip(texts) {
                    if let Some(text) = text {
                        write_field(number, text.as_bytes(), &mut content);
                    }
                }
                let mut envelope = Vec::new();
                write_field(ERROR, &content, &mut envelope);
                Message::binary(envelope)
            }
            Self::Rime => {
                let mut content = json!({"kind": error.kind, "message": error.message});
                if let Some(id) = error.request_id {
                    content["requestId"] = id.into();
                }
                Message::text(json!({ "error": content }).to_string())
            }
            Self::ElevenLabs => {
                let content = json!({
                    "message": error.message,
                    "error": error.kind,
                    "code": error.close_code,
                });
                Message::text(content.to_string())
            }
        }
    }
}
