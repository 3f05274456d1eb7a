//! What the answers of a server say about the speech in them: the audio in JSON, events and protobuf
//! messages, and what the vendor charges.
//!
//! Everything is read in passing. A reader keeps a few hundred bytes, whatever the length of an
//! answer, and nothing of its audio.

mod audio_parts;
mod base64;
mod event_stream;
mod json;
mod places;
mod protobuf;
mod tunnel;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use voxgate::speech::{AnswerField, Place, SpeechMeter};

use self::audio_parts::AudioParts;
use self::event_stream::EventStream;
use self::json::JsonScanner;
use self::places::Places;
use self::protobuf::{GrpcStream, ProtobufScanner};
pub use self::tunnel::{MessageForm, TunnelReader, TunnelUsage};
use crate::audio_account::AudioAccount;

/// What a scanner finds.
trait Findings {
    /// A part of the audio begins.
    fn begin_audio(&mut self);
    /// The next bytes of the part.
    fn audio(&mut self, bytes: &[u8]);
    fn end_audio(&mut self);
    /// A number or a short text.
    fn value(&mut self, field: AnswerField, text: &str);
}

/// Where the findings of one request go.
pub(crate) struct Spoken {
    audio: AudioParts,
    account: AudioAccount,
    meter: SpeechMeter,
}

impl Spoken {
    fn new(meter: SpeechMeter, account: AudioAccount) -> Self {
        Self {
            audio: AudioParts::default(),
            account,
            meter,
        }
    }
}

impl Findings for Spoken {
    fn begin_audio(&mut self) {
        let format = self.meter.format();
        let default = self.meter.profile().and_then(|it| it.default_audio());
        self.audio.begin(format, self.meter.sample_rate(), default);
    }

    fn audio(&mut self, bytes: &[u8]) {
        self.audio.read(bytes);
    }

    fn end_audio(&mut self) {
        self.audio.end();
        if let Some(duration) = self.audio.duration() {
            self.account.heard(duration);
        }
    }

    fn value(&mut self, field: AnswerField, text: &str) {
        self.meter.add_billed(field, text);
    }
}

/// Reads the body of an answer that is not audio itself.
pub(crate) struct SpokenBody {
    format: BodyFormat,
    spoken: Spoken,
}

enum BodyFormat {
    /// One value, or several one after the other.
    Json(JsonScanner),
    Events(EventStream),
    Grpc(GrpcStream),
}

impl SpokenBody {
    /// A reader for an answer with these header fields. `None` if its profile has no place in such an
    /// answer.
    pub(crate) fn new(
        headers: &HeaderMap,
        meter: &SpeechMeter,
        account: impl FnOnce() -> AudioAccount,
    ) -> Option<Self> {
        let places = Places::of(meter.profile()?.answers());
        let encoding = headers.get(CONTENT_ENCODING).map(|it| it.as_bytes());
        if encoding.is_some_and(|it| !it.eq_ignore_ascii_case(b"identity")) {
            return None;
        }
        let media_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok())?;
        let name = media_type.split(';').next().unwrap_or_default().trim();
        let name = name.to_ascii_lowercase();
        let format = match name.as_str() {
            "application/json" | "application/x-ndjson" | "application/jsonl"
                if places.has_json() =>
            {
                BodyFormat::Json(JsonScanner::new(places))
            }
            "text/event-stream" if places.has_json() => {
                BodyFormat::Events(EventStream::new(places))
            }
            "application/grpc" | "application/grpc+proto" if places.has_protobuf() => {
                BodyFormat::Grpc(GrpcStream::new(ProtobufScanner::new(places)))
            }
            _ => return None,
        };
        Some(Self {
            format,
            spoken: Spoken::new(meter.clone(), account()),
        })
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) {
        match &mut self.format {
            BodyFormat::Json(json) => json.read(bytes, &mut self.spoken),
            BodyFormat::Events(events) => events.read(bytes, &mut self.spoken),
            BodyFormat::Grpc(grpc) => grpc.read(bytes, &mut self.spoken),
        }
    }
}

/// Notes what the header of an answer says that the vendor charges.
pub(crate) fn note_charges(meter: &SpeechMeter, headers: &HeaderMap) {
    let Some(profile) = meter.profile() else {
        return;
    };
    for (field, place) in profile.answers() {
        if let Place::Header(name) = place
            && let Some(value) = headers.get(name.as_ref())
            && let Ok(text) = value.to_str()
        {
            meter.add_billed(*field, text);
        }
    }
}
