//! Deleting the oldest segments, if somebody has asked for it.

use std::fs;
use std::io;
use std::time::SystemTime;

use super::loss::first_outside;
use super::names;
use super::options::Retention;
use super::record::{Follows, Own};
use super::scan::Header;
use super::segment::Trouble;
use super::timestamp;
use super::writer::Log;

impl Log {
    /// Deletes the segments that need not be kept, after a line that says which they are and
    /// where the log was after them. What cannot be deleted is tried again at the next rotation.
    pub(super) fn retain(&mut self, now: SystemTime) -> Result<(), Trouble> {
        if self.options.retention == Retention::default() {
            return Ok(());
        }
        // A directory that cannot be read keeps everything.
        let Ok(Some((from, last))) = self.deletable(now) else {
            return Ok(());
        };
        let to = last.open.segment - 1;
        let own = Own::Retention {
            from,
            to,
            lines: last.open.lines,
            last: last.open.previous,
        };
        self.write_own(&own, now)?;
        self.sync_current()?;
        self.segments = self.segments.split_off(&(to + 1));
        self.recorded.retain(|(_, segment)| *segment > to);
        let deleted = (from..=to).try_for_each(|segment| self.delete(segment));
        let _ = deleted.and_then(|()| self.disk.sync_directory(self.directory()));
        Ok(())
    }

    /// The first segment that can be deleted, and the header of the first one after them that
    /// cannot.
    fn deletable(&self, now: SystemTime) -> io::Result<Option<(u64, Header)>> {
        let Retention { max_age, max_bytes } = self.options.retention;
        let numbers = names::segments(self.directory())?;
        let mut sizes = Vec::new();
        for number in &numbers {
            sizes.push(fs::metadata(self.directory().join(names::segment(*number)))?.len());
        }
        let mut total: u64 = sizes.iter().sum();
        let mut found = None;
        for (pair, size) in numbers.windows(2).zip(sizes) {
            let path = self.directory().join(names::segment(pair[1]));
            // A segment that was tampered with is somebody's evidence.
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
            let closed = timestamp::parse(&header.time).unwrap_or(now);
            let age = now.duration_since(closed).unwrap_or_default();
            let is_old = max_age.is_some_and(|limit| age > limit);
            if !is_old && max_bytes.is_none_or(|limit| total <= limit) {
                break;
            }
            total -= size;
            found = Some(header);
        }
        Ok(numbers.first().copied().zip(found))
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
        Ok(())
    }
}
