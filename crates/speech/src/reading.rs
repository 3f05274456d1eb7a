//! What was read from a body or a message.

use std::borrow::Cow;
use std::fmt;

use crate::profile::Field;

/// The names and the number of characters of a body or a message. It borrows from what was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The characters of the text, as the vendor counts them.
    pub characters: u64,
    /// Whether there was text, also empty text.
    pub has_text: bool,
    /// Whether a WebSocket context starts.
    pub has_start: bool,
    /// Whether SSML contains text outside of every voice that it names.
    pub has_unvoiced_text: bool,
    /// Whether the request names a URL, a file or a voice that is not a name.
    pub has_fetch: bool,
    /// The voices in SSML.
    pub markup_voices: Vec<Cow<'a, str>>,
    /// The format of the audio.
    pub format: Option<Cow<'a, str>>,
    /// The sample rate of the audio in hertz.
    pub sample_rate: Option<u32>,
    /// The voices, models, languages and contexts, in the order in which they were found. One list,
    /// because a request has few of them.
    names: Vec<(Field, Cow<'a, str>)>,
    faults: [Option<Fault>; Field::COUNT],
}

/// Why a field has no value that every program would agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The field occurs twice, or under a name that servers take for the same.
    Ambiguous,
    /// The value has another type than the vendor documents.
    WrongType,
}

impl<'a> Reading<'a> {
    /// The fault of this field, if it has one.
    #[must_use]
    pub fn fault(&self, field: Field) -> Option<Fault> {
        let own = self.faults[field as usize];
        match field {
            Field::Voice => own
                .or(self.faults[Field::DefaultVoice as usize])
                .or(self.faults[Field::Ssml as usize])
                .or(self.faults[Field::Context as usize]),
            Field::Text => own.or(self.faults[Field::Ssml as usize]),
            Field::Language => own.or(self.faults[Field::Ssml as usize]),
            _ => own,
        }
    }

    /// Notes a fault of this field.
    pub fn add_fault(&mut self, field: Field, fault: Fault) {
        self.faults[field as usize].get_or_insert(fault);
    }

    /// The values of a voice, a default voice, a model, a language or a context, in the order in
    /// which they were found. Other fields have none.
    pub fn names(&self, field: Field) -> impl Iterator<Item = &str> {
        let named = self.names.iter().filter(move |(own, _)| *own == field);
        named.map(|(_, name)| &**name)
    }

    /// Adds the value of a field that is a name.
    pub fn add_name(&mut self, field: Field, name: Cow<'a, str>) {
        match field {
            Field::Voice
            | Field::DefaultVoice
            | Field::Model
            | Field::Language
            | Field::Context => self.names.push((field, name)),
            Field::Format => self.format = Some(name),
            Field::SampleRate => self.sample_rate = name.parse().ok(),
            Field::Fetch => self.has_fetch = true,
            Field::Start => self.has_start = true,
            Field::Text | Field::Ssml => self.has_text = true,
        }
    }
}

impl fmt::Debug for Reading<'_> {
    /// Numbers only: a name comes from the client and could be a piece of its text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("characters", &self.characters)
            .field("names", &self.names.len())
            .finish_non_exhaustive()
    }
}
