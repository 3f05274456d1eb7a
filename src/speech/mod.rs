//! What a request speaks: the meter of its text, voice and model, and the quota that is asked before
//! text is forwarded.
//!
//! The layer makes a [`SpeechMeter`] for each accepted request and puts it into the request's
//! extensions, if [`AuthLayer::with_speech_meters`](crate::AuthLayer::with_speech_meters) asks for
//! it. The completion record has the same meter. It holds numbers and names, never the text.

mod meter;
mod quota;

pub use self::meter::SpeechMeter;
pub use self::quota::{Reservation, TextQuota};
