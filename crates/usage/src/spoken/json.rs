//! Finds values in JSON (RFC 8259) that arrives in parts, without keeping it.
//!
//! It does not check the syntax. What is not JSON has no values, or wrong ones, and nothing depends on
//! them but the counts of this answer.

use voxgate::speech::AnswerField;

use super::Findings;
use super::base64::Base64;
use super::places::{PlaceSet, Places};

/// Deeper values are not looked at.
const DEEPEST: usize = 64;
/// Longest name of a member, and longest number or short text.
const LONGEST: usize = 64;

/// Reads one or more JSON values.
pub(super) struct JsonScanner {
    places: Places,
    containers: Vec<Container>,
    state: State,
    /// The places of the value that comes next.
    next: PlaceSet,
    /// A name, a number or a short text.
    text: Vec<u8>,
    /// Whether the text is longer than it may be, or has an escape.
    is_unknown: bool,
    base64: Base64,
}

struct Container {
    is_object: bool,
    /// The places in it.
    places: PlaceSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value, a name, or the end of a container.
    Between,
    Name,
    Text(Option<AnswerField>),
    /// After a backslash, with the letters of a `\u` escape that have come and their value.
    Escape(Inside, Option<(u8, u32)>),
    Scalar(Option<AnswerField>),
    Broken,
}

/// The string that has an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Name,
    Text(Option<AnswerField>),
}

