//! Finds bytes in protobuf messages (<https://protobuf.dev/programming-guides/encoding/>) that arrive in
//! parts, without keeping them.

use super::Findings;
use super::places::{PlaceSet, Places};

/// Length of a gRPC message's prefix: a flag and four bytes of length
/// (gRPC over HTTP/2, *Length-Prefixed-Message*).
const PREFIX: usize = 5;
/// Longest varint in bytes.
const LONGEST_VARINT: u32 = 10;

/// Reads one message after the other.
pub(super) struct ProtobufScanner {
    places: Places,
    /// The messages that are open around this point: where each ends, and the places in it.
    open: Vec<(u64, PlaceSet)>,
    /// The number of bytes of this message that have come.
    position: u64,
    state: State,
    varint: u64,
    varint_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Key,
    /// A number that does not matter.
    Number,
    /// The length of a field with these places.
    Length(PlaceSet),
    Skip(u64),
    Audio(u64),
    Broken,
}

impl ProtobufScanner {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            open: Vec::new(),
            position: 0,
            state: State::Key,
            varint: 0,
            varint_bytes: 0,
        }
    }

    /// Begins with another message.
    pub(super) fn reset(&mut self) {
        self.open.clear();
        self.position = 0;
        self.state = State::Key;
        (self.varint, self.varint_bytes) = (0, 0);
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], findings: &mut impl Findings) {
        while let Some((&byte, after)) = bytes.split_first() {
            match self.state {
                State::Broken => return,
                State::Skip(left) | State::Audio(left) => {
                    let now = usize::try_from(left).map_or(bytes.len(), |it| it.min(bytes.len()));
                    let (content, rest) = bytes.split_at(now);
                    self.content(content, left - now as u64, findings);
                    bytes = rest;
                }
                State::Key | State::Number | State::Length(_) => {
                    self.position += 1;
                    self.varint_byte(byte, findings);
                    bytes = after;
                }
            }
        }
    }

    /// A field that began. `left` bytes of it are still to come.
    fn content(&mut self, content: &[u8], left: u64, findings: &mut impl Findings) {
        self.position += content.len() as u64;
        self.state = match self.state {
            State::Audio(_) => {
                findings.audio(content);
                State::Audio(left)
            }
            _ => State::Skip(left),
        };
        if left == 0 {
            if let State::Audio(_) = self.state {
                findings.end_audio();
            }
            self.state = State::Key;
        }
    }

    fn varint_byte(&mut self, byte: u8, findings: &mut impl Findings) {
        self.varint |= u64::from(byte & 0x7f)
            .checked_shl(7 * self.varint_bytes)
            .unwrap_or(0);
        self.varint_bytes += 1;
        if byte & 0x80 != 0 {
            if self.varint_bytes >= LONGEST_VARINT {
                self.state = State::Broken;
            }
            return;
        }
        let value = std::mem::take(&mut self.varint);
        self.varint_bytes = 0;
        self.state = match self.state {
            State::Key => self.field(value),
            State::Length(places) => self.begin(places, value, findings),
            _ => State::Key,
        };
    }

    /// After the key of a field: its number, and the type of its value.
    fn field(&mut self, key: u64) -> State {
        // The key was the first byte of the field, so a message that has ended is left.
        while self
            .open
            .last()
            .is_some_and(|(end, _)| *end < self.position)
        {
            self.open.pop();
        }
        let depth = self.open.len();
        let around = self
            .open
            .last()
            .map_or(PlaceSet::MAX, |(_, places)| *places);
        match key & 7 {
            0 => State::Number,
            1 => State::Skip(8),
            2 => State::Length(self.places.numbered(around, depth, key >> 3)),
            5 => State::Skip(4),
            _ => State::Broken,
        }
    }

    /// After the length of a field.
    fn begin(&mut self, places: PlaceSet, length: u64, findings: &mut impl Findings) -> State {
        if self.places.is_audio(places, self.open.len() + 1) {
            if length == 0 {
                return State::Key;
            }
            findings.begin_audio();
            return State::Audio(length);
        }
        if places != 0 {
            let end = self.position.saturating_add(length);
            self.open.push((end, places));
            return State::Key;
        }
        match length {
            0 => State::Key,
            _ => State::Skip(length),
        }
    }
}

