//! How lines get into segments, how segments begin and end, and what happens when one fails.

use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chain::OVERHEAD;
use super::checkpoint::Checkpoint;
use super::disk::write_all;
use super::loss::LossCause;
use super::names;
use super::note::Note;
use super::options::LogError;
use super::reading;
use super::record::{Follows, Open, Own};
use super::retention::Deleted;
use super::time_stamp::MAX_TOKEN_BYTES;
use super::writer::{Current, DiskSpace, Log};

/// Kept free in a segment for a checkpoint and the seal.
const RESERVE: u64 = 2048;

/// The time between two attempts to open a segment.
const RETRY: Duration = Duration::from_secs(1);

/// Why a step did not come to its end.
pub(super) enum Trouble {
    /// The segment that is open takes no more lines.
    Failed(io::Error),
    /// It is no longer what was written.
    Lost(LossCause),
    /// It would not help to try again now.
    Refused(LogError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Log {
    /// Does `step` with an open segment. If that fails on the way, it is done once more with a
    /// new one.
    pub(super) fn guarded(
        &mut self,
        now: SystemTime,
        step: impl Fn(&mut Self, SystemTime) -> Result<(), Trouble>,
    ) -> Result<(), LogError> {
        for is_last in [false, true] {
            if self.current.is_none() {
                self.open_next(now)?;
            }
            match step(self, now) {
                Ok(()) => break,
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Failed(error)) => {
                    // What failed may be gone as well; part of a line may have been written.
                    let lost = self.output_loss(self.synced.bytes..=u64::MAX);
                    let error = match lost {
                        Ok(Some(cause)) => {
                            self.lose(cause);
                            LogError::Lost(cause)
                        }
                        _ => self.fail(error),
                    };
                    if is_last {
                        return Err(error);
                    }
                }
                Err(Trouble::Lost(cause)) => {
                    self.lose(cause);
                    if is_last {
                        return Err(LogError::Lost(cause));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes all that is pending.
    pub(super) fn flush(&mut self, now: SystemTime) -> Result<(), Trouble> {
        while self.pending.unwritten() > 0 {
            let room = (self.options.segment_bytes - RESERVE).saturating_sub(self.written.bytes);
            let limit = match self.options.signer {
                Some(_) => self.options.checkpoint_lines.saturating_sub(self.unsigned),
                None => u64::MAX,
            };
            let next = self.pending.fitting(limit, room, OVERHEAD);
            if limit == 0 {
                self.sync_current()?;
                self.checkpoint(now)?;
            } else if next.is_empty() {
                self.rotate("size", now)?;
            } else {
                let mut buffer = std::mem::take(&mut self.buffer);
                buffer.clear();
                let mut after = self.written;
                let mut seqs = self.unsynced_seqs;
                for line in next.clone() {
                    seqs = widened(seqs, reading::claimed_seq(self.pending.body(line)));
                    after = after.push(self.pending.body(line), &mut buffer);
                }
                let result = self.write(&buffer);
                self.buffer = buffer;
                result?;
                self.written = after;
                self.unsynced_seqs = seqs;
                self.unsigned += next.len() as u64;
                self.pending.wrote_up_to(next.end);
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(current) => write_all(&mut *current.file, bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes a line of the log's own.
    pub(super) fn write_own(&mut self, own: &Own, now: SystemTime) -> io::Result<()> {
        let mut buffer = Vec::new();
        let body = own.body(now, &self.options.instance);
        let after = self.written.push(body.as_bytes(), &mut buffer);
        self.write(&buffer)?;
        self.written = after;
        Ok(())
    }

    /// What was written is on the disk after this.
    /// That is only certain if the segment still has its name.
    pub(super) fn sync_current(&mut self) -> Result<(), Trouble> {
        match &mut self.current {
            Some(current) if self.synced != self.written => {
                current.file.sync()?;
                self.check_output()?;
            }
            Some(_) => {}
            None => return Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
        self.synced = self.written;
        if let Some((first, last)) = self.unsynced_seqs.take() {
            let seqs = self
                .seqs
                .entry(self.synced.segment)
                .or_insert((first, last));
            *seqs = (seqs.0.min(first), seqs.1.max(last));
        }
        if let Some(note) = self.unsynced_note.take()
            && let Some(take) = &mut self.options.on_synced_checkpoint
        {
            take(&note);
        }
        self.pending.synced();
        Ok(())
    }

    pub(super) fn is_checkpoint_due(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.signed_at).unwrap_or_default();
        let old = self.unsigned > 0 && age >= self.options.checkpoint_age;
        old || self.unsigned >= self.options.checkpoint_lines
    }

    pub(super) fn checkpoint_if_due(&mut self, now: SystemTime) -> Result<(), Trouble> {
        if self.is_checkpoint_due(now) {
            self.checkpoint(now)?;
        }
        Ok(())
    }

    /// Signs all that is written, which is synced, too: a checkpoint must never name a line that
    /// may be written again elsewhere.
    pub(super) fn checkpoint(&mut self, now: SystemTime) -> io::Result<()> {
        let Some(note) = self.sign() else {
            return Ok(());
        };
        self.unsigned = 0;
        self.signed_at = now;
        self.write_own(&Own::Checkpoint { note: note.clone() }, now)?;
        self.unsynced_note = self.options.on_synced_checkpoint.is_some().then_some(note);
        Ok(())
    }

    /// Puts time stamps on record that have arrived.
    pub(super) fn record_time_stamps(&mut self, now: SystemTime) -> Result<(), Trouble> {
        if let Some(arrived) = &self.options.time_stamps {
            self.time_stamps.extend(arrived.try_iter());
        }
        if self.time_stamps.is_empty() {
            return Ok(());
        }
        for time_stamp in self.time_stamps.clone() {
            let checkpoint = Note::parse(&time_stamp.note);
            let checkpoint = checkpoint.and_then(|note| Checkpoint::parse(note.text));
            let Some(checkpoint) = checkpoint.filter(|_| time_stamp.token.len() <= MAX_TOKEN_BYTES)
            else {
                continue;
            };
            let own = Own::TimeStamp {
                lines: checkpoint.lines,
                token: STANDARD.encode(&time_stamp.token),
            };
            let length = own.body(now, &self.options.instance).len() + OVERHEAD;
            let room = (self.options.segment_bytes - RESERVE).saturating_sub(self.written.bytes);
            let is_empty = |current: &Current| self.written.lines <= current.begun.lines + 1;
            if length as u64 > room && !self.current.as_ref().is_some_and(is_empty) {
                self.rotate("size", now)?;
            }
            self.write_own(&own, now)?;
        }
        self.sync_current()?;
        self.time_stamps.clear();
        Ok(())
    }

    fn sign(&mut self) -> Option<String> {
        let signer = self.options.signer.as_ref()?;
        let checkpoint = Checkpoint::new(&self.options.origin, &self.synced);
        let note = checkpoint.sign(signer);
        if let Some(take) = &mut self.options.on_checkpoint {
            take(&note);
        }
        Some(note)
    }

    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let age = now.duration_since(current.opened).unwrap_or_default();
            age >= self.options.segment_age && self.written.lines > current.begun.lines
        })
    }

    /// Ends the segment and begins the next one.
    pub(super) fn rotate(&mut self, reason: &str, now: SystemTime) -> Result<(), Trouble> {
        self.check_space().map_err(Trouble::Refused)?;
        self.seal(reason, now)?;
        self.open_next(now).map_err(Trouble::Refused)?;
        self.retain(now)?;
        Ok(())
    }

    /// Writes the last line of the segment, and signs the log with it.
    pub(super) fn seal(&mut self, reason: &str, now: SystemTime) -> Result<(), Trouble> {
        self.sync_current()?;
        let seal = Own::Seal {
            reason: reason.to_owned(),
            line: self.written.line + 1,
        };
        self.write_own(&seal, now)?;
        self.sync_current()?;
        self.follows = Follows::Sealed;
        self.put_away();
        let _ = self.sign();
        Ok(())
    }

    /// The segment takes no more lines. All after what is synced is no part of the log.
    pub(super) fn fail(&mut self, error: io::Error) -> LogError {
        let path = self.directory().join(names::segment(self.synced.segment));
        self.put_away();
        self.written = self.synced;
        self.unsynced_seqs = None;
        self.unsynced_note = None;
        self.pending.failed();
        self.follows = Follows::Failed;
        self.failed_segments += 1;
        LogError::io("write or sync", &path)(error)
    }

    pub(super) fn put_away(&mut self) {
        if let Some(mut current) = self.current.take() {
            // What is reserved and not given back is only wasted.
            let _ = current.file.trim();
        }
    }

    /// Begins the next segment. Nothing is in it before its first lines are on the disk; if that
    /// fails, there is no such segment.
    pub(super) fn open_next(&mut self, now: SystemTime) -> Result<(), LogError> {
        let wait = |at: &SystemTime| {
            at.duration_since(now)
                .is_ok_and(|it| it > Duration::ZERO && it <= RETRY)
        };
        if self.retry_at.as_ref().is_some_and(wait) {
            return Err(LogError::Waiting);
        }
        let ready = self.ensure_directory().and_then(|()| self.check_space());
        let opened = ready.and_then(|()| self.begin(now));
        self.retry_at = opened.is_err().then_some(now + RETRY);
        opened
    }

    fn begin(&mut self, now: SystemTime) -> Result<(), LogError> {
        self.create(now)?;
        self.checkpoint(now).map_err(|error| self.fail(error))
    }

    fn create(&mut self, now: SystemTime) -> Result<(), LogError> {
        if let Some(path) = &self.leftover {
            match self.disk.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", path)(error));
                }
                _ => self.leftover = None,
            }
        }
        let recoveries = self.recoveries.iter().cloned().map(Own::Recovery);
        let count = recoveries.len() as u64;
        let open = Open::after(&self.synced, self.follows, &self.options.origin, count);
        let path = self.directory().join(names::segment(open.segment));
        let mut buffer = Vec::new();
        let mut after = self.synced.next_segment();
        let losses = self.known_losses.iter().chain(&self.losses);
        let losses = losses.copied().map(Own::Lost);
        let deleted = self.deleted.iter().map(Deleted::own);
        let begin = [Own::Open(open)].into_iter().chain(recoveries);
        for own in begin.chain(losses).chain(deleted) {
            let body = own.body(now, &self.options.instance);
            after = after.push(body.as_bytes(), &mut buffer);
        }
        let file = self.disk.create(&path, self.options.segment_bytes);
        let mut file = file.map_err(LogError::io("create", &path))?;
        let begun = write_all(&mut *file, &buffer).and_then(|()| file.sync());
        let begun = begun.and_then(|()| self.disk.sync_directory(self.directory()));
        let identity = match begun.and_then(|()| file.identity()) {
            Ok(identity) => identity,
            Err(error) => {
                // No line of it was ever said to be there, and its number is wanted again.
                self.leftover = self.disk.remove(&path).is_err().then(|| path.clone());
                return Err(LogError::io("begin", &path)(error));
            }
        };
        self.recoveries.clear();
        self.segments.insert(after.segment);
        self.synced = after;
        self.written = after;
        self.losses_recorded();
        self.current = Some(Current {
            file,
            identity,
            opened: now,
            begun: after,
        });
        Ok(())
    }

    fn check_space(&mut self) -> Result<(), LogError> {
        let least = self.options.least_space_bytes;
        match self.look_for_space() {
            Some(free) if self.space == DiskSpace::Exhausted => {
                Err(LogError::NoSpace { free, least })
            }
            _ => Ok(()),
        }
    }

    /// A disk that does not say how much is free is not held to be full: it will refuse itself.
    pub(super) fn look_for_space(&mut self) -> Option<u64> {
        let free = self.disk.free_bytes(self.directory()).ok()?;
        self.space = if free < self.options.least_space_bytes {
            DiskSpace::Exhausted
        } else if free < self.options.low_space_bytes {
            DiskSpace::Low
        } else {
            DiskSpace::Ample
        };
        Some(free)
    }
}

/// These numbers, first and last, and one more.
fn widened(seqs: Option<(u64, u64)>, seq: Option<u64>) -> Option<(u64, u64)> {
    match (seqs, seq) {
        (Some((first, last)), Some(seq)) => Some((first.min(seq), last.max(seq))),
        (None, Some(seq)) => Some((seq, seq)),
        (seqs, None) => seqs,
    }
}
