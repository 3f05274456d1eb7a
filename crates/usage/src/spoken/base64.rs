//! Decodes base64 (RFC 4648 §4) that arrives in parts.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Letters that are decoded at once; a multiple of four.
const LETTERS: usize = 1024;

/// A decoder of one text.
pub(super) struct Base64 {
    letters: Box<[u8; LETTERS]>,
    held: usize,
    /// Something else was found.
    is_wrong: bool,
}

impl Default for Base64 {
    fn default() -> Self {
        Self {
            letters: Box::new([0; LETTERS]),
            held: 0,
            is_wrong: false,
        }
    }
}

impl Base64 {
    /// Begins with another text.
    pub(super) fn begin(&mut self) {
        (self.held, self.is_wrong) = (0, false);
    }

    /// Decodes the next letters.
    pub(super) fn read(&mut self, mut text: &[u8], mut found: impl FnMut(&[u8])) {
        while !text.is_empty() && !self.is_wrong {
            let now = (LETTERS - self.held).min(text.len());
            let (first, rest) = text.split_at(now);
            self.letters[self.held..self.held + now].copy_from_slice(first);
            self.held += now;
            text = rest;
            if self.held == LETTERS {
                self.decode(&mut found);
            }
        }
    }

    /// Decodes what is left at the end of the text.
    pub(super) fn end(&mut self, mut found: impl FnMut(&[u8])) {
        self.decode(&mut found);
    }

    fn decode(&mut self, found: &mut impl FnMut(&[u8])) {
        let mut bytes = [0; LETTERS / 4 * 3];
        match ENGINE.decode_slice(&self.letters[..self.held], &mut bytes) {
            Ok(length) if !self.is_wrong => found(&bytes[..length]),
            _ => self.is_wrong = true,
        }
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_is_decoded_however_the_text_is_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..5_000),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = BASE64_STANDARD.encode(&bytes);
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let mut decoder = Base64::default();
            let mut found = Vec::new();
            for part in ends.windows(2) {
                decoder.read(&text.as_bytes()[part[0]..part[1]], |part| found.extend_from_slice(part));
            }
            decoder.end(|part| found.extend_from_slice(part));
            prop_assert_eq!(found, bytes);
        }
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        let mut decoder = Base64::default();
        decoder.read(b"not base64!", |_| panic!("decoded"));
        decoder.end(|_| panic!("decoded"));
        decoder.begin();
        let mut found = Vec::new();
        decoder.read(b"aGk", |part| found.extend_from_slice(part));
        decoder.end(|part| found.extend_from_slice(part));
        assert_eq!(found, b"hi");
    }
}
