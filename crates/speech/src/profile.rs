//! The description of a route: which field is where.

use std::borrow::Cow;
use std::fmt;

/// What a place has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// The text to speak. Its characters are counted.
    Text,
    /// Text with markup: SSML, with its own voices and languages.
    Ssml,
    /// The voice.
    Voice,
    /// A voice that counts until the end of the WebSocket, for contexts without their own.
    DefaultVoice,
    /// The model.
    Model,
    /// The language.
    Language,
    /// The format of the audio, in the vendor's word.
    Format,
    /// The sample rate of the audio in hertz.
    SampleRate,
    /// The context of a WebSocket message: what the voice of an earlier message counts for.
    Context,
    /// A URL or file that the server reads, or a voice that is not a name, such as an embedding.
    Fetch,
    /// The start of a WebSocket context, for which a voice in the request's head does not count.
    Start,
}

impl Field {
    /// The number of fields.
    pub const COUNT: usize = 11;

    /// Whether a rule or a meter depends on this field, so that a wrong type is a fault.
    #[must_use]
    pub fn is_strict(self) -> bool {
        !matches!(self, Self::Format | Self::SampleRate | Self::Start)
    }
}

/// What a place in an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerField {
    /// A part of the audio: base64 in JSON, bytes in a protobuf message, or a binary message.
    Audio,
    /// The characters that the vendor charges.
    Characters,
    /// The seconds of audio that the vendor charges.
    AudioSeconds,
    /// The price in hundredths of the currency.
    CostCents,
    /// The code of the currency (ISO 4217).
    Currency,
}

/// One place in a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// A pointer into JSON (RFC 6901), in which `*` stands for every element of an array and every
    /// member of an object. Written `json:/voice/id`.
    Json(Cow<'static, str>),
    /// A field of a form, URL-encoded or multipart. Written `form:voice`.
    Form(Cow<'static, str>),
    /// A query parameter. Written `query:speaker`.
    Query(Cow<'static, str>),
    /// The path segment that the pattern names. Written `path:voice_id`.
    Path(Cow<'static, str>),
    /// A request header. Written `header:x-voice`.
    Header(Cow<'static, str>),
    /// A field of a protobuf message by its numbers, outermost first. Written `proto:1/5`.
    Proto(Cow<'static, [u32]>),
    /// The SSML document that is the body: the text, and the voices and languages that it names.
    /// Written `ssml`.
    Ssml,
    /// The whole body or message as plain text. Written `text`.
    Raw,
}

/// A text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPlace;

impl fmt::Display for InvalidPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be \"json:/pointer\", \"form:name\", \"query:name\", \"path:name\", \
             \"header:name\", \"proto:1/2\" or \"ssml\"",
        )
    }
}

impl std::error::Error for InvalidPlace {}

impl Place {
    /// Parses the written form of a place.
    ///
    /// # Errors
    ///
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidPlace> {
        if text == "ssml" {
            return Ok(Self::Ssml);
        }
        let (kind, name) = text.split_once(':').ok_or(InvalidPlace)?;
        if name.is_empty() {
            return Err(InvalidPlace);
        }
        let owned = || Cow::Owned(name.to_owned());
        match kind {
            "json" if is_pointer(name) => Ok(Self::Json(owned())),
            "form" => Ok(Self::Form(owned())),
            "query" => Ok(Self::Query(owned())),
            "path" => Ok(Self::Path(owned())),
            "header" if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase().into())),
            "proto" => {
                let number = |part: &str| part.parse().ok().filter(|number| *number > 0);
                let numbers: Option<Vec<u32>> = name.split('/').map(number).collect();
                Ok(Self::Proto(Cow::Owned(numbers.ok_or(InvalidPlace)?)))
            }
            _ => Err(InvalidPlace),
        }
    }

    /// Whether the place is in the request's head, so that it is known before the body is read.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Path(_) | Self::Header(_))
    }

    /// The format that a body must have to contain the place. `None` for a place in the head.
    fn format(&self) -> Option<BodyFormat> {
        match self {
            Self::Json(_) => Some(BodyFormat::Json),
            Self::Form(_) => Some(BodyFormat::Form),
            Self::Proto(_) => Some(BodyFormat::Protobuf),
            Self::Ssml => Some(BodyFormat::Ssml),
            Self::Raw => Some(BodyFormat::Raw),
            Self::Query(_) | Self::Path(_) | Self::Header(_) => None,
        }
    }
}

