//! Checks the voice of each message of a WebSocket, and counts its text.

use http::Request;
use voxgate::{SpeechSession, speech};
use voxgate_websocket::{Message, MessageKind};

use super::tunnel::{Inspect, Refusal};

/// Policy violation (RFC 6455 §7.4.1).
const POLICY_VIOLATION: u16 = 1008;

/// The messages of one WebSocket, if its key or its meter asks for them.
pub(super) struct SpokenMessages(SpeechSession);

impl SpokenMessages {
    /// `None` if nothing asks for the messages of this request.
    pub(super) fn of<B>(request: &mut Request<B>) -> Option<Self> {
        let session = request.extensions_mut().remove::<SpeechSession>();
        session.map(Self)
    }
}

impl Inspect for SpokenMessages {
    fn inspect(&mut self, message: Message) -> Result<Message, Refusal> {
        let payload = message.payload();
        let asked = match message.kind() {
            MessageKind::Text => speech::Message::Text(payload),
            MessageKind::Binary => speech::Message::Binary(payload),
        };
        match self.0.allow(asked) {
            Ok(()) => Ok(message),
            Err(kind) => Err(Refusal::new(kind.as_str(), POLICY_VIOLATION, None)),
        }
    }
}
