//! Segments that are no longer what was written: how that is noticed, and what is said about it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use super::names;
use super::options::LogEvent;
use super::record::{Follows, Own};
use super::segment::Trouble;
use super::writer::Log;

/// A directory that has just changed is listed once more after this time: its time of change may be
/// too coarse to show a second change.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// So many losses are said again in each segment, the newest ones.
const MAX_SAID_AGAIN: usize = 16;

/// Segments that are no longer what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// What was found.
    pub cause: LossCause,
    /// The first of these segments.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// The first and the last `seq` of the records of this instance that were synced to them.
    /// `None` if there were none.
    pub seqs: Option<(u64, u64)>,
}

/// How a segment was found to be no longer what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossCause {
    /// The directory is gone.
    DirectoryRemoved,
    /// Another directory has the directory's name.
    DirectoryReplaced,
    /// The segment's name is gone.
    Removed,
    /// Another file, or a symbolic link, has the segment's name.
    Replaced,
    /// The segment is shorter than what was written.
    Shortened,
    /// The segment is longer than what was written.
    Lengthened,
}

impl LossCause {
    const ALL: [(Self, &str, &str); 6] = [
        (
            Self::DirectoryRemoved,
            "directory_removed",
            "its directory was removed",
        ),
        (
            Self::DirectoryReplaced,
            "directory_replaced",
            "its directory was replaced",
        ),
        (Self::Removed, "removed", "its file was removed or renamed"),
        (
            Self::Replaced,
            "replaced",
            "its file was replaced by another",
        ),
        (Self::Shortened, "shortened", "its file was shortened"),
        (
            Self::Lengthened,
            "lengthened",
            "another process wrote to its file",
        ),
    ];

    /// The name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let row = Self::ALL.iter().find(|(cause, ..)| *cause == self);
        row.map_or("", |(_, name, _)| name)
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let row = Self::ALL.iter().find(|(_, known, _)| *known == name);
        row.map(|(cause, ..)| *cause)
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Self::ALL.iter().find(|(cause, ..)| cause == self);
        f.write_str(row.map_or("", |(_, _, words)| words))
    }
}

/// When the directory was listed, and its time of change then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    changed: SystemTime,
    at: SystemTime,
    is_final: bool,
}

impl Log {
    /// Makes sure that the open segment still is what its name says, with all that was written and
    /// nothing else.
    pub(super) fn check_output(&self) -> Result<(), Trouble> {
        let written = self.written.bytes;
        match self.output_loss(written..=written)? {
            Some(cause) => Err(Trouble::Lost(cause)),
            None => Ok(()),
        }
    }

    /// How the open segment is not what its name says. Its length should be one of these.
    pub(super) fn output_loss(
        &self,
        lengths: RangeInclusive<u64>,
    ) -> io::Result<Option<LossCause>> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        let directory = match existing(self.disk.identify_directory(self.directory()))? {
            None => Some(LossCause::DirectoryRemoved),
            Some(found) if !found.is_same(&self.directory_identity) => {
                Some(LossCause::DirectoryReplaced)
            }
            Some(_) => None,
        };
        if directory.is_some() {
            return Ok(directory);
        }
        let path = self.directory().join(names::segment(self.written.segment));
        Ok(match existing(self.disk.identify(&path))? {
            None => Some(LossCause::Removed),
            Some(found) if !found.is_same(&current.identity) => Some(LossCause::Replaced),
            Some(found) if found.length < *lengths.start() => Some(LossCause::Shortened),
            Some(found) if found.length > *lengths.end() => Some(LossCause::Lengthened),
            Some(_) => None,
        })
    }

    /// The open segment is lost. What was synced to it is on record as such; what was not is
    /// written again.
    pub(super) fn lose(&mut self, cause: LossCause) {
        let to = self.synced.segment;
        self.put_away();
        self.written = self.synced;
        self.unsynced_seqs = None;
        self.unsynced_note = None;
        self.pending.failed();
        self.follows = Follows::Lost;
        let present: BTreeSet<u64> = match existing(names::segments(self.directory())) {
            Ok(found) => found.unwrap_or_default().into_iter().collect(),
            // Nothing is said of files that cannot be seen.
            Err(_) => self.segments.clone(),
        };
        let mut from = to;
        while let Some(before) = from.checked_sub(1)
            && self.segments.contains(&before)
            && !present.contains(&before)
        {
            from = before;
        }
        self.note_loss(cause, from, to);
    }

    /// Notices closed segments that are no longer there.
    pub(super) fn look_for_lost(&mut self, now: SystemTime) -> io::Result<()> {
        if !self.is_listing_due(now)? {
            return Ok(());
        }
        let present: BTreeSet<u64> = names::segments(self.directory())?.into_iter().collect();
        let missing: Vec<u64> = self.segments.difference(&present).copied().collect();
        for range in missing.chunk_by(|one, next| one + 1 == *next) {
            if let (Some(from), Some(to)) = (range.first(), range.last()) {
                self.note_loss(LossCause::Removed, *from, *to);
            }
        }
        Ok(())
    }

    /// Puts losses on record that no segment has begun with.
    pub(super) fn record_losses(&mut self, now: SystemTime) -> Result<(), Trouble> {
        if self.losses.is_empty() {
            return Ok(());
        }
        for loss in self.losses.clone() {
            self.write_own(&Own::Lost(loss), now)?;
        }
        self.sync_current()?;
        self.losses_recorded();
        Ok(())
    }

    fn is_listing_due(&mut self, now: SystemTime) -> io::Result<bool> {
        let changed = self.disk.identify_directory(self.directory())?.modified;
        let is_due = match self.listed {
            Some(listed) if listed.changed == changed => {
                let age = now.duration_since(listed.at);
                !listed.is_final && age.is_ok_and(|age| age >= LIST_AGAIN)
            }
            _ => true,
        };
        if is_due {
            let is_final = self.listed.is_some_and(|it| it.changed == changed);
            self.listed = Some(Listed {
                changed,
                at: now,
                is_final,
            });
        }
        Ok(is_due)
    }

    fn note_loss(&mut self, cause: LossCause, from: u64, to: u64) {
        let seqs = self.seqs.range(from..=to).map(|(_, seqs)| *seqs);
        let seqs = seqs.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        self.segments.retain(|number| !(from..=to).contains(number));
        self.seqs.retain(|number, _| !(from..=to).contains(number));
        self.lost.push((from, to));
        self.lost_segments += to - from + 1;
        let loss = Loss {
            cause,
            from,
            to,
            seqs,
        };
        self.tell(LogEvent::Lost(loss));
        self.losses.push(loss);
    }

    /// All losses are on record in the open segment. Every later one says it again: the one that
    /// did may be lost.
    pub(super) fn losses_recorded(&mut self) {
        for loss in self.losses.drain(..) {
            match self.known_losses.last_mut() {
                Some(last) if last.to + 1 == loss.from => {
                    last.to = loss.to;
                    last.seqs = match (last.seqs, loss.seqs) {
                        (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
                        (one, two) => one.or(two),
                    };
                }
                _ => self.known_losses.push(loss),
            }
        }
        let excess = self.known_losses.len().saturating_sub(MAX_SAID_AGAIN);
        self.known_losses.drain(..excess);
    }
}

/// `None` if there is no such file or directory.
fn existing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The first number from `from` to `to` that is in none of the ranges.
pub(super) fn first_outside(from: u64, to: u64, ranges: &[(u64, u64)]) -> Option<u64> {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    let mut next = from;
    for (first, last) in ranges {
        if first <= next && next <= last {
            next = last + 1;
        }
    }
    (next <= to).then_some(next)
}
