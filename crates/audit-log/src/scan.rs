//! Reading a segment, line by line, as far as its chain is right.

use std::fs::File;
use std::io::{self, BufRead as _, Read};
use std::path::Path;

use super::chain::{Position, fields_in, unchecked_body};
use super::content;
use super::reading::{self, Line};
use super::record::{Follows, Open, Own, Recovery};
use super::redaction::Redactions;

/// Longer than any line that is written.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Reads a segment.
pub(super) struct Scan {
    lines: Lines,
    at: Position,
    sealed: bool,
    redactions: Option<Redactions>,
}

/// What comes next in a segment.
pub(super) enum Step<'a> {
    /// A line whose chain is right, and the place after it.
    Line(Line<'a>, Position),
    /// There are no more lines, or the next one is not right.
    End(End),
}

/// How the readable part of a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing follows the last line.
    Whole,
    /// What follows can be left over from a write that was interrupted: it is one line, or the
    /// file system has filled up with zeroes what never reached the disk. Its `seq`, if it has
    /// one.
    Torn(Option<u64>),
    /// What follows was there and has been changed, or does not belong there.
    Damaged(Option<u64>),
}

impl Scan {
    /// Reads from the beginning, which is the place `start`, up to `limit` bytes.
    pub(super) fn open(path: &Path, start: Position, limit: u64) -> io::Result<Self> {
        Ok(Self {
            lines: Lines::open(path, limit)?,
            at: start,
            sealed: false,
            redactions: None,
        })
    }

    /// As [`Scan::open`]. Redacted lines are right if the list beside the segment can be read and
    /// names them.
    pub(super) fn open_redacted(path: &Path, start: Position, limit: u64) -> io::Result<Self> {
        let redactions = Redactions::load(path).ok().flatten();
        Ok(Self::open(path, start, limit)?.with_redactions(redactions))
    }

    pub(super) fn with_redactions(self, redactions: Option<Redactions>) -> Self {
        Self { redactions, ..self }
    }

    /// The redactions of this segment, and how many lines each of them has redacted up to here.
    pub(super) fn redactions(&self) -> Option<&Redactions> {
        self.redactions.as_ref()
    }

    /// After the last line that was right.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Whether the last line was the seal.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The next line. After an [`End`] there is nothing more to be asked for.
    pub(super) fn next(&mut self) -> io::Result<Step<'_>> {
        let Some(raw) = self.lines.next()? else {
            return Ok(Step::End(End::Whole));
        };
        let is_allowed = raw.whole && !self.sealed;
        let original = self.at.check(raw.bytes).filter(|_| is_allowed);
        let is_redacted = original.is_none();
        let redactions = self.redactions.as_mut().filter(|_| is_allowed);
        let checked = original.or_else(|| redactions?.check(&self.at, raw.bytes));
        let Some((body, after)) = checked else {
            let is_one = raw.last && fields_in(raw.bytes) < 2;
            let torn = !self.sealed && (is_one || raw.bytes.contains(&0));
            let seq = reading::claimed_seq(raw.bytes);
            let end = if torn { End::Torn } else { End::Damaged };
            return Ok(Step::End(end(seq)));
        };
        let line = reading::read(body);
        // What the log says of itself is never redacted.
        let is_record = |line: &Line<'_>| matches!(line, Line::Event(it) if it.lost.is_none());
        let Some(line) = line.filter(|line| !is_redacted || is_record(line)) else {
            return Ok(Step::End(End::Damaged(reading::claimed_seq(body))));
        };
        self.at = after;
        self.sealed = matches!(
            line,
            Line::Own {
                own: Own::Seal { .. },
                ..
            }
        );
        Ok(Step::Line(line, after))
    }
}

/// What a segment says of the one before it.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) open: Open,
    pub(super) recoveries: Vec<Recovery>,
    pub(super) instance: String,
    /// When it was opened, which is when the one before was closed.
    pub(super) time: String,
}

