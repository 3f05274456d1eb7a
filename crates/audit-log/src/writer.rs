//! The log as its writer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::chain::Position;
use super::disk::{Disk, FileIdentity, LocalDisk, SegmentFile};
use super::loss::{Listed, Loss};
use super::options::{LogError, LogEvent, LogOptions};
use super::pending::Pending;
use super::reading;
use super::record::{Follows, Recovery};
use super::recover::{self, Recovered};
use super::retention::{self, Deleted, RetentionClock};
use super::time_stamp::TimeStamp;

/// How often, and after which time, the lock is tried again.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The audit log in a directory, open for one writer.
///
/// Lines are taken by [`append`](Log::append), and are on the disk when [`sync`](Log::sync) has
/// returned. When the disk refuses, or the segment is found to be no longer what was written, it
/// takes no more lines, and all that was not synced is written again into a new one; if that fails
/// too, it is tried again at the next call, at most once a second. Nothing runs in the background:
/// call [`tick`](Log::tick) at least once a second, which also looks whether the files are still
/// there.
pub struct Log {
    pub(super) options: LogOptions,
    pub(super) disk: Arc<dyn Disk>,
    /// Holds the lock.
    lock: File,
    /// Which directory that is.
    pub(super) directory_identity: FileIdentity,
    /// The segments that are there, as far as this log knows.
    pub(super) segments: BTreeSet<u64>,
    /// When it last looked.
    pub(super) listed: Option<Listed>,
    /// The first and the last `seq` that were synced to each segment of this instance, …
    pub(super) seqs: BTreeMap<u64, (u64, u64)>,
    /// … and those that are written to the open one and not synced.
    pub(super) unsynced_seqs: Option<(u64, u64)>,
    /// Losses that are not on record.
    pub(super) losses: Vec<Loss>,
    /// Losses that are on record. Every segment says them again.
    pub(super) known_losses: Vec<Loss>,
    /// Segments, first and last, that were lost since the log was opened.
    pub(super) lost: Vec<(u64, u64)>,
    pub(super) lost_segments: u64,
    pub(super) retention_clock: RetentionClock,
    /// What is on record as deleted. Every segment says it again: the one that did may be lost.
    pub(super) deleted: Option<Deleted>,
    /// The newest checkpoint in the log, if it is not synced.
    pub(super) unsynced_note: Option<String>,
    /// Time stamps that are not on record.
    pub(super) time_stamps: Vec<TimeStamp>,
    /// The segment that takes lines.
    pub(super) current: Option<Current>,
    /// All before here is on the disk.
    pub(super) synced: Position,
    pub(super) written: Position,
    pub(super) pending: Pending,
    /// How the segment before the next one has ended.
    pub(super) follows: Follows,
    /// What the next segment has to say of what was found at the start.
    pub(super) recoveries: Vec<Recovery>,
    /// Event lines since the last checkpoint, and when that was.
    pub(super) unsigned: u64,
    pub(super) signed_at: SystemTime,
    /// A segment that could not be begun, and not be removed.
    pub(super) leftover: Option<PathBuf>,
    pub(super) retry_at: Option<SystemTime>,
    pub(super) failed_segments: u64,
    pub(super) space: DiskSpace,
    pub(super) buffer: Vec<u8>,
}

/// The segment that takes lines.
pub(super) struct Current {
    pub(super) file: Box<dyn SegmentFile>,
    pub(super) identity: FileIdentity,
    pub(super) opened: SystemTime,
    /// After the lines that it began with.
    pub(super) begun: Position,
}

/// How much room there is for further segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSpace {
    /// Enough.
    Ample,
    /// Less than [`LogOptions::low_space_bytes`]: report it.
    Low,
    /// Less than [`LogOptions::least_space_bytes`]: no further segment is begun.
    Exhausted,
}

/// How the log is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStatus {
    /// All before here is on the disk.
    pub synced: Position,
    /// Whether a segment is open. If none is, the disk refuses.
    pub open: bool,
    /// How many segments the disk has refused to write or to sync, since the log was opened.
    pub failed_segments: u64,
    /// How many segments were found to be no longer what was written, since the log was opened.
    pub lost_segments: u64,
    /// How much room there is.
    pub space: DiskSpace,
}

/// Lines that a log did not take. The others of their batch it did.
#[derive(Debug)]
pub struct AppendError {
    /// So many lines, from the batch's first on, are the log's own: it will write them, again if
    /// need be. The caller still has the others.
    pub taken: usize,
    /// Why.
    pub error: LogError,
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Log {
    /// Opens the log, in a new segment: nothing is ever appended to an older one.
    ///
    /// # Errors
    ///
    /// An option is wrong, another process has the log open, or the disk refuses.
    pub fn open(options: LogOptions, now: SystemTime) -> Result<(Self, Recovered), LogError> {
        Self::open_on(Arc::new(LocalDisk), options, now)
    }

    /// As [`Log::open`], on another disk.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        now: SystemTime,
    ) -> Result<(Self, Recovered), LogError> {
        options.check()?;
        let (directory, directory_identity) = lock(&options.directory)?;
        let found = recover::look(&options.directory)?;
        let retained = match options.retention.max_age {
            Some(_) => retention::last_deletion(&options.directory, now),
            None => None,
        };
        let retention_clock = RetentionClock::start(now, disk.steady(), found.newest, retained);
        let mut log = Self {
            options,
            disk,
            lock: directory,
            directory_identity,
            segments: found.segments,
            listed: None,
            seqs: BTreeMap::new(),
            unsynced_seqs: None,
            losses: Vec::new(),
            known_losses: found.losses,
            lost: Vec::new(),
            lost_segments: 0,
            retention_clock,
            deleted: found.deleted,
            unsynced_note: None,
            time_stamps: Vec::new(),
            current: None,
            synced: found.end,
            written: found.end,
            pending: Pending::default(),
            follows: found.follows,
            recoveries: found.recoveries,
            unsigned: 0,
            signed_at: now,
            leftover: None,
            retry_at: None,
            failed_segments: 0,
            space: DiskSpace::Ample,
            buffer: Vec::new(),
        };
        log.open_next(now)?;
        // Only now, when all that was found is written down, may what was torn be cut off.
        found.recovered.tidy(&log.options.directory);
        log.guarded(now, Self::retain)?;
        Ok((log, found.recovered))
    }

