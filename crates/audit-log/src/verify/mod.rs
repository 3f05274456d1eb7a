//! Reading a log again, from its first line to its last.

mod ends;
mod holes;
mod lines;
mod marks;
mod redacted;
mod sequence;
mod time_stamps;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use super::chain::Position;
use super::checkpoint::Checkpoints;
use super::note::VerifierKey;
use super::time_stamp::RequiredTimeStamps;

/// What a log is compared with.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Checkpoints from another place. Without them it is not proven that the log's end is
    /// missing.
    pub checkpoints: Option<Checkpoints>,
    /// The keys that sign the checkpoints. Without them it is not proven that the log was not
    /// written anew as a whole.
    pub keys: Vec<VerifierKey>,
    /// Time stamps that the checkpoints must have. Without them it is not proven that the log was
    /// not rewritten with its key.
    pub time_stamps: Option<RequiredTimeStamps>,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The bytes that were read.
    pub bytes: u64,
    /// The bytes that there are.
    pub total: u64,
}

/// What was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The verdict.
    pub outcome: VerifyOutcome,
    /// The number of the first segment that is there.
    pub first_segment: u64,
    /// After the last line that is right.
    pub end: Position,
    /// Lines that were read and are right, …
    pub lines: u64,
    /// … those of them that are events, …
    pub events: u64,
    /// … and those that are checkpoints.
    pub checkpoints: u64,
    /// The part of the log that is signed by one of the keys: so many of its lines, counted from
    /// its very first. `None` without a key.
    pub signed_lines: Option<u64>,
    /// The time of the last signed checkpoint, as the log has it (RFC 3339).
    pub signed_until: Option<String>,
    /// The keys that signed checkpoints of the log, as `<name>+<key id>`.
    pub signers: BTreeSet<String>,
    /// The times of the first and of the last line that the log wrote about itself (RFC 3339).
    pub period: Option<(String, String)>,
    /// How many time stamps were checked and are right.
    pub time_stamps: u64,
    /// The part of the log that a time stamp covers, and the time of the last one: so many of its
    /// lines, counted from its very first. `None` if none was checked.
    pub time_stamped: Option<(u64, SystemTime)>,
    /// How many checkpoints from another place were of this log, and found in it.
    pub compared: u64,
    /// The part of the log that they prove to be there: so many of its lines, counted from its very
    /// first, and the time of the log's own line before its end (RFC 3339).
    pub proven: Option<(u64, String)>,
    /// Lines whose text was removed.
    pub redacted: Redacted,
    /// Whether the last segment is sealed. If it is not, the log is being written, or its writer
    /// was killed, or its end is missing.
    pub sealed: bool,
    /// Whether it is being written now.
    pub live: bool,
    /// What the reader of the verdict should know besides.
    pub notes: Vec<String>,
}

/// Lines whose text was removed. The chain proves that they stand for what was written, and where;
/// for what is left of them, it takes the word of the key that has signed the redaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redacted {
    /// How many lines are redacted.
    pub lines: u64,
    /// Those of them whose redaction is not signed by one of the keys. Such a line cannot be told
    /// from one that was changed.
    pub unproven: u64,
    /// Lines that are named as redacted and still have their text: the redaction was interrupted.
    pub pending: u64,
    /// The redactions, in the order of their times.
    pub redactions: Vec<Redaction>,
}

/// A redaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Redaction {
    /// When it was made (RFC 3339).
    pub time: String,
    /// Who made it, and why, as far as that is on record.
    pub by: String,
    /// See `by`.
    pub reason: String,
    /// The key that has signed it, as `<name>+<key id>`, if it is one of those that were given.
    pub signer: Option<String>,
    /// The lines that it redacted, without those that were redacted again later.
    pub lines: u64,
}

/// The time of the last line that the log wrote about itself; empty before the first one.
fn last_time(report: &VerifyReport) -> &str {
    report.period.as_ref().map_or("", |(_, last)| last)
}

/// The verdict on a log. If several apply, it is the first of them in the order `Tampered` or
/// `Unreadable` (whichever comes first in the log), `Cut`, `Gap`, `Torn`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyOutcome {
    /// Every line is as it was written, and none is missing between the first and the last.
    Whole,
    /// A line, or a segment, is not what was written.
    Tampered(VerifyProblem),
    /// The last line is not whole, as if the writer had been killed. It is no part of the log.
    Torn(VerifyProblem),
    /// It is shorter than it was at a checkpoint.
    Cut(VerifyProblem),
    /// It cannot be read.
    Unreadable(VerifyProblem),
    /// Records are missing: a `seq` that no `gap` line names, or lines that were lost while the log
    /// was written, as the log itself says.
    Gap(VerifyProblem),
}

impl VerifyOutcome {
    /// The exit status of `voxgate audit verify`, which is 6 instead of 0 without checkpoints from
    /// another place.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Tampered(_) => 1,
            Self::Torn(_) => 2,
            Self::Cut(_) => 3,
            Self::Unreadable(_) => 4,
            Self::Gap(_) => 5,
        }
    }

    /// What is wrong, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&VerifyProblem> {
        match self {
            Self::Whole => None,
            Self::Tampered(problem)
            | Self::Torn(problem)
            | Self::Cut(problem)
            | Self::Unreadable(problem)
            | Self::Gap(problem) => Some(problem),
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProblem {
    /// The file's name.
    pub file: String,
    /// The line in it, counted from one.
    pub line: u64,
    /// What that line has, or claims to have, as its `seq`.
    pub seq: Option<u64>,
    /// What is wrong with it.
    pub what: String,
}

impl VerifyProblem {
    fn new(file: String, line: u64, seq: Option<u64>, what: impl Into<String>) -> Self {
        Self {
            file,
            line,
            seq,
            what: what.into(),
        }
    }
}

impl fmt::Display for VerifyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, what, ..
        } = self;
        match self.seq {
            Some(seq) => write!(f, "{file}:{line}:{seq}: {what}"),
            None => write!(f, "{file}:{line}: {what}"),
        }
    }
}

/// Reads a log and says whether it is what was written. `progress` is called now and then.
///
/// Nothing in the directory is changed, and a log can be verified while it is written: what is
/// being written at that moment may then look torn.
pub fn verify(
    directory: &Path,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(VerifyProgress),
) -> VerifyReport {
    walk::Walk::new(directory, options, progress).run()
}
