//! Where requests for speech name their text, voice, model and language, and how to read them.
//!
//! A [`SpeechProfile`] describes one route or one kind of message of a vendor. With the feature `read`, a
//! body or a message is read by its profile into a [`Reading`]: the number of characters, and the
//! names. Text is counted and never kept.
//!
//! A reading is for decisions about what a caller may do, so it is stricter than a server. What two
//! programs can read in two ways is a fault of the field that it concerns: a key that occurs twice
//! or in another spelling, a value of another type, a form field beside the query. A body that is not
//! exactly one value in UTF-8 cannot be read at all.

mod names;
#[cfg(feature = "read")]
mod pattern;
mod profile;
mod query;
mod reader;

#[cfg(feature = "read")]
mod form;
#[cfg(feature = "read")]
mod json;
#[cfg(feature = "read")]
mod media_type;
#[cfg(feature = "read")]
mod multipart;
#[cfg(feature = "read")]
mod protobuf;
#[cfg(feature = "read")]
mod read;
#[cfg(feature = "read")]
mod ssml;

mod reading;

pub use self::profile::{
    AnswerField, BodyFormat, Counting, Field, InvalidPlace, Place, SpeechProfile, Stickiness,
};
pub use self::reader::Reader;
pub use self::reading::{Fault, Reading};

#[cfg(feature = "read")]
pub use self::media_type::MediaType;
#[cfg(feature = "read")]
pub use self::read::{Message, Unreadable};
