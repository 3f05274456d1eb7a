//! Checkpoints: signed notes that say how long the log was, and what its chain.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chain::{Chain, Position};
use super::fields::{Fields, parse_integer, unescape};
use super::note::{Note, Signer, VerifierKey};

/// What a checkpoint says: at that time so many lines were in the log and on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) origin: String,
    pub(super) lines: u64,
    pub(super) chain: Chain,
    /// The segment of the last line, and its number there.
    pub(super) segment: u64,
    pub(super) line: u64,
}

impl Checkpoint {
    pub(super) fn new(origin: &str, at: &Position) -> Self {
        Self {
            origin: origin.to_owned(),
            lines: at.lines,
            chain: at.chain,
            segment: at.segment,
            line: at.line,
        }
    }

    pub(super) fn sign(&self, signer: &Signer) -> String {
        signer.sign(&self.text())
    }

    fn text(&self) -> String {
        let chain = STANDARD.encode(self.chain.as_bytes());
        let Self {
            origin,
            lines,
            segment,
            line,
            ..
        } = self;
        format!("{origin}\n{lines}\n{chain}\nsegment {segment} line {line}\n")
    }

    /// Reads a note's text; `None` if it has not exactly this form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next()?.to_owned();
        let count = parse_integer(lines.next()?)?;
        let chain = STANDARD.decode(lines.next()?).ok()?;
        let (segment, line) = lines
            .next()?
            .strip_prefix("segment ")?
            .split_once(" line ")?;
        let checkpoint = Self {
            origin,
            lines: count,
            chain: Chain::from_bytes(chain.try_into().ok()?),
            segment: parse_integer(segment)?,
            line: parse_integer(line)?,
        };
        (lines.next().is_none() && checkpoint.text() == text).then_some(checkpoint)
    }
}

/// Checkpoints that were kept apart from the log, and where in their file each one stands.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints(pub(super) Vec<Kept>);

#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The line of the file where it begins.
    pub(super) line: u64,
    pub(super) note: String,
    pub(super) checkpoint: Checkpoint,
}

impl Kept {
    pub(super) fn is_signed_by(&self, keys: &[VerifierKey]) -> bool {
        Note::parse(&self.note).is_some_and(|note| note.is_signed_by(keys))
    }
}

/// A file of checkpoints is not readable from this line on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCheckpoints {
    /// The line, counted from one.
    pub line: u64,
}

impl std::fmt::Display for InvalidCheckpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} is no part of a checkpoint", self.line)
    }
}

impl std::error::Error for InvalidCheckpoints {}

impl Checkpoints {
    /// Reads notes one after the other, `checkpoint` lines of the audit log, or the lines of the
    /// process's log that repeat them, in any mixture. Other lines of JSON are skipped, so that a
    /// whole stream of audit lines, or the whole log of the process, can be given.
    ///
    /// # Errors
    ///
    /// There is something else in it.
    pub fn parse(text: &str) -> Result<Self, InvalidCheckpoints> {
        let mut found = Vec::new();
        let mut lines = (1..).zip(text.split_inclusive('\n')).peekable();
        while let Some((line, first)) = lines.next() {
            let invalid = InvalidCheckpoints { line };
            let note = if first.trim().is_empty() {
                continue;
            } else if first.starts_with('{') {
                match checkpoint_field(first.trim_end()).map_err(|()| invalid)? {
                    Some(note) => note,
                    None => continue,
                }
            } else {
                let mut note = first.to_owned();
                let mut signed = false;
                while let Some((_, next)) =
                    lines.next_if(|(_, next)| !signed || next.starts_with('\u{2014}'))
                {
                    signed |= next.starts_with('\u{2014}');
                    note.push_str(next);
                }
                if !note.ends_with('\n') {
                    note.push('\n');
                }
                note
            };
            let checkpoint = Note::parse(&note).and_then(|note| Checkpoint::parse(note.text));
            let checkpoint = checkpoint.ok_or(invalid)?;
            found.push(Kept {
                line,
                note,
                checkpoint,
            });
        }
        Ok(Self(found))
    }

    /// Adds those of another file.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The note in a `checkpoint` line of the log, with or without its chain, or in the line of the
/// process's log (`VOXGATE_LOG_FORMAT=json`) that repeats it.
fn checkpoint_field(line: &str) -> Result<Option<String>, ()> {
    let body = line.strip_suffix('}').ok_or(())?;
    // The process's log contains other characters than ASCII as they are.
    let body = escape(body);
    let mut is_checkpoint = false;
    let mut found = None;
    for field in Fields::new(body.as_bytes()) {
        match field.map_err(|_| ())? {
            ("event", value) => is_checkpoint |= value.plain() == Some("checkpoint"),
            ("message", value) => is_checkpoint |= value.plain() == Some("audit checkpoint"),
            ("note", super::fields::Value::Text(note)) => found = Some(note),
            _ => {}
        }
    }
    match found {
        Some(note) if is_checkpoint => unescape(note).map(Some).ok_or(()),
        None if is_checkpoint => Err(()),
        _ => Ok(None),
    }
}

/// Escapes every character that is not ASCII.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii() {
            true => escaped.push(character),
            false => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}