impl JsonScanner {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            containers: Vec::new(),
            state: State::Between,
            next: PlaceSet::MAX,
            text: Vec::new(),
            is_unknown: false,
            base64: Base64::default(),
        }
    }

    /// Begins with another document.
    pub(super) fn reset(&mut self) {
        self.containers.clear();
        self.state = State::Between;
        self.next = PlaceSet::MAX;
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], findings: &mut impl Findings) {
        while let Some((&byte, after)) = bytes.split_first() {
            match self.state {
                State::Text(field) => {
                    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
                    let end = bytes.iter().position(is_end).unwrap_or(bytes.len());
                    self.add_text(field, &bytes[..end], findings);
                    bytes = &bytes[end..];
                    if let Some((&byte, after)) = bytes.split_first() {
                        bytes = after;
                        match byte {
                            b'"' => self.end_text(field, findings),
                            _ => self.state = State::Escape(Inside::Text(field), None),
                        }
                    }
                    continue;
                }
                State::Between => self.begin(byte, findings),
                State::Name => match byte {
                    b'"' => self.end_name(),
                    b'\\' => self.state = State::Escape(Inside::Name, None),
                    _ => self.keep(byte),
                },
                State::Escape(inside, digits) => self.escape(inside, digits, byte, findings),
                State::Scalar(field) => match byte {
                    b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' => {
                        self.end_scalar(field, findings);
                        self.begin(byte, findings);
                    }
                    _ => self.keep(byte),
                },
                State::Broken => return,
            }
            bytes = after;
        }
    }

    /// The byte between values and names.
    fn begin(&mut self, byte: u8, findings: &mut impl Findings) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b',' => self.next_member(),
            // What was a text is the name of a member.
            b':' => {}
            b'{' | b'[' if self.containers.len() >= DEEPEST => self.state = State::Broken,
            b'{' | b'[' => {
                let places = std::mem::take(&mut self.next);
                let is_object = byte == b'{';
                self.containers.push(Container { is_object, places });
                self.next_member();
            }
            b'}' | b']' => {
                if self.containers.pop().is_none() {
                    self.state = State::Broken;
                }
                self.end_value();
            }
            b'"' if self.is_name() => {
                self.text.clear();
                self.is_unknown = false;
                self.state = State::Name;
            }
            b'"' => {
                let field = self.places.json_field(self.next, self.containers.len());
                self.text.clear();
                self.is_unknown = false;
                self.state = State::Text(field);
                if field == Some(AnswerField::Audio) {
                    self.base64.begin();
                    findings.begin_audio();
                }
            }
            _ => {
                let field = self.places.json_field(self.next, self.containers.len());
                self.text.clear();
                self.is_unknown = false;
                self.keep(byte);
                self.state = State::Scalar(field);
            }
        }
    }

    /// Whether the next string is the name of a member: no name has come.
    fn is_name(&self) -> bool {
        let container = self.containers.last();
        container.is_some_and(|container| container.is_object) && self.next == NO_NAME
    }

    /// What comes next in a container.
    fn next_member(&mut self) {
        self.next = match self.containers.last() {
            Some(container) if container.is_object => NO_NAME,
            Some(container) => {
                let depth = self.containers.len() - 1;
                self.places.member(container.places, depth, None)
            }
            None => PlaceSet::MAX,
        };
    }

    fn end_name(&mut self) {
        let name = std::str::from_utf8(&self.text).ok();
        let name = name.filter(|_| !self.is_unknown);
        let depth = self.containers.len().saturating_sub(1);
        let places = self.containers.last().map_or(0, |it| it.places);
        self.next = match name {
            Some(_) => self.places.member(places, depth, name),
            None => 0,
        };
        self.state = State::Between;
    }

    fn end_value(&mut self) {
        // After the last container another document may begin.
        self.next = match self.containers.is_empty() {
            true => PlaceSet::MAX,
            false => 0,
        };
    }

    fn keep(&mut self, byte: u8) {
        match self.text.len() < LONGEST {
            true => self.text.push(byte),
            false => self.is_unknown = true,
        }
    }

    fn add_text(&mut self, field: Option<AnswerField>, bytes: &[u8], findings: &mut impl Findings) {
        match field {
            None => {}
            Some(AnswerField::Audio) => self.base64.read(bytes, |audio| findings.audio(audio)),
            Some(_) => bytes.iter().for_each(|byte| self.keep(*byte)),
        }
    }

    fn end_text(&mut self, field: Option<AnswerField>, findings: &mut impl Findings) {
        match field {
            Some(AnswerField::Audio) => {
                self.base64.end(|audio| findings.audio(audio));
                findings.end_audio();
            }
            Some(field) => self.tell(field, findings),
            None => {}
        }
        self.state = State::Between;
        self.end_value();
    }

    fn end_scalar(&mut self, field: Option<AnswerField>, findings: &mut impl Findings) {
        if let Some(field) = field.filter(|field| *field != AnswerField::Audio) {
            self.tell(field, findings);
        }
        self.state = State::Between;
        self.end_value();
    }

    fn tell(&self, field: AnswerField, findings: &mut impl Findings) {
        if let Ok(text) = std::str::from_utf8(&self.text)
            && !self.is_unknown
        {
            findings.value(field, text);
        }
    }

    /// An escape (RFC 8259 §7). Base64 has only those of `+`, `/` and `=`.
    fn escape(
        &mut self,
        inside: Inside,
        digits: Option<(u8, u32)>,
        byte: u8,
        findings: &mut impl Findings,
    ) {
        let value = match digits {
            None if byte == b'u' => {
                self.state = State::Escape(inside, Some((0, 0)));
                return;
            }
            None => u32::from(byte),
            Some((count, value)) => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                let value = value << 4 | digit;
                if count < 3 {
                    self.state = State::Escape(inside, Some((count + 1, value)));
                    return;
                }
                value
            }
        };
        match inside {
            Inside::Name => {
                // No name of a place has an escape.
                self.is_unknown = true;
                self.state = State::Name;
            }
            Inside::Text(field) => {
                if let Ok(letter) = u8::try_from(value) {
                    self.add_text(field, &[letter], findings);
                }
                self.state = State::Text(field);
            }
        }
    }
}

