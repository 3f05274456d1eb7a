//! The list of redacted lines: statements, each about the lines that one command has redacted.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{Entry, Redactions, mask};
use crate::chain::{Chain, hex, read_hex};
use crate::fields::{Fields, Value, escape, unescape};
use crate::note::{Note, Signer, VerifierKey};

/// What one command has redacted in one segment.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    pub(crate) segment: u64,
    pub(crate) origin: String,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// The signed note about it; empty if it is not signed.
    note: String,
    /// Of its lines but the last.
    sha256: [u8; 32],
    /// Its last line in the list.
    pub(crate) last_line: u64,
}

/// A list that is not what was written, and the line where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidList {
    pub(crate) line: u64,
}

impl Statement {
    /// The key that has signed it.
    pub(crate) fn signer<'k>(&self, keys: &'k [VerifierKey]) -> Option<&'k VerifierKey> {
        let note = Note::parse(&self.note)?;
        let right = note.text == signed_text(&self.origin, self.segment, &self.sha256);
        note.signer(keys).filter(|_| right)
    }
}

/// The second line keeps it apart from a checkpoint, which has a number there.
fn signed_text(origin: &str, segment: u64, sha256: &[u8; 32]) -> String {
    let hash = STANDARD.encode(sha256);
    format!("{origin}\nredaction\n{hash}\nsegment {segment}\n")
}

/// A statement that is being made.
pub(super) struct Draft {
    text: String,
    origin: String,
    segment: u64,
}

/// What is said in every statement of one command.
pub(super) struct About<'a> {
    pub(super) time: &'a str,
    pub(super) by: &'a str,
    pub(super) reason: &'a str,
}

impl Draft {
    pub(super) fn new(about: &About<'_>, segment: u64, origin: &str) -> Self {
        let text = format!(
            "{{\"v\":1,\"event\":\"redaction\",\"ts\":\"{}\",\"segment\":{segment},\
             \"origin\":\"{}\",\"by\":\"{}\",\"reason\":\"{}\"}}\n",
            about.time,
            escape(origin),
            escape(about.by),
            escape(about.reason)
        );
        Self {
            text,
            origin: origin.to_owned(),
            segment,
        }
    }

    /// Adds a line: its number, its chain, what it is now, and the fields that were removed.
    pub(super) fn add(&mut self, line: u64, chain: &Chain, redacted: &[u8], fields: u32) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "{{\"line\":{line},\"chain\":\"{chain}\",\"sha256\":\"{}\",\"fields\":\"{}\"}}",
            hex(&Sha256::digest(redacted)),
            mask::names(fields)
        );
    }

    /// The statement as it is written.
    pub(super) fn finish(self, signer: Option<&Signer>) -> String {
        let Self {
            mut text,
            origin,
            segment,
        } = self;
        let sha256: [u8; 32] = Sha256::digest(&text).into();
        let note = signer.map(|key| key.sign(&signed_text(&origin, segment, &sha256)));
        let _ = writeln!(
            text,
            "{{\"event\":\"redaction_end\",\"sha256\":\"{}\",\"note\":\"{}\"}}",
            hex(&sha256),
            escape(note.as_deref().unwrap_or_default())
        );
        text
    }
}

/// Adds all statements of a list.
pub(super) fn parse(text: &str, found: &mut Redactions) -> Result<(), InvalidList> {
    let mut open: Option<(Statement, Sha256)> = None;
    let mut number = 0;
    for line in text.split_inclusive('\n') {
        number += 1;
        let wrong = InvalidList { line: number };
        let fields = line.strip_suffix("}\n").ok_or(wrong)?;
        let fields: Result<Vec<_>, _> = Fields::new(fields.as_bytes()).collect();
        let fields = fields.map_err(|_| wrong)?;
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let text = |at: usize| match fields[at].1 {
            Value::Text(text) => unescape(text).ok_or(wrong),
            _ => Err(wrong),
        };
        let integer = |at: usize| fields[at].1.integer().ok_or(wrong);
        match (&names[..], &mut open) {
            (["v", "event", "ts", "segment", "origin", "by", "reason"], None)
                if text(1)? == "redaction" && integer(0)? == 1 =>
            {
                let statement = Statement {
                    time: text(2)?,
                    segment: integer(3)?,
                    origin: text(4)?,
                    by: text(5)?,
                    reason: text(6)?,
                    note: String::new(),
                    sha256: [0; 32],
                    last_line: 0,
                };
                open = Some((statement, Sha256::new().chain_update(line)));
            }
            (["line", "chain", "sha256", "fields"], Some((_, hasher))) => {
                hasher.update(line);
                let mut bits = 0;
                for name in text(3)?.split(' ') {
                    bits |= mask::bit(name).ok_or(wrong)?;
                }
                found.entries.push(Entry {
                    line: integer(0)?,
                    chain: Chain::from_hex(text(1)?.as_bytes()).ok_or(wrong)?,
                    sha256: read_hex(text(2)?.as_bytes()).ok_or(wrong)?,
                    fields: bits,
                    statement: found.statements.len(),
                });
            }
            (["event", "sha256", "note"], Some(_)) if text(0)? == "redaction_end" => {
                let (mut statement, hasher) = open.take().ok_or(wrong)?;
                statement.sha256 = hasher.finalize().into();
                if read_hex(text(1)?.as_bytes()) != Some(statement.sha256) {
                    return Err(wrong);
                }
                statement.note = text(2)?;
                statement.last_line = number;
                found.statements.push(statement);
            }
            _ => return Err(wrong),
        }
    }
    match open {
        Some(_) => Err(InvalidList { line: number + 1 }),
        None => Ok(()),
    }
}
