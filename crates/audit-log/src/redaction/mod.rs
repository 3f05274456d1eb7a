//! Redacted lines: the list of them beside their segment, and how it proves them.
//!
//! A redacted line has its old length and its old chain, and `*` in place of what was removed. Its
//! text no longer is what the chain was made of; the list, `audit-<number>.redacted`, names it by
//! its number, its chain, and the SHA-256 of what is there now, and is signed.

mod error;
mod mask;
mod rewrite;
mod statement;

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub use self::error::RedactError;
pub use self::mask::{REDACTABLE_FIELDS, Redactable};
#[cfg(test)]
pub(super) use self::rewrite::redact_with;
pub use self::rewrite::{RedactOptions, RedactReport, redact};
use self::statement::{InvalidList, Statement};
use super::chain::{Chain, Position};
use super::content;

/// A list that is longer is not read.
const MAX_BYTES: u64 = 1 << 30;

/// The redactions of one segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactions {
    pub(super) statements: Vec<Statement>,
    /// How many lines each statement has made what they are, as far as the segment was read.
    pub(super) used: Vec<u64>,
    /// By their lines. A line has several, if it was redacted several times.
    entries: Vec<Entry>,
}

/// One redacted line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    line: u64,
    chain: Chain,
    /// Of the line as it is now, without its newline.
    sha256: [u8; 32],
    /// The fields that were removed, by their place in [`REDACTABLE_FIELDS`].
    fields: u32,
    statement: usize,
}

/// Why a list of redactions could not be read.
#[derive(Debug)]
pub(super) enum Unusable {
    Io(io::Error),
    Invalid(InvalidList),
}

impl Redactions {
    /// Reads the list beside a segment, if there is one.
    pub(super) fn load(segment: &Path) -> Result<Option<Self>, Unusable> {
        let path = segment.with_extension("redacted");
        let text = match content::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unusable::Io(error)),
            Ok(file) => {
                let length = file.metadata().map_err(Unusable::Io)?.len();
                if length > MAX_BYTES {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "it is too long");
                    return Err(Unusable::Io(error));
                }
                io::read_to_string(file).map_err(Unusable::Io)?
            }
        };
        Self::parse(&text).map(Some).map_err(Unusable::Invalid)
    }

    fn parse(text: &str) -> Result<Self, InvalidList> {
        let mut found = Self::default();
        statement::parse(text, &mut found)?;
        found.entries.sort_by_key(|entry| entry.line);
        found.used = vec![0; found.statements.len()];
        Ok(found)
    }

    /// The lines that are named, each once.
    pub(super) fn lines(&self) -> u64 {
        let mut lines: Vec<u64> = self.entries.iter().map(|entry| entry.line).collect();
        lines.dedup();
        lines.len() as u64
    }

    /// The body of the line after this place, and the place after it, if it is redacted as the list
    /// says.
    pub(super) fn check<'l>(
        &mut self,
        at: &Position,
        line: &'l [u8],
    ) -> Option<(&'l [u8], Position)> {
        let number = at.line + 1;
        let from = self.entries.partition_point(|entry| entry.line < number);
        let candidates = self.entries.get(from..)?.iter();
        let mut candidates = candidates
            .take_while(|entry| entry.line == number)
            .peekable();
        candidates.peek()?;
        let sha256: [u8; 32] = Sha256::digest(line).into();
        let entry = candidates.find(|entry| entry.sha256 == sha256)?;
        let (body, after) = at.check_redacted(line, entry.chain)?;
        if !mask::is_masked(body, entry.fields) {
            return None;
        }
        *self.used.get_mut(entry.statement)? += 1;
        Some((body, after))
    }
}
