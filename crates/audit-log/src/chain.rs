//! The chain: how a line is bound to every line before it.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What stands between a line's other fields and the chain's digits, and after them.
const OPENING: &[u8] = br#","chain":""#;
const CLOSING: &[u8] = br#""}"#;
const DIGITS: usize = 64;

/// How many bytes of a line are its last field, without the newline.
const FIELD: usize = OPENING.len() + DIGITS + CLOSING.len();

/// How many bytes a line has on top of its body: its last field, and the newline.
pub(super) const OVERHEAD: usize = FIELD + 1;

/// What a line is chained with: SHA-256 of the chain before it and of its own bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Chain([u8; 32]);

impl Chain {
    /// What the first line of a log is chained to.
    pub const START: Self = Self([0; 32]);

    /// The chain of a line with this body (all before `,"chain":`).
    fn after(self, body: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(body);
        Self(hash.finalize().into())
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub(super) fn from_hex(digits: &[u8]) -> Option<Self> {
        read_hex(digits).map(Self)
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes that the hexadecimal digits stand for.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// A place between two lines of the log: all up to here is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The segment that the last line is in; 0 before the first line of all.
    pub segment: u64,
    /// How many lines of that segment are before this place.
    pub line: u64,
    /// How many bytes of that segment are before it.
    pub bytes: u64,
    /// How many lines of the whole log are before it.
    pub lines: u64,
    /// The chain of the last line.
    pub chain: Chain,
}

impl Position {
    /// Before the first line of all.
    pub(super) const START: Self = Self {
        segment: 0,
        line: 0,
        bytes: 0,
        lines: 0,
        chain: Chain::START,
    };

    /// The beginning of the next segment.
    pub(super) fn next_segment(self) -> Self {
        Self {
            segment: self.segment + 1,
            line: 0,
            bytes: 0,
            ..self
        }
    }

    /// Adds a line with this body to `buffer`, and says where the log is after it.
    #[must_use]
    pub(super) fn push(self, body: &[u8], buffer: &mut Vec<u8>) -> Self {
        let chain = self.chain.after(body);
        buffer.extend_from_slice(body);
        buffer.extend_from_slice(OPENING);
        buffer.extend_from_slice(&digits_of(&chain.0));
        buffer.extend_from_slice(CLOSING);
        buffer.push(b'\n');
        self.moved(body.len() + OVERHEAD, chain)
    }

    /// The body of a line (without its newline) and the place after it; `None` if the line is not
    /// the one that was chained here.
    pub(super) fn check(self, line: &[u8]) -> Option<(&[u8], Self)> {
        let (body, field) = line.split_at(line.len().checked_sub(FIELD)?);
        let digits = field.strip_prefix(OPENING)?.strip_suffix(CLOSING)?;
        let chain = self.chain.after(body);
        let right = digits == digits_of(&chain.0);
        right.then(|| (body, self.moved(line.len() + 1, chain)))
    }

    /// As [`Position::check`], for a line whose text was removed: its chain must be this one, which
    /// is that of the text before.
    pub(super) fn check_redacted(self, line: &[u8], chain: Chain) -> Option<(&[u8], Self)> {
        let (body, field) = line.split_at(line.len().checked_sub(FIELD)?);
        let digits = field.strip_prefix(OPENING)?.strip_suffix(CLOSING)?;
        let right = digits == digits_of(&chain.0);
        right.then(|| (body, self.moved(line.len() + 1, chain)))
    }

    fn moved(self, bytes: usize, chain: Chain) -> Self {
        Self {
            line: self.line + 1,
            lines: self.lines + 1,
            bytes: self.bytes + bytes as u64,
            chain,
            ..self
        }
    }
}

/// The body of a line whose chain is not known to be right.
pub(super) fn unchecked_body(line: &[u8]) -> Option<&[u8]> {
    let (body, field) = line.split_at(line.len().checked_sub(FIELD)?);
    field.starts_with(OPENING).then_some(body)
}

/// The chain that a line claims to have.
pub(super) fn claimed_chain(line: &[u8]) -> Option<Chain> {
    let (_, field) = line.split_at(line.len().checked_sub(FIELD)?);
    Chain::from_hex(field.strip_prefix(OPENING)?.strip_suffix(CLOSING)?)
}

/// How many chains are in a line. Two lines that have lost the newline between them have two.
pub(super) fn fields_in(line: &[u8]) -> usize {
    let windows = line.windows(OPENING.len());
    windows.filter(|window| *window == OPENING).count()
}

/// The lower-case hexadecimal digits of a chain.
fn digits_of(bytes: &[u8; 32]) -> [u8; DIGITS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; DIGITS];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
    digits
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// Reads exactly so many bytes from lower-case hexadecimal digits.
pub(super) fn read_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [digit(pair[0])?, digit(pair[1])?];
        *byte = high << 4 | low;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}
