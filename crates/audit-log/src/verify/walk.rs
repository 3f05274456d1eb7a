//! The way through the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::holes::Hole;
use super::marks::Marks;
use super::sequence::Sequence;
use super::time_stamps::Stamping;
use super::{
    Redacted, VerifyOptions, VerifyOutcome, VerifyProblem, VerifyProgress, VerifyReport, last_time,
};
use crate::chain::Position;
use crate::loss::Loss;
use crate::names;
use crate::reading::Line;
use crate::record::Follows;
use crate::scan::{End, Header, Scan, Step};

/// Lines between two calls of the progress function.
const PROGRESS_LINES: u64 = 4096;

/// A walk through a log. Its other halves are in `lines.rs` and `ends.rs`.
pub(super) struct Walk<'a> {
    pub(super) directory: &'a Path,
    pub(super) options: &'a VerifyOptions,
    progress: &'a mut dyn FnMut(VerifyProgress),
    pub(super) report: VerifyReport,
    /// After the last line that is right.
    pub(super) at: Position,
    /// The `instance` of the segment that is being read.
    pub(super) instance: String,
    pub(super) sequence: Sequence,
    pub(super) gap: Option<VerifyProblem>,
    torn: Option<VerifyProblem>,
    pub(super) marks: Option<Marks>,
    pub(super) origins: BTreeSet<String>,
    /// Where each segment ended.
    pub(super) ends: BTreeMap<u64, Position>,
    /// The segment, just read, whose torn end is still where it was.
    pub(super) in_place: Option<u64>,
    /// `recovery` lines that have to come next.
    pub(super) recoveries_due: u64,
    pub(super) stamping: Stamping,
    /// Lines that are missing, in the order in which they would stand.
    pub(super) holes: Vec<Hole>,
    /// The segment, just read, that is broken off before missing ones, and its first missing line.
    pub(super) broken_off: Option<(u64, u64)>,
    /// What the log itself says of lost segments.
    pub(super) losses: Vec<Loss>,
    /// The last segment that a `retention` line says is deleted.
    pub(super) deleted: u64,
    /// The lines of the log up to there.
    pub(super) deleted_lines: u64,
    /// Event lines after the last signed checkpoint, and whether that is in this segment.
    pub(super) unsigned: u64,
    pub(super) signed_here: bool,
    /// The first event line that had to be signed and is not.
    pub(super) not_signed: Option<VerifyProblem>,
    bytes: u64,
    total: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        directory: &'a Path,
        options: &'a VerifyOptions,
        progress: &'a mut dyn FnMut(VerifyProgress),
    ) -> Self {
        Self {
            directory,
            options,
            progress,
            report: VerifyReport {
                outcome: VerifyOutcome::Whole,
                first_segment: 0,
                end: Position::START,
                lines: 0,
                events: 0,
                checkpoints: 0,
                signed_lines: (!options.keys.is_empty()).then_some(0),
                time_stamps: 0,
                time_stamped: None,
                signed_until: None,
                signers: BTreeSet::new(),
                period: None,
                compared: 0,
                proven: None,
                redacted: Redacted::default(),
                sealed: false,
                live: is_locked(directory),
                notes: Vec::new(),
            },
            at: Position::START,
            instance: String::new(),
            sequence: Sequence::from_start(),
            gap: None,
            torn: None,
            marks: options.checkpoints.as_ref().map(Marks::new),
            origins: BTreeSet::new(),
            ends: BTreeMap::new(),
            in_place: None,
            recoveries_due: 0,
            stamping: Stamping::default(),
            holes: Vec::new(),
            broken_off: None,
            losses: Vec::new(),
            deleted: 0,
            deleted_lines: 0,
            unsigned: 0,
            signed_here: false,
            not_signed: None,
            bytes: 0,
            total: 0,
        }
    }

    pub(super) fn run(mut self) -> VerifyReport {
        let outcome = match self.walk() {
            Ok(()) => {
                self.redacted_end();
                self.conclude()
            }
            // What is missing comes before the line at which the reading ended.
            Err(outcome) => Err(self.missing(false).err().unwrap_or(outcome)),
        };
        self.report.outcome = outcome.err().unwrap_or(VerifyOutcome::Whole);
        self.report.end = self.at;
        self.report
    }

    fn walk(&mut self) -> Result<(), VerifyOutcome> {
        let numbers = names::segments(self.directory).map_err(|error| {
            let problem = VerifyProblem::new(
                self.directory.display().to_string(),
                0,
                None,
                error.to_string(),
            );
            VerifyOutcome::Unreadable(problem)
        })?;
        let Some(first) = numbers.first().copied() else {
            let directory = self.directory.display().to_string();
            let problem = VerifyProblem::new(
                directory,
                0,
                None,
                "the directory contains no segment; name the directory of an audit log",
            );
            return Err(VerifyOutcome::Unreadable(problem));
        };
        let length = |number: &u64| fs::metadata(self.path(*number)).map_or(0, |it| it.len());
        self.total = numbers.iter().map(length).sum();
        self.report.first_segment = first;
        self.begin(first)?;
        for (at, number) in numbers.iter().copied().enumerate() {
            if number != self.at.segment + 1 {
                self.missing_segments(number)?;
            }
            let following = numbers.get(at + 1).filter(|next| **next == number + 1);
            // One that cannot be read is reported in its turn, and another segment under this
            // name says nothing about this one.
            let header = following.and_then(|next| self.header(*next).ok().flatten());
            let next = header.filter(|header| header.open.segment == number + 1);
            let is_followed_by_hole = at + 1 < numbers.len() && following.is_none();
            self.segment(number, next, is_followed_by_hole)?;
        }
        (self.progress)(VerifyProgress {
            bytes: self.total,
            total: self.total,
        });
        Ok(())
    }

    /// Before the first segment. If it is not the very first, it says itself where it begins.
    fn begin(&mut self, first: u64) -> Result<(), VerifyOutcome> {
        self.at.segment = first.saturating_sub(1);
        if first > 1 {
            self.sequence = Sequence::from_the_middle();
            if let Some(header) = self.header(first)? {
                self.at = Position {
                    segment: first - 1,
                    ..header.open.start()
                };
                self.instance.clone_from(&header.instance);
            }
            self.holes.push(Hole {
                from: 1,
                to: first - 1,
                line: 1,
                lines: (1, self.at.lines),
                is_beginning: true,
            });
        }
        self.ends.insert(first.saturating_sub(1), self.at);
        if let Some(marks) = &mut self.marks {
            marks.begin(&self.at, last_time(&self.report));
        }
        Ok(())
    }

    /// Reads a segment. `has_later` says that there is a later one, though it may not be the next.
    fn segment(
        &mut self,
        number: u64,
        next: Option<Header>,
        has_later: bool,
    ) -> Result<(), VerifyOutcome> {
        let limit = next.as_ref().map_or(u64::MAX, |next| next.open.end);
        let start = self.at.next_segment();
        self.at = start;
        self.signed_here = false;
        let path = self.path(number);
        let mut scan = match (Scan::open(&path, start, limit), &next) {
            // Whatever has the name of a lost segment now is not read.
            (Err(error), Some(next))
                if next.open.follows == Follows::Lost
                    && error.kind() == io::ErrorKind::InvalidInput =>
            {
                self.lost_end(next)?;
                self.ends.insert(number, self.at);
                return Ok(());
            }
            (scan, _) => {
                let scan = scan.map_err(|error| self.unreadable(error))?;
                scan.with_redactions(self.redactions(number)?)
            }
        };
        let ended = loop {
            let step = scan.next().map_err(|error| self.unreadable(error))?;
            match step {
                Step::Line(line, after) => self.line(line, after)?,
                Step::End(end) => break end,
            }
        };
        self.report.sealed = scan.is_sealed();
        self.redacted(&scan, ended)?;
        match next {
            Some(next) => self.closed(&next, ended, scan.is_sealed())?,
            None if has_later && ended != End::Whole => {
                self.broken_off = Some((number, self.at.line + 1));
            }
            None => self.open_ended(ended)?,
        }
        self.ends.insert(number, self.at);
        self.bytes += self.at.bytes;
        Ok(())
    }

    /// A line whose chain is right, and the place after it.
    fn line(&mut self, line: Line<'_>, after: Position) -> Result<(), VerifyOutcome> {
        let before = std::mem::replace(&mut self.at, after);
        self.report.lines += 1;
        match line {
            Line::Event(event) => self.event(&event)?,
            Line::Own {
                own,
                instance,
                time,
            } => self.own(own, instance, &time, &before)?,
        }
        if let Some(marks) = &mut self.marks {
            marks.pass(&after, last_time(&self.report));
        }
        if self.report.lines.is_multiple_of(PROGRESS_LINES) {
            let bytes = self.bytes + after.bytes;
            (self.progress)(VerifyProgress {
                bytes,
                total: self.total.max(bytes),
            });
        }
        Ok(())
    }

    /// A segment whose successor could not be read, or is missing, or that is the last one.
    fn open_ended(&mut self, ended: End) -> Result<(), VerifyOutcome> {
        match ended {
            End::Whole if self.recoveries_due > 0 => {
                self.torn_at(None, "the segment's creation was interrupted");
            }
            End::Whole if self.at.bytes > 0 => {}
            End::Whole => self.torn_at(None, "the file is empty: its creation was interrupted"),
            End::Torn(seq) => {
                self.torn_at(seq, "the line is not whole: its writing was interrupted");
            }
            End::Damaged(seq) => return Err(self.damaged(seq)),
        }
        Ok(())
    }

    fn torn_at(&mut self, seq: Option<u64>, what: &str) {
        let file = names::segment(self.at.segment);
        let problem = VerifyProblem::new(file, self.at.line + 1, seq, what);
        self.torn.get_or_insert(problem);
    }

    pub(super) fn torn(&mut self) -> Option<VerifyProblem> {
        self.torn.take()
    }

    pub(super) fn path(&self, segment: u64) -> PathBuf {
        self.directory.join(names::segment(segment))
    }

    pub(super) fn header(&self, segment: u64) -> Result<Option<Header>, VerifyOutcome> {
        Header::read(&self.path(segment)).map_err(|error| {
            let problem = VerifyProblem::new(names::segment(segment), 1, None, error.to_string());
            VerifyOutcome::Unreadable(problem)
        })
    }

    pub(super) fn unreadable(&self, error: io::Error) -> VerifyOutcome {
        let file = names::segment(self.at.segment);
        VerifyOutcome::Unreadable(VerifyProblem::new(
            file,
            self.at.line + 1,
            None,
            error.to_string(),
        ))
    }

    /// The line that was read last is not as it has to be.
    pub(super) fn tampered(&self, what: &str) -> VerifyOutcome {
        self.tampered_at(self.at.segment, self.at.line, what)
    }

    pub(super) fn tampered_at(&self, segment: u64, line: u64, what: &str) -> VerifyOutcome {
        VerifyOutcome::Tampered(VerifyProblem::new(
            names::segment(segment),
            line,
            None,
            what,
        ))
    }

    /// The line after the last right one is not what was written.
    pub(super) fn damaged(&self, seq: Option<u64>) -> VerifyOutcome {
        let what = "the line is not the one that was chained here: it was changed, moved, inserted, \
                    or one before it is missing";
        let file = names::segment(self.at.segment);
        VerifyOutcome::Tampered(VerifyProblem::new(file, self.at.line + 1, seq, what))
    }
}

/// Whether a writer holds the directory.
fn is_locked(directory: &Path) -> bool {
    let locked = File::open(directory).map(|directory| directory.try_lock_shared());
    matches!(locked, Ok(Err(fs::TryLockError::WouldBlock)))
}