/// In an object, no name has come. No value has all places there.
const NO_NAME: PlaceSet = PlaceSet::MAX;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use voxgate::speech::Place;

    use super::*;

    const ANSWERS: &[(AnswerField, Place)] = &[
        (AnswerField::Audio, Place::Json(Cow::Borrowed("/audio"))),
        (AnswerField::Audio, Place::Json(Cow::Borrowed("/result/a"))),
        (AnswerField::Audio, Place::Json(Cow::Borrowed("/parts/*/b"))),
        (AnswerField::Audio, Place::Json(Cow::Borrowed(""))),
        (
            AnswerField::Characters,
            Place::Json(Cow::Borrowed("/usage/characters")),
        ),
        (
            AnswerField::Currency,
            Place::Json(Cow::Borrowed("/usage/currency")),
        ),
    ];

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Found {
        parts: Vec<Vec<u8>>,
        values: Vec<(AnswerField, String)>,
    }

    impl Findings for Found {
        fn begin_audio(&mut self) {
            self.parts.push(Vec::new());
        }
        fn audio(&mut self, bytes: &[u8]) {
            let part = self.parts.last_mut().expect("a part began");
            part.extend_from_slice(bytes);
        }
        fn end_audio(&mut self) {}
        fn value(&mut self, field: AnswerField, text: &str) {
            self.values.push((field, text.to_owned()));
        }
    }

    fn scan(text: &str, cuts: &[usize]) -> Found {
        let mut scanner = JsonScanner::new(Places::of(ANSWERS));
        let mut found = Found::default();
        let mut ends = [cuts, &[0, text.len()]].concat();
        ends.sort_unstable();
        for part in ends.windows(2) {
            scanner.read(&text.as_bytes()[part[0]..part[1]], &mut found);
        }
        found
    }

    fn audio(text: &str) -> Vec<Vec<u8>> {
        scan(text, &[]).parts
    }

    #[test]
    fn values_are_found_by_their_places() {
        for (text, expected) in [
            (r#"{"audio":"aGk="}"#, &["hi"][..]),
            (r#"{"audio":null,"x":{"audio":"bm8="}}"#, &[]),
            (r#"{"x":"audio","audio" : "aGk=" }"#, &["hi"]),
            (r#"{"x":["audio",{"audio":"bm8="}],"audio":"aGk"}"#, &["hi"]),
            (r#"{"result":{"b":{},"a":"aGk="},"a":"bm8="}"#, &["hi"]),
            (r#"{"parts":[{"b":"aGk="},{"b":"aG8="}]}"#, &["hi", "ho"]),
            (r#""aGk=""#, &["hi"]),
            (r#"["bm8="]"#, &[]),
            (r#"{"au\u0064io":"bm8="}"#, &[]),
            (r#"{"audio":"Pz8\u002fPz8\/"}"#, &["????\u{3f}?"]),
            (r#"{"x":"\"","audio":"aGk="}"#, &["hi"]),
            (r#"{"x":-1.5e3,"audio":"aGk="}"#, &["hi"]),
            (
                "{\"audio\":\"aGk=\"}\n{\"audio\":\"aG8=\"}\n",
                &["hi", "ho"],
            ),
            (r#"}{"audio":"bm8="}"#, &[]),
        ] {
            let expected: Vec<Vec<u8>> = expected.iter().map(|it| it.as_bytes().into()).collect();
            assert_eq!(audio(text), expected, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(1_000), r#"{"audio":"bm8="}"#);
        assert!(audio(&deep).is_empty());
        let usage = r#"{"usage":{"characters":12,"currency":"EUR"},"characters":9}"#;
        let values = scan(usage, &[]).values;
        let expected = [
            (AnswerField::Characters, "12".to_owned()),
            (AnswerField::Currency, "EUR".to_owned()),
        ];
        assert_eq!(values, expected);
        let long = format!(r#"{{"usage":{{"characters":{}}}}}"#, "1".repeat(100));
        assert!(scan(&long, &[]).values.is_empty());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_json_is_cut(cuts in proptest::collection::vec(0..130_usize, 0..9)) {
            let text = r#"{"x":{"audio":"bm8=","y":[1,"\u00e9"]},"audio":"aGkgdGhlcmU\u003d","usage":{"characters":12.5},"result":{"a":"aG8="}}  "#;
            let cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            prop_assert_eq!(scan(text, &cuts), scan(text, &[]));
            prop_assert_eq!(scan(text, &[]).parts, [b"hi there".to_vec(), b"ho".to_vec()]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(text in "[\\[\\]{}\",:\\\\ua1 ]{0,200}") {
            scan(&text, &[]);
        }
    }
}