fn is_pointer(text: &str) -> bool {
    // RFC 6901 §3: `~` is followed by 0 or 1.
    let escapes = text.split('~').skip(1);
    text.starts_with('/') && escapes.clone().all(|rest| rest.starts_with(['0', '1']))
}

fn is_token(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Proto(numbers) => {
                f.write_str("proto:")?;
                for (index, number) in numbers.iter().enumerate() {
                    write!(f, "{}{number}", if index == 0 { "" } else { "/" })?;
                }
                Ok(())
            }
            Self::Ssml => f.write_str("ssml"),
            Self::Raw => f.write_str("text"),
        }
    }
}

/// The format of a body or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyFormat {
    /// JSON (RFC 8259) in UTF-8.
    Json,
    /// `application/x-www-form-urlencoded` or `multipart/form-data`.
    Form,
    /// An SSML document.
    Ssml,
    /// Protobuf messages: one in each gRPC frame, or one for each binary WebSocket message.
    Protobuf,
    /// Plain text.
    Raw,
}

/// How a vendor counts characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counting {
    /// Unicode code points.
    #[default]
    CodePoints,
    /// Azure Speech: code points with white space and markup, without the tags `<speak>` and
    /// `<voice>`, and two for each Chinese character, Japanese kanji and Korean hanja
    /// (<https://learn.microsoft.com/azure/ai-services/speech-service/text-to-speech>,
    /// *Billable characters*).
    Azure,
}

impl Counting {
    /// The characters of a text without markup.
    #[must_use]
    pub fn characters(self, text: &str) -> u64 {
        match self {
            // `chars().count()` counts whole words of memory at a time.
            Self::CodePoints => text.chars().count() as u64,
            Self::Azure => text
                .chars()
                .map(|letter| 1 + u64::from(is_han(letter)))
                .sum(),
        }
    }
}

/// The ideographs of Unicode's blocks *CJK Unified Ideographs* and their extensions and
/// compatibility forms.
fn is_han(letter: char) -> bool {
    matches!(letter,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}')
}

/// What the voice of a WebSocket message counts for, beside that message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stickiness {
    /// Nothing: each message with text names its voice.
    #[default]
    Message,
    /// The later messages of the same context.
    Context,
    /// All later messages.
    Session,
}

/// Describes where a route or a kind of message has its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeechProfile {
    places: Cow<'static, [(Field, Place)]>,
    messages: &'static [(Field, Place)],
    counting: Counting,
    stickiness: Stickiness,
    commands: &'static [&'static str],
    unmetered: bool,
    answers: &'static [(AnswerField, Place)],
    default_audio: Option<(&'static str, u32)>,
}

impl SpeechProfile {
    /// A profile of a request with these places.
    #[must_use]
    pub const fn new(places: &'static [(Field, Place)]) -> Self {
        Self {
            places: Cow::Borrowed(places),
            messages: &[],
            counting: Counting::CodePoints,
            stickiness: Stickiness::Message,
            commands: &[],
            unmetered: false,
            answers: &[],
            default_audio: None,
        }
    }

    /// A profile with these places, that the program did not know when it was built.
    #[must_use]
    pub fn of_places(places: Vec<(Field, Place)>) -> Self {
        Self {
            places: Cow::Owned(places),
            ..Self::default()
        }
    }

    /// Sets the places in the WebSocket messages of the client.
    #[must_use]
    pub const fn with_messages(
        mut self,
        stickiness: Stickiness,
        messages: &'static [(Field, Place)],
    ) -> Self {
        self.messages = messages;
        self.stickiness = stickiness;
        self
    }

    /// Sets how characters count.
    #[must_use]
    pub const fn with_counting(mut self, counting: Counting) -> Self {
        self.counting = counting;
        self
    }

