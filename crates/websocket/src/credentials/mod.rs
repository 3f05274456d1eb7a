//! Credentials in the messages of a client.
//!
//! Browsers cannot set a header on the handshake of a WebSocket. Some vendors therefore let a client
//! send its credential in a message.

mod error;
mod json;
mod protobuf;

use std::fmt;

use crate::message::{Message, MessageKind};

pub use self::error::VendorError;

/// Where a vendor's messages hold a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialFormat {
    /// Rime's engine: `config.authorization` in an envelope, which is JSON in a text message and
    /// protobuf in a binary one (`rime/text_to_speech.proto`, `WebSocketRequest`, in the package
    /// `rime-api` 0.4.0). Its value is that of the header `Authorization`.
    Rime,
    /// ElevenLabs: the member `xi-api-key`, `xi_api_key`, `authorization` or `single_use_token` of
    /// a message, which is an object in JSON (`elevenlabs` 2.78.0, `text-to-speech`, WebSockets).
    ElevenLabs,
}

/// A message without its credentials.
pub struct Stripped {
    /// The message. If there was no credential in it, its bytes are those of the client.
    pub message: Message,
    /// The credentials that were in it, without those that repeat one. One that is no text counts as
    /// a blank one.
    pub credentials: Vec<String>,
}

impl CredentialFormat {
    /// Takes the credentials out of a message. In their place stands `in_place`, if it is given and
    /// the format is [`Rime`](Self::Rime).
    ///
    /// Names are compared without case, and `_` is the same as `-`, because servers differ in which
    /// names they accept. All other members and fields keep their bytes.
    ///
    /// # Errors
    ///
    /// If the message cannot be read, so that a server could find a credential in it.
    pub fn strip(
        self,
        message: Message,
        in_place: Option<&str>,
    ) -> Result<Stripped, MalformedMessage> {
        match (self, message.kind()) {
            (Self::Rime, MessageKind::Text) => json::strip_config(message, in_place),
            (Self::Rime, MessageKind::Binary) => protobuf::strip_config(message, in_place),
            // A server may read JSON from a binary message as well.
            (Self::ElevenLabs, _) => json::strip_members(message),
        }
    }
}

impl Stripped {
    fn unchanged(message: Message) -> Self {
        Self {
            message,
            credentials: Vec::new(),
        }
    }
}

impl fmt::Debug for Stripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripped")
            .field("message", &self.message)
            .field("credentials", &self.credentials.len())
            .finish()
    }
}

/// The message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMessage;

impl fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message is malformed")
    }
}

impl std::error::Error for MalformedMessage {}

/// Adds a credential that was found, unless it repeats one. What does not fit counts as blank, so
/// that it is refused: a client has one credential.
fn add(credentials: &mut Vec<String>, found: String) {
    if !credentials.contains(&found) {
        credentials.push(found);
    }
}

#[cfg(test)]
mod tests;
