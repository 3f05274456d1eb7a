//! Messages and control frames.

use std::fmt;

use crate::frame::{self, MAX_CONTROL, Opcode};

/// Whether a message is text or binary (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// A whole message, without its mask and joined from its fragments.
///
/// `Debug` shows its kind and length only: the payload may contain a credential and spoken text.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    kind: MessageKind,
    payload: Vec<u8>,
}

impl Message {
    /// A message of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            kind: MessageKind::Text,
            payload: text.into().into_bytes(),
        }
    }

    /// A binary message.
    #[must_use]
    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind: MessageKind::Binary,
            payload: payload.into(),
        }
    }

    /// `None` if it is text and not UTF-8.
    pub(crate) fn checked(kind: MessageKind, payload: Vec<u8>) -> Option<Self> {
        let valid = kind == MessageKind::Binary || std::str::from_utf8(&payload).is_ok();
        valid.then_some(Self { kind, payload })
    }

    /// Whether it is text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The payload. That of a text message is UTF-8.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The text of a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            MessageKind::Text => std::str::from_utf8(&self.payload).ok(),
            MessageKind::Binary => None,
        }
    }

    /// Appends the message as one frame. A client masks with four unpredictable bytes, a server does
    /// not mask (RFC 6455 §5.1, §10.3).
    pub fn write(&self, mask: Option<[u8; 4]>, to: &mut Vec<u8>) {
        let opcode = match self.kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        frame::write(opcode, &self.payload, mask, to);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.kind, self.payload.len())
    }
}

/// What a control frame is for (RFC 6455 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// Ends the connection. No frame follows it.
    Close,
    /// Asks for a `Pong`.
    Ping,
    /// Answers a `Ping`.
    Pong,
}

/// A control frame. It may come between the fragments of a message.
///
/// `Debug` shows its kind and length only.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlFrame {
    kind: ControlKind,
    payload: Vec<u8>,
}

impl ControlFrame {
    pub(crate) fn new(kind: ControlKind, payload: Vec<u8>) -> Self {
        Self { kind, payload }
    }

    /// A `Close` with a status code (RFC 6455 §7.4) and a reason, which is cut to fit.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        let most = MAX_CONTROL - 2;
        let end = (0..=reason.len().min(most)).rev();
        let end = end.into_iter().find(|at| reason.is_char_boundary(*at));
        let reason = &reason.as_bytes()[..end.unwrap_or(0)];
        Self::new(ControlKind::Close, [&code.to_be_bytes(), reason].concat())
    }

    /// The answer to this `Ping`: the same payload (RFC 6455 §5.5.3).
    #[must_use]
    pub fn to_pong(&self) -> Self {
        Self::new(ControlKind::Pong, self.payload.clone())
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> ControlKind {
        self.kind
    }

    /// At most 125 bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Appends the frame, as [`Message::write`] does.
    pub fn write(&self, mask: Option<[u8; 4]>, to: &mut Vec<u8>) {
        let opcode = match self.kind {
            ControlKind::Close => Opcode::Close,
            ControlKind::Ping => Opcode::Ping,
            ControlKind::Pong => Opcode::Pong,
        };
        frame::write(opcode, &self.payload, mask, to);
    }
}

impl fmt::Debug for ControlFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, length) = (self.kind, self.payload.len());
        write!(f, "ControlFrame({kind:?}, {length} bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_payload() {
        let message = format!("{:?}", Message::text("my k3y"));
        assert_eq!(message, "Message(Text, 6 bytes)");
        let close = format!("{:?}", ControlFrame::close(1008, "my k3y"));
        assert_eq!(close, "ControlFrame(Close, 8 bytes)");
    }

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        let close = ControlFrame::close(1008, &"\u{e9}".repeat(80));
        assert_eq!(close.payload().len(), 2 + 122);
        assert!(std::str::from_utf8(&close.payload()[2..]).is_ok());
    }
}
