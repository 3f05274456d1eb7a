//! What a request speaks: the meter of its text, voice and model, and the quota that is asked before
//! text is forwarded.
//!
//! The layer makes a [`SpeechMeter`] for each accepted request and puts it into the request's
//! extensions, if [`AuthLayer::with_speech_meters`](crate::AuthLayer::with_speech_meters) asks for
//! it. The completion record has the same meter. It holds numbers and names, never the text.

mod billed;
mod meter;
mod quota;
mod rights;

pub use self::billed::Billed;
pub use self::meter::SpeechMeter;
pub use self::quota::{Reservation, TextQuota};
pub(crate) use self::rights::{FETCH, KnownNames, check_names, is_limited_to};
#[cfg(feature = "speech")]
pub(crate) use self::rights::{is_limited, may_fetch, require_unchanged};
pub(crate) use self::rights::{require_in_head, require_names};

#[cfg(feature = "speech")]
pub use voxgate_speech::Message;
pub use voxgate_speech::{AnswerField, Counting, Field, Place, SpeechProfile, Stickiness};
