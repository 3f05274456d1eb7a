//! How a log is kept, and what can be wrong with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::loss::{Loss, LossCause};
use super::note::Signer;
use super::time_stamp::TimeStamp;

/// The longest line that is taken, without its chain.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// At most so many event lines stand between two checkpoints of a log that is signed. Verifiers
/// rely on it.
pub const MAX_CHECKPOINT_LINES: u64 = 1000;

/// The smallest segment: the lines that open, sign and seal it leave room for others.
const MIN_SEGMENT_BYTES: u64 = 16 * 1024;

const MIB: u64 = 1024 * 1024;

/// How a log is kept.
#[non_exhaustive]
pub struct LogOptions {
    /// Where its segments are. It is made (for its owner only) if it is missing.
    pub directory: PathBuf,
    /// The random id of this start of the process; every line has it.
    pub instance: String,
    /// The name of this log, in every checkpoint: two logs that share a key differ in it.
    pub origin: String,
    /// How long a segment gets; so much of the disk is reserved for it. At least 16 KiB.
    pub segment_bytes: u64,
    /// How old a segment gets.
    pub segment_age: Duration,
    /// What signs checkpoints. Without it there are none.
    pub signer: Option<Signer>,
    /// A checkpoint is written after so many event lines, [`MAX_CHECKPOINT_LINES`] at most, …
    pub checkpoint_lines: u64,
    /// … or after this time, if there are new ones.
    pub checkpoint_age: Duration,
    /// Takes each checkpoint, a signed note: a copy in another place shows what the log alone
    /// cannot, that its end is missing. All that a checkpoint covers is on the disk. It is called
    /// on the writer's thread, so it must not block.
    pub on_checkpoint: Option<OnCheckpoint>,
    /// Takes each checkpoint that is in the log and on the disk, to have it confirmed by a
    /// time-stamp authority. It is called on the writer's thread, so it must not block.
    pub on_synced_checkpoint: Option<OnCheckpoint>,
    /// Time stamps of those checkpoints. [`Log::tick`](super::Log::tick) puts them into the log.
    pub time_stamps: Option<Receiver<TimeStamp>>,
    /// Is told what happens to the files. It is called on the writer's thread, so it must not
    /// block.
    pub on_event: Option<OnEvent>,
    /// With less free space than this, [`LogStatus::space`](super::LogStatus::space) is `Low`.
    pub low_space_bytes: u64,
    /// With less free space than this, no further segment is begun.
    pub least_space_bytes: u64,
    /// Which closed segments are deleted. By default none.
    pub retention: Retention,
}

/// What takes checkpoints.
pub type OnCheckpoint = Box<dyn FnMut(&str) + Send>;

/// What is told of events.
pub type OnEvent = Box<dyn FnMut(&LogEvent) + Send>;

/// Something that happens to the files of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// Segments were found to be no longer what was written.
    Lost(Loss),
    /// Retention deletes these segments.
    Deleted {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// By the system's clock, segments are old enough to be deleted. By the records and the time
    /// that has passed since the log was opened they are not.
    RetentionHeld {
        /// So much the system's clock is ahead.
        ahead: Duration,
    },
}

/// Which closed segments are deleted, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Those that were closed longer ago than this, before the newest record. The time of change
    /// of their files must agree.
    pub max_age: Option<Duration>,
    /// No more than this share of the closed segments is deleted because of their age within an
    /// hour, in percent; but one at least.
    pub max_percent: u8,
    /// Those without which all segments together are not larger than this.
    pub max_bytes: Option<u64>,
}

impl Default for Retention {
    /// Nothing is deleted.
    fn default() -> Self {
        Self {
            max_age: None,
            max_percent: 10,
            max_bytes: None,
        }
    }
}

