//! Lines that are missing, and whether the log itself says so.

use super::walk::Walk;
use super::{VerifyOutcome, VerifyProblem, last_time};
use crate::chain::Position;
use crate::loss::first_outside;
use crate::names;
use crate::scan::Header;

/// Lines that are missing: from a line of one segment to the end of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The first missing line in the segment `from`.
    pub(super) line: u64,
    /// The first and the last of them, counted from the very first line of the log.
    pub(super) lines: (u64, u64),
    /// Whether the log does not begin with its first segment.
    pub(super) is_beginning: bool,
}

impl Walk<'_> {
    /// Segments are missing before this one. It says where the log was before it.
    pub(super) fn missing_segments(&mut self, number: u64) -> Result<(), VerifyOutcome> {
        let from = self.at.segment + 1;
        let header = self.header(number)?;
        let header =
            header.filter(|it| it.open.segment == number && it.open.lines >= self.at.lines);
        let Some(header) = header else {
            return Err(self.tampered_at(from, 1, "the segment is missing"));
        };
        let (from, line) = self.broken_off.take().unwrap_or((from, 1));
        self.skip_to(from, line, &header);
        Ok(())
    }

    /// The end of a segment that was no longer what was written when the next one began. If it is
    /// there all the same, because it was put back, nothing is missing.
    pub(super) fn lost_end(&mut self, next: &Header) -> Result<(), VerifyOutcome> {
        let (at, open) = (&self.at, &next.open);
        if (at.bytes, at.lines, at.chain) == (open.end, open.lines, open.previous) {
            self.report.notes.push(format!(
                "{}: the file was not in its place while the log was written, and is there again",
                names::segment(at.segment)
            ));
            return Ok(());
        }
        if at.lines >= open.lines {
            return Err(self.damaged(None));
        }
        let (segment, line) = (at.segment, at.line + 1);
        self.skip_to(segment, line, next);
        Ok(())
    }

    /// The reading continues where this segment begins.
    fn skip_to(&mut self, from: u64, line: u64, next: &Header) {
        let to = next.open.segment - 1;
        self.holes.push(Hole {
            from,
            to,
            line,
            lines: (self.at.lines + 1, next.open.lines),
            is_beginning: false,
        });
        self.at = Position {
            segment: to,
            bytes: next.open.end,
            ..next.open.start()
        };
        self.recoveries_due = 0;
        if let Some(marks) = &mut self.marks {
            marks.skip(&self.at, last_time(&self.report));
        }
    }

    /// Looks up each hole in what the log says itself. The first that it names as lost is the
    /// problem; one that it does not explain was made by another process.
    /// Only at the end it is known whether a beginning was deleted.
    pub(super) fn missing(&self, at_end: bool) -> Result<Option<VerifyProblem>, VerifyOutcome> {
        let mut first = None;
        for hole in &self.holes {
            if hole.to <= self.deleted || hole.is_beginning && !at_end {
                continue;
            }
            let deleted = (0, self.deleted);
            let lost = self.losses.iter().map(|loss| (loss.from, loss.to));
            let explained: Vec<(u64, u64)> = lost.chain([deleted]).collect();
            if let Some(segment) = first_outside(hole.from, hole.to, &explained) {
                let (segment, line, what) = if hole.is_beginning {
                    let what =
                        "the segments before this one are missing, and no `retention` line says so";
                    (hole.to + 1, 1, what)
                } else if segment == hole.from {
                    (segment, hole.line, "the segment is missing")
                } else {
                    (segment, 1, "the segment is missing")
                };
                return Err(self.tampered_at(segment, line, what));
            }
            first.get_or_insert(self.problem_of(hole));
        }
        Ok(first)
    }

    fn problem_of(&self, hole: &Hole) -> VerifyProblem {
        let of_it = |loss: &&crate::loss::Loss| loss.from <= hole.to && hole.from <= loss.to;
        let losses = || self.losses.iter().filter(of_it);
        let (begin, end) = hole.lines;
        // What was deleted before is not missing.
        let begin = begin.max(self.deleted_lines + 1);
        let (from, line) = match self.deleted >= hole.from {
            true => (self.deleted + 1, 1),
            false => (hole.from, hole.line),
        };
        let mut what = match begin == end {
            true => format!("line {begin} of the log is missing"),
            false => format!("lines {begin} to {end} of the log are missing"),
        };
        let seqs = losses().filter_map(|loss| loss.seqs);
        let seqs = seqs.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        if let Some((first, last)) = seqs {
            what.push_str(&format!(" (within `seq` {first} to {last})"));
        }
        if let Some(loss) = losses().next() {
            what.push_str(&format!(": the gateway noticed that {}", loss.cause));
        }
        VerifyProblem::new(names::segment(from), line, None, what)
    }
}