    /// Takes lines: each one a JSON object without a newline, `{"v":1,"seq":…}`, with this log's
    /// `instance`. They are written, and not yet synced.
    ///
    /// # Errors
    ///
    /// A line is not of this form (and none is taken), or the disk refuses.
    pub fn append(&mut self, lines: &[&[u8]], now: SystemTime) -> Result<(), AppendError> {
        let max = self.options.max_line();
        let check = |line: &&[u8]| reading::check_event(line, &self.options.instance, max);
        if let Err(invalid) = lines.iter().try_for_each(check) {
            let error = LogError::Line(invalid);
            return Err(AppendError { taken: 0, error });
        }
        if !lines.is_empty() {
            self.retention_clock.record(now);
        }
        for line in lines {
            self.pending.push(&line[..line.len() - 1]);
        }
        self.guarded(now, Self::flush).map_err(|error| {
            let left = self.pending.take_back(lines.len());
            let taken = lines.len() - left;
            AppendError { taken, error }
        })
    }

    /// Returns when every line that was taken is on the disk.
    ///
    /// # Errors
    ///
    /// The disk refuses. It is unknown which lines are there; they will be written again.
    pub fn sync(&mut self, now: SystemTime) -> Result<(), LogError> {
        self.guarded(now, |log, now| {
            log.flush(now)?;
            log.sync_current()?;
            log.checkpoint_if_due(now)
        })
    }

    /// Does what is due: begins a new segment, writes a checkpoint, opens a segment again that
    /// could not be opened, looks how much room there is.
    ///
    /// # Errors
    ///
    /// The disk refuses, or has too little room for a segment that is due.
    pub fn tick(&mut self, now: SystemTime) -> Result<(), LogError> {
        self.look_for_space();
        self.guarded(now, |log, now| {
            log.check_output()?;
            log.look_for_lost(now)?;
            log.record_losses(now)?;
            log.flush(now)?;
            if log.is_old(now) {
                return log.rotate("time", now);
            }
            if log.options.signer.is_some() && log.is_checkpoint_due(now) {
                log.sync_current()?;
                log.checkpoint(now)?;
            }
            log.record_time_stamps(now)?;
            if log.unsynced_note.is_some() {
                log.sync_current()?;
            }
            if log.retention_clock.is_look_due(log.disk.steady()) {
                log.retain(now)?;
            }
            Ok(())
        })
    }

    /// Writes and syncs all, and seals the segment.
    ///
    /// # Errors
    ///
    /// The disk refuses. Lines that were not synced may be lost.
    pub fn close(mut self, now: SystemTime) -> Result<(), LogError> {
        self.guarded(now, |log, now| {
            log.flush(now)?;
            log.seal("stop", now)
        })
    }

    /// How the log is doing.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        LogStatus {
            synced: self.synced,
            open: self.current.is_some(),
            failed_segments: self.failed_segments,
            lost_segments: self.lost_segments,
            space: self.space,
        }
    }

    pub(super) fn tell(&mut self, event: LogEvent) {
        if let Some(tell) = &mut self.options.on_event {
            tell(&event);
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// Makes the directory again if it is gone, and takes the one that has its name now.
    pub(super) fn ensure_directory(&mut self) -> Result<(), LogError> {
        let found = self.disk.identify_directory(&self.options.directory);
        if found.is_ok_and(|found| found.is_same(&self.directory_identity)) {
            return Ok(());
        }
        (self.lock, self.directory_identity) = lock(&self.options.directory)?;
        self.listed = None;
        Ok(())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("options", &self.options)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Makes the directory if it is missing, and takes it for this process alone.
fn lock(path: &Path) -> Result<(File, FileIdentity), LogError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            let synced = File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(LogError::io("sync", parent))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(LogError::io("create", path)(error)),
    }
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        let error = io::ErrorKind::NotADirectory.into();
        return Err(LogError::io("open", path)(error));
    }
    let directory = File::open(path).map_err(LogError::io("open", path))?;
    for _ in 0..LOCK_ATTEMPTS {
        match directory.try_lock() {
            Ok(()) => {
                let identity = directory.metadata().and_then(|it| FileIdentity::of(&it));
                let identity = identity.map_err(LogError::io("open", path))?;
                return Ok((directory, identity));
            }
            // A verifier that asks whether there is a writer holds it, too, for a moment.
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(LogError::io("lock", path)(error)),
        }
    }
    Err(LogError::InUse(path.to_owned()))
}
