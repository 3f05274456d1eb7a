//! Deletes the oldest segments, if retention is set.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::chain::Chain;
use super::loss::first_outside;
use super::names;
use super::options::{LogEvent, Retention};
use super::reading::Line;
use super::record::{Follows, Own};
use super::scan::{Header, Scan, Step};
use super::segment::Trouble;
use super::timestamp;
use super::writer::Log;

/// How often retention looks for old segments, and how often it may delete some of them.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How much of the log is read to find the last deletion.
const MAX_LOOKED_AT: u64 = 8 * 1024 * 1024;
/// The system's clock may be so much ahead before that is reported.
const REPORTED_FROM: Duration = Duration::from_secs(24 * 60 * 60);

/// The time by which segments are old. The system's clock alone is not believed: if it jumps
/// ahead, everything would be old at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionClock {
    /// The time when the log was opened: that of the newest record in it, if there was one and it
    /// was before the system's.
    opened: SystemTime,
    /// When that was, by a clock that cannot be set.
    opened_at: Duration,
    /// The time of the newest record.
    newest: SystemTime,
    /// Nothing is deleted because of its age before this, by the same clock, …
    delete_from: Duration,
    /// … and nothing is looked for.
    look_from: Duration,
}

impl RetentionClock {
    /// `newest` is the time of the newest record, and `retained` that of the last deletion.
    pub(super) fn start(
        now: SystemTime,
        steady: Duration,
        newest: Option<SystemTime>,
        retained: Option<SystemTime>,
    ) -> Self {
        let opened = newest.map_or(now, |newest| newest.min(now));
        // A start that follows soon upon another one does not delete the next share.
        let pause = retained.map_or(Duration::ZERO, |retained| {
            let age = now.duration_since(retained).unwrap_or_default();
            EVERY.saturating_sub(age)
        });
        Self {
            opened,
            opened_at: steady,
            newest: opened,
            delete_from: steady + pause,
            look_from: steady + EVERY,
        }
    }

    /// A record was written now.
    pub(super) fn record(&mut self, now: SystemTime) {
        self.newest = now;
    }

    pub(super) fn is_look_due(&self, steady: Duration) -> bool {
        steady >= self.look_from
    }

    /// The time of the newest record, as far as so much time can have passed.
    fn believed(&self, steady: Duration) -> SystemTime {
        let passed = steady.saturating_sub(self.opened_at);
        let latest = self.opened.checked_add(passed).unwrap_or(self.opened);
        self.newest.min(latest)
    }
}

/// What is on record as deleted: all up to a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleted {
    pub(super) to: u64,
    /// Where the log was after it.
    pub(super) lines: u64,
    pub(super) last: Chain,
}

impl Deleted {
    /// The line that says so again. A deletion itself begins with the first segment that was there.
    pub(super) fn own(&self) -> Own {
        let Self { to, lines, last } = *self;
        Own::Retention {
            from: 1,
            to,
            lines,
            last,
        }
    }
}

/// The time of the last deletion, if it can be one that the next one has to wait for.
pub(super) fn last_deletion(directory: &Path, now: SystemTime) -> Option<SystemTime> {
    let mut bytes = 0;
    for number in names::segments(directory).ok()?.into_iter().rev() {
        let path = directory.join(names::segment(number));
        let header = Header::read(&path).ok()??;
        let mut scan = Scan::open_redacted(&path, header.open.start(), u64::MAX).ok()?;
        let mut found = None;
        while let Step::Line(line, _) = scan.next().ok()? {
            if let Line::Own {
                own: Own::Retention { from, .. },
                time,
                ..
            } = line
                // What is only said again begins with 1. So does the very first deletion.
                && from > 1
            {
                found = timestamp::parse(&time);
            }
        }
        bytes += scan.at().bytes;
        let opened = timestamp::parse(&header.time)?;
        let is_long_ago = now.duration_since(opened).is_ok_and(|age| age > EVERY);
        if found.is_some() || is_long_ago || bytes > MAX_LOOKED_AT {
            return found;
        }
    }
    None
}

/// Segments that can be deleted.
struct Deletable {
    from: u64,
    /// The header of the first one after them that cannot.
    next: Header,
    /// Whether one of them is only too old.
    by_age: bool,
}