impl LogOptions {
    /// Segments of 64 MiB and a day, a checkpoint every 1 000 lines or 60 seconds if there is a
    /// signer, watermarks at 1 GiB and 128 MiB, nothing deleted.
    #[must_use]
    pub fn new(
        directory: impl Into<PathBuf>,
        instance: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        Self {
            directory: directory.into(),
            instance: instance.into(),
            origin: origin.into(),
            segment_bytes: 64 * MIB,
            segment_age: Duration::from_secs(24 * 60 * 60),
            signer: None,
            checkpoint_lines: MAX_CHECKPOINT_LINES,
            checkpoint_age: Duration::from_secs(60),
            on_checkpoint: None,
            on_synced_checkpoint: None,
            time_stamps: None,
            on_event: None,
            low_space_bytes: 1024 * MIB,
            least_space_bytes: 128 * MIB,
            retention: Retention::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        let problem = if !is_name(&self.instance) {
            "`instance` must be 1 to 128 printable ASCII characters without space, `+`, `\"` and `\\`"
        } else if !is_name(&self.origin) {
            "`origin` must be 1 to 128 printable ASCII characters without space, `+`, `\"` and `\\`"
        } else if self.segment_bytes < MIN_SEGMENT_BYTES {
            "`segment_bytes` must be at least 16 KiB"
        } else if !(1..=MAX_CHECKPOINT_LINES).contains(&self.checkpoint_lines) {
            "`checkpoint_lines` must be between 1 and 1000"
        } else {
            return Ok(());
        };
        Err(LogError::Options(problem))
    }

    /// The longest line that certainly finds room in an empty segment.
    pub(super) fn max_line(&self) -> usize {
        usize::try_from(self.segment_bytes / 4).map_or(MAX_LINE_BYTES, |it| it.min(MAX_LINE_BYTES))
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("directory", &self.directory)
            .field("instance", &self.instance)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Names stand in JSON and in notes, so they need no escape in either.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'+' | b'"' | b'\\');
    (1..=128).contains(&name.len()) && name.bytes().all(plain)
}

/// A text is no key, or no name for one. What it was is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no Ed25519 key in the form of a signed note's")
    }
}

impl std::error::Error for InvalidKey {}

/// Why a log cannot be opened, or cannot take lines.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// An option is wrong.
    Options(&'static str),
    /// Another process writes to this directory.
    InUse(PathBuf),
    /// A line is not what a log takes.
    Line(InvalidLine),
    /// There is too little room for another segment.
    NoSpace {
        /// What is free, in bytes.
        free: u64,
        /// What has to be.
        least: u64,
    },
    /// The disk has refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
    /// The open segment is no longer what was written, twice in a row.
    Lost(LossCause),
    /// A segment could not be opened a moment ago; that is tried again after a second.
    Waiting,
}

impl LogError {
    /// What `map_err` takes.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(problem) => write!(f, "invalid option of the audit log: {problem}"),
            Self::InUse(path) => write!(
                f,
                "{}: another process writes the audit log in this directory",
                path.display()
            ),
            Self::Line(invalid) => write!(f, "{invalid}"),
            Self::NoSpace { free, least } => write!(
                f,
                "no space for a new segment of the audit log: {free} bytes are free, {least} are required; free disk space"
            ),
            Self::Io {
                doing,
                path,
                source,
            } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::Lost(cause) => write!(
                f,
                "the audit log loses its segments: {cause}; find the process that does this, and stop it"
            ),
            Self::Waiting => {
                f.write_str("the audit log has no open segment; it tries again within a second")
            }
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Line(invalid) => Some(invalid),
            _ => None,
        }
    }
}

/// What is wrong with a line. A batch that has one such line is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLine {
    /// It is longer than 64 KiB, or than a quarter of a segment.
    TooLong,
    /// It is no JSON object in printable ASCII, beginning with `{"v":1,"seq":`, with a string
    /// `event` and, for a `gap`, `from` and `to`.
    Malformed,
    /// Its `instance` is not the log's.
    Instance,
    /// Its `event` is one that the log writes itself.
    Reserved,
}

impl fmt::Display for InvalidLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the audit line is too long",
            Self::Malformed => "the audit line is not a JSON object of the log's form",
            Self::Instance => "the audit line is of another instance",
            Self::Reserved => "the audit line's event is one that the log writes itself",
        })
    }
}

impl std::error::Error for InvalidLine {}
