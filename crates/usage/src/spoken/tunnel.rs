//! The messages that a server sends through a WebSocket.

use std::fmt;

use voxgate::Principal;
use voxgate::speech::SpeechMeter;

use super::json::JsonScanner;
use super::places::Places;
use super::protobuf::ProtobufScanner;
use super::{Findings as _, Spoken};
use crate::audio_account::AudioAccount;
use crate::book::UsageBook;

/// Counts what a server says in a WebSocket. [`UsageLayer`](crate::UsageLayer) puts it into the
/// extensions of a request for an upgrade; the service that relays the messages reads by it.
#[derive(Clone)]
pub struct TunnelUsage {
    meter: SpeechMeter,
    book: UsageBook,
    principal: Principal,
}

impl TunnelUsage {
    pub(crate) fn new(meter: SpeechMeter, book: UsageBook, principal: Principal) -> Self {
        Self {
            meter,
            book,
            principal,
        }
    }

    /// A reader of the server's messages. `None` if the request's profile has no place in them. `binary`
    /// says what a binary message is where the profile allows for both.
    ///
    /// Messages must not be compressed (RFC 7692).
    #[must_use]
    pub fn reader(self, binary: MessageForm) -> Option<TunnelReader> {
        let places = Places::of(self.meter.profile()?.answers());
        let has_protobuf = places.has_protobuf();
        let binary = match binary {
            _ if !has_protobuf && !places.has_raw() => None,
            MessageForm::Audio if places.has_raw() => Some(MessageForm::Audio),
            _ if has_protobuf => Some(MessageForm::Protobuf),
            form => Some(form),
        };
        if binary.is_none() && !places.has_json() {
            return None;
        }
        let account = AudioAccount::new(Some(self.meter.clone()), self.book, self.principal);
        Some(TunnelReader {
            json: places.has_json().then(|| JsonScanner::new(places.clone())),
            protobuf: ProtobufScanner::new(places),
            binary,
            current: None,
            spoken: Spoken::new(self.meter, account),
        })
    }
}

impl fmt::Debug for TunnelUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelUsage")
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageForm {
    /// Text with JSON.
    Json,
    /// Binary: audio itself.
    Audio,
    /// Binary: a protobuf message.
    Protobuf,
}

/// Reads the messages of a server, in parts of any size. Dropping it counts the rest.
pub struct TunnelReader {
    json: Option<JsonScanner>,
    protobuf: ProtobufScanner,
    binary: Option<MessageForm>,
    current: Option<MessageForm>,
    spoken: Spoken,
}

impl TunnelReader {
    /// A message begins.
    pub fn begin(&mut self, is_text: bool) {
        self.current = match is_text {
            true => self.json.is_some().then_some(MessageForm::Json),
            false => self.binary,
        };
        match self.current {
            Some(MessageForm::Json) => self.json.iter_mut().for_each(JsonScanner::reset),
            Some(MessageForm::Protobuf) => self.protobuf.reset(),
            Some(MessageForm::Audio) => self.spoken.begin_audio(),
            None => {}
        }
    }

    /// The next bytes of the message.
    pub fn read(&mut self, bytes: &[u8]) {
        match (self.current, &mut self.json) {
            (Some(MessageForm::Json), Some(json)) => json.read(bytes, &mut self.spoken),
            (Some(MessageForm::Protobuf), _) => self.protobuf.read(bytes, &mut self.spoken),
            (Some(MessageForm::Audio), _) => self.spoken.audio(bytes),
            _ => {}
        }
    }

    /// The message ends.
    pub fn end(&mut self) {
        if self.current.take() == Some(MessageForm::Audio) {
            self.spoken.end_audio();
        }
    }
}

impl fmt::Debug for TunnelReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelReader")
    }
}