    /// Names messages that are commands and no text, in a protocol of plain text.
    #[must_use]
    pub const fn with_commands(mut self, commands: &'static [&'static str]) -> Self {
        self.commands = commands;
        self
    }

    /// Marks what is spoken as not countable, because the server writes the text itself.
    #[must_use]
    pub const fn unmetered(mut self) -> Self {
        self.unmetered = true;
        self
    }

    /// Sets the places in answers: headers, bodies, and the WebSocket messages of the server.
    #[must_use]
    pub const fn with_answers(mut self, answers: &'static [(AnswerField, Place)]) -> Self {
        self.answers = answers;
        self
    }

    /// Sets the format and the sample rate in hertz of the audio in messages, where the request names
    /// none.
    #[must_use]
    pub const fn with_default_audio(mut self, format: &'static str, hertz: u32) -> Self {
        self.default_audio = Some((format, hertz));
        self
    }

    /// The places in the request: in its head and its body.
    #[must_use]
    pub fn places(&self) -> &[(Field, Place)] {
        &self.places
    }

    /// The places in WebSocket messages. Empty if the messages are not to be read.
    #[must_use]
    pub fn messages(&self) -> &'static [(Field, Place)] {
        self.messages
    }

    /// What the voice of a message counts for.
    #[must_use]
    pub fn stickiness(&self) -> Stickiness {
        self.stickiness
    }

    /// How characters count.
    #[must_use]
    pub fn counting(&self) -> Counting {
        self.counting
    }

    /// The messages that are commands and no text.
    #[must_use]
    pub fn commands(&self) -> &'static [&'static str] {
        self.commands
    }

    /// Whether what is spoken cannot be counted.
    #[must_use]
    pub fn is_unmetered(&self) -> bool {
        self.unmetered
    }

    /// The places in answers.
    #[must_use]
    pub fn answers(&self) -> &'static [(AnswerField, Place)] {
        self.answers
    }

    /// The format and the sample rate in hertz of the audio in messages, where the request names
    /// none.
    #[must_use]
    pub fn default_audio(&self) -> Option<(&'static str, u32)> {
        self.default_audio
    }

    /// The formats of a body that the profile can read. Empty if no place is in the body.
    pub fn formats(&self) -> impl Iterator<Item = BodyFormat> {
        formats(&self.places)
    }

    /// The formats of a message that the profile can read.
    pub fn message_formats(&self) -> impl Iterator<Item = BodyFormat> {
        formats(self.messages)
    }

    /// Whether a place in the body has this field.
    #[must_use]
    pub fn body_has(&self, field: Field) -> bool {
        has(&self.places, field, |place| !place.is_in_head())
    }

    /// Whether a place in a WebSocket message has this field.
    #[must_use]
    pub fn messages_have(&self, field: Field) -> bool {
        has(self.messages, field, |_| true)
    }

    /// Whether a place in the head has this field.
    #[must_use]
    pub fn head_has(&self, field: Field) -> bool {
        has(&self.places, field, Place::is_in_head)
    }
}

fn formats(places: &[(Field, Place)]) -> impl Iterator<Item = BodyFormat> {
    let formats = [
        BodyFormat::Json,
        BodyFormat::Form,
        BodyFormat::Ssml,
        BodyFormat::Protobuf,
        BodyFormat::Raw,
    ];
    let in_use = move |format: &BodyFormat| {
        let mut places = places.iter();
        places.any(|(_, place)| place.format() == Some(*format))
    };
    formats.into_iter().filter(in_use)
}

/// Whether one of these places has the field. SSML names voices and languages of its own.
fn has(places: &[(Field, Place)], field: Field, wanted: impl Fn(&Place) -> bool) -> bool {
    let own = |given: Field, place: &Place| {
        given == field
            || (field == Field::Voice && given == Field::DefaultVoice)
            || (matches!(field, Field::Voice | Field::Language) && *place == Place::Ssml)
    };
    let mut places = places.iter();
    places.any(|(given, place)| own(*given, place) && wanted(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_parsed() {
        for text in [
            "json:/voice/id",
            "json:/inputs/*/voice_id",
            "form:voice",
            "query:speaker",
            "path:voice_id",
            "header:x-voice",
            "proto:1/5",
            "ssml",
        ] {
            let place = Place::parse(text).expect("a place");
            assert_eq!(place.to_string(), text);
        }
        for wrong in [
            "",
            "json",
            "json:",
            "json:voice",
            "json:/a~2",
            "path:",
            "body:voice",
            "proto:0",
            "proto:a",
            "header:a b",
            "ssml:x",
        ] {
            assert_eq!(Place::parse(wrong), Err(InvalidPlace), "{wrong}");
        }
    }

    #[test]
    fn characters_count_as_the_vendor_counts_them() {
        for (text, points, azure) in [
            ("", 0, 0),
            ("Hello", 5, 5),
            ("é👩‍👧", 4, 4),
            ("漢字かな", 4, 6),
        ] {
            assert_eq!(Counting::CodePoints.characters(text), points, "{text}");
            assert_eq!(Counting::Azure.characters(text), azure, "{text}");
        }
    }
}