impl Header {
    /// Reads the lines that a segment begins with; `None` if not all of them are right. Its first
    /// line is believed where it begins.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(start) = claimed_start(path)? else {
            return Ok(None);
        };
        let mut scan = Scan::open(path, start, u64::MAX)?;
        let mut header = match scan.next()? {
            Step::Line(
                Line::Own {
                    own: Own::Open(open),
                    instance,
                    time,
                },
                _,
            ) => Self {
                open,
                recoveries: Vec::new(),
                instance,
                time,
            },
            _ => return Ok(None),
        };
        while (header.recoveries.len() as u64) < header.open.recoveries {
            match scan.next()? {
                Step::Line(
                    Line::Own {
                        own: Own::Recovery(recovery),
                        ..
                    },
                    _,
                ) => {
                    header.recoveries.push(recovery);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(header))
    }

    /// Whether a segment without a header is one whose creation was interrupted: nothing else is
    /// in it.
    pub(super) fn is_interrupted(path: &Path) -> io::Result<bool> {
        let start = claimed_start(path)?.unwrap_or(Position::START);
        let mut scan = Scan::open(path, start, u64::MAX)?;
        loop {
            match scan.next()? {
                Step::Line(
                    Line::Own {
                        own: Own::Open(_) | Own::Recovery(_),
                        ..
                    },
                    _,
                ) => {}
                Step::End(End::Whole | End::Torn(_)) => return Ok(true),
                Step::Line(..) | Step::End(End::Damaged(_)) => return Ok(false),
            }
        }
    }

    /// What was found after the segment before this one.
    pub(super) fn torn(&self) -> Option<&Recovery> {
        let before = |it: &&Recovery| it.segment + 1 == self.open.segment && it.bytes > 0;
        let unsealed = self.open.follows == Follows::Unsealed;
        self.recoveries.iter().find(before).filter(|_| unsealed)
    }
}

/// Where a segment says that it begins.
fn claimed_start(path: &Path) -> io::Result<Option<Position>> {
    let mut lines = Lines::open(path, u64::MAX)?;
    let Some(first) = lines.next()? else {
        return Ok(None);
    };
    Ok(match unchecked_body(first.bytes).and_then(reading::read) {
        Some(Line::Own {
            own: Own::Open(open),
            ..
        }) => Some(open.start()),
        _ => None,
    })
}

/// The lines of a file, of bounded length.
struct Lines {
    file: io::Take<File>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

/// A line, without its newline.
struct Raw<'a> {
    bytes: &'a [u8],
    /// Whether it had one.
    whole: bool,
    /// Whether nothing comes after it.
    last: bool,
}

impl Lines {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            file: content::open(path)?.take(limit),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            ended: false,
        })
    }

    fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        let mut length = 0;
        loop {
            if !self.is_whole(length) {
                length = self.newline(length)?;
            }
            // One byte more than the line tells whether it is the last one.
            let known = self.is_whole(length) && self.start + length < self.end;
            if known || self.ended || !self.fill()? {
                break;
            }
        }
        if length == 0 {
            return Ok(None);
        }
        let whole = self.is_whole(length);
        let line = &self.buffer[self.start..self.start + length];
        self.start += length;
        Ok(Some(Raw {
            bytes: line.strip_suffix(b"\n").unwrap_or(line),
            whole,
            last: self.ended && self.start == self.end,
        }))
    }

    /// Whether a line of this length ends here.
    fn is_whole(&self, length: usize) -> bool {
        self.buffer[self.start..self.start + length].last() == Some(&b'\n')
    }

    /// The length of the line that begins at `start`, as far as it is in the buffer.
    fn newline(&self, seen: usize) -> io::Result<usize> {
        let mut rest = &self.buffer[self.start + seen..self.end];
        Ok(seen + rest.skip_until(b'\n')?)
    }

    /// Reads on. `false` if the buffer is full.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            return Ok(false);
        }
        let read = loop {
            match self.file.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ended = read == 0;
        self.end += read;
        Ok(true)
    }
}