/// Reads a gRPC stream: messages with prefixes.
pub(super) struct GrpcStream {
    message: ProtobufScanner,
    prefix: [u8; PREFIX],
    held: usize,
    /// What has yet to come of a message.
    left: u64,
}

impl GrpcStream {
    pub(super) fn new(message: ProtobufScanner) -> Self {
        Self {
            message,
            prefix: [0; PREFIX],
            held: 0,
            left: 0,
        }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], findings: &mut impl Findings) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let now = usize::try_from(self.left).map_or(bytes.len(), |it| it.min(bytes.len()));
                let (content, rest) = bytes.split_at(now);
                // A message with the flag is compressed.
                if self.prefix[0] == 0 {
                    self.message.read(content, findings);
                }
                self.left -= now as u64;
                bytes = rest;
                continue;
            }
            self.prefix[self.held] = bytes[0];
            bytes = &bytes[1..];
            self.held += 1;
            if self.held == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length).into();
                self.held = 0;
                self.message.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;
    use voxgate::speech::{AnswerField, Place};

    use super::*;

    const TOP: &[(AnswerField, Place)] = &[(AnswerField::Audio, Place::Proto(Cow::Borrowed(&[4])))];
    const NESTED: &[(AnswerField, Place)] =
        &[(AnswerField::Audio, Place::Proto(Cow::Borrowed(&[2, 1])))];

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Parts(Vec<Vec<u8>>);

    impl Findings for Parts {
        fn begin_audio(&mut self) {
            self.0.push(Vec::new());
        }
        fn audio(&mut self, bytes: &[u8]) {
            self.0
                .last_mut()
                .expect("a part began")
                .extend_from_slice(bytes);
        }
        fn end_audio(&mut self) {}
        fn value(&mut self, _: AnswerField, _: &str) {}
    }

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(content);
        field
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    fn parts(answers: &'static [(AnswerField, Place)], bytes: &[u8], cuts: &[usize]) -> Parts {
        let mut stream = GrpcStream::new(ProtobufScanner::new(Places::of(answers)));
        let mut found = Parts::default();
        let mut ends = [cuts, &[0, bytes.len()]].concat();
        ends.sort_unstable();
        for part in ends.windows(2) {
            stream.read(&bytes[part[0]..part[1]], &mut found);
        }
        found
    }

    proptest! {
        #[test]
        fn the_audio_of_each_message_is_found_however_it_is_cut(
            audio in proptest::collection::vec(any::<u8>(), 1..400),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            // A number, eight bytes, a text that looks like the field, and the field.
            let noise = [&[0x08, 0x96, 0x01, 0x19][..], &[0x22; 8], &field(1, &[0x22, 3, 1, 2])].concat();
            let top = [noise.clone(), field(4, &audio), noise.clone()].concat();
            let inner = [field(1, &audio), field(3, b"x")].concat();
            let nested = [noise.clone(), field(2, &inner), field(2, &[]), field(1, b"no")].concat();
            for (answers, message) in [(TOP, top), (NESTED, nested)] {
                let stream = [framed(&message), framed(&[]), framed(&message)].concat();
                let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
                let found = parts(answers, &stream, &cuts);
                prop_assert_eq!(found.0, [audio.clone(), audio.clone()]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parts(TOP, &framed(&bytes), &[]);
            parts(NESTED, &framed(&bytes), &[]);
            parts(TOP, &bytes, &[]);
        }
    }

    #[test]
    fn a_compressed_message_has_no_audio() {
        let mut compressed = framed(&field(4, b"no"));
        compressed[0] = 1;
        let found = parts(TOP, &[compressed, framed(&field(4, b"hi"))].concat(), &[]);
        assert_eq!(found.0, [b"hi".to_vec()]);
    }
}