impl Log {
    /// Deletes the segments that need not be kept, after a line that says which they are and
    /// where the log was after them. What cannot be deleted is tried again later.
    pub(super) fn retain(&mut self, now: SystemTime) -> Result<(), Trouble> {
        let Retention {
            max_age, max_bytes, ..
        } = self.options.retention;
        if max_age.is_none() && max_bytes.is_none() {
            return Ok(());
        }
        let steady = self.disk.steady();
        self.retention_clock.look_from = steady + EVERY;
        let believed = self.retention_clock.believed(steady);
        // A directory that cannot be read keeps everything.
        let Ok(found) = self.deletable(believed, steady) else {
            return Ok(());
        };
        let Some(Deletable { from, next, by_age }) = found else {
            self.report_held(believed, now);
            return Ok(());
        };
        if by_age {
            self.retention_clock.delete_from = steady + EVERY;
        }
        let to = next.open.segment - 1;
        let (lines, last) = (next.open.lines, next.open.previous);
        let own = Own::Retention {
            from,
            to,
            lines,
            last,
        };
        self.write_own(&own, now)?;
        self.sync_current()?;
        self.deleted = Some(Deleted { to, lines, last });
        self.tell(LogEvent::Deleted { from, to });
        self.segments = self.segments.split_off(&(to + 1));
        self.known_losses.retain(|loss| loss.to > to);
        let deleted = (from..=to).try_for_each(|segment| self.delete(segment));
        let _ = deleted.and_then(|()| self.disk.sync_directory(self.directory()));
        Ok(())
    }

    /// The segments that can be deleted at this time.
    fn deletable(&self, time: SystemTime, steady: Duration) -> io::Result<Option<Deletable>> {
        let retention = self.options.retention;
        let numbers = names::segments(self.directory())?;
        let mut files = Vec::new();
        for number in &numbers {
            let path = self.directory().join(names::segment(*number));
            files.push(self.disk.identify(&path)?);
        }
        let mut total: u64 = files.iter().map(|file| file.length).sum();
        let closed = numbers.len().saturating_sub(1);
        let mut may_be_old = match steady >= self.retention_clock.delete_from {
            true => (closed * usize::from(retention.max_percent) / 100).max(1),
            false => 0,
        };
        let (mut found, mut by_age) = (None, false);
        for (pair, file) in numbers.windows(2).zip(files) {
            let path = self.directory().join(names::segment(pair[1]));
            // A segment that was tampered with is evidence.
            let header = Header::read(&path)?.filter(|it| it.open.follows != Follows::Damaged);
            let Some(header) = header.filter(|it| it.open.segment == pair[1]) else {
                break;
            };
            // So is a hole, unless it is on record.
            let is_lost = header.open.follows == Follows::Lost || {
                let hole = pair[0] + 1..pair[1];
                hole.is_empty() || first_outside(hole.start, hole.end - 1, &self.lost).is_none()
            };
            if !is_lost {
                break;
            }
            let is_too_much = retention.max_bytes.is_some_and(|limit| total > limit);
            let closed = timestamp::parse(&header.time);
            let is_old = may_be_old > 0 && self.is_old_at(time, closed, file.modified);
            if !is_old && !is_too_much {
                break;
            }
            if !is_too_much {
                may_be_old -= 1;
                by_age = true;
            }
            total -= file.length;
            found = Some(header);
        }
        let from = numbers.first().copied();
        Ok(from
            .zip(found)
            .map(|(from, next)| Deletable { from, next, by_age }))
    }

    /// Whether a segment is too old by the log and by its file.
    fn is_old_at(
        &self,
        time: SystemTime,
        closed: Option<SystemTime>,
        modified: SystemTime,
    ) -> bool {
        let Some((limit, closed)) = self.options.retention.max_age.zip(closed) else {
            return false;
        };
        let is_older = |since| time.duration_since(since).is_ok_and(|age| age > limit);
        is_older(closed) && is_older(modified)
    }

    /// Reports a clock by which segments could be deleted.
    fn report_held(&mut self, believed: SystemTime, now: SystemTime) {
        let ahead = now.duration_since(believed).unwrap_or_default();
        if ahead < REPORTED_FROM {
            return;
        }
        if let Ok(Some(_)) = self.deletable(now, Duration::MAX) {
            self.tell(LogEvent::RetentionHeld { ahead });
        }
    }

    fn delete(&self, segment: u64) -> io::Result<()> {
        let directory = self.directory();
        match self.disk.remove(&directory.join(names::segment(segment))) {
            // It was lost before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        for torn in names::torn_off(directory, segment)? {
            self.disk.remove(&directory.join(torn))?;
        }
        let [rest, list] = names::unfinished(segment);
        for name in [names::redactions(segment), rest, list] {
            match self.disk.remove(&directory.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}
