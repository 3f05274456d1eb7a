//! The lines that the log writes itself.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::chain::{Chain, Position, hex};
use super::fields::escape;
use super::loss::Loss;
use super::timestamp;

/// What the log writes itself. These lines have no `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The first line of a segment.
    Open(Open),
    /// The last line of a segment: why, and its number in the segment.
    Seal { reason: String, line: u64 },
    /// A signed note.
    Checkpoint { note: String },
    /// What was found at the start, and was not as a log ends.
    Recovery(Recovery),
    /// Which segments were deleted, and where the log was after the last one of them.
    Retention {
        from: u64,
        to: u64,
        lines: u64,
        last: Chain,
    },
    /// Which segments are no longer what was written.
    Lost(Loss),
    /// A token, in base64, about the checkpoint of so many lines.
    TimeStamp { lines: u64, token: String },
}

/// The first line of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) segment: u64,
    pub(super) origin: String,
    pub(super) follows: Follows,
    /// How many `recovery` lines come directly after it.
    pub(super) recoveries: u64,
    /// Where the log is before this line; `bytes` and `line` are those of the segment before.
    pub(super) previous: Chain,
    pub(super) lines: u64,
    pub(super) end: u64,
}

/// How the segment before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// There is none.
    Nothing,
    /// With its seal.
    Sealed,
    /// The process ended without sealing it.
    Unsealed,
    /// The disk refused to write or to sync it.
    Failed,
    /// It had been changed.
    Damaged,
    /// While it was written, another process removed, replaced or changed its file.
    Lost,
}

impl Follows {
    const ALL: [(Self, &str); 6] = [
        (Self::Nothing, "nothing"),
        (Self::Sealed, "sealed"),
        (Self::Unsealed, "unsealed"),
        (Self::Failed, "failed"),
        (Self::Damaged, "damaged"),
        (Self::Lost, "lost"),
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let row = Self::ALL.iter().find(|(_, known)| *known == name);
        row.map(|(value, _)| *value)
    }

    fn name(self) -> &'static str {
        let row = Self::ALL.iter().find(|(value, _)| *value == self);
        row.map_or("", |(_, name)| name)
    }
}

/// What was found after the last whole line of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) segment: u64,
    /// `unsealed` (nothing was), `torn`, `incomplete` (not even the first line is whole) or
    /// `damaged`.
    pub(super) state: String,
    /// The number of the line that is not whole.
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    /// The file that it was copied to; empty if there was nothing to copy.
    pub(super) file: String,
}

impl Own {
    /// The body of the line.
    pub(super) fn body(&self, now: SystemTime, instance: &str) -> String {
        let mut body = format!(
            r#"{{"v":1,"event":"{}","ts":"{}","instance":"{instance}""#,
            self.event(),
            timestamp::format_micros(now)
        );
        match self {
            Self::Open(open) => {
                _ = write!(
                    body,
                    r#","segment":{},"origin":"{}","follows":"{}","recoveries":{},"end":{},"lines":{},"previous":"{}""#,
                    open.segment,
                    open.origin,
                    open.follows.name(),
                    open.recoveries,
                    open.end,
                    open.lines,
                    open.previous
                )
            }
            Self::Seal { reason, line } => {
                _ = write!(body, r#","reason":"{reason}","line":{line}"#)
            }
            Self::Checkpoint { note } => _ = write!(body, r#","note":"{}""#, escape(note)),
            Self::Recovery(it) => {
                _ = write!(
                    body,
                    r#","segment":{},"state":"{}","line":{},"offset":{},"bytes":{},"sha256":"{}","file":"{}""#,
                    it.segment,
                    it.state,
                    it.line,
                    it.offset,
                    it.bytes,
                    hex(&it.sha256),
                    it.file
                )
            }
            Self::Retention {
                from,
                to,
                lines,
                last,
            } => {
                _ = write!(
                    body,
                    r#","from":{from},"to":{to},"lines":{lines},"last":"{last}""#
                )
            }
            Self::TimeStamp { lines, token } => {
                _ = write!(body, r#","lines":{lines},"token":"{token}""#)
            }
            Self::Lost(loss) => {
                let (first, last) = loss.seqs.unwrap_or_default();
                _ = write!(
                    body,
                    r#","cause":"{}","from":{},"to":{},"first_seq":{first},"last_seq":{last}"#,
                    loss.cause.as_str(),
                    loss.from,
                    loss.to,
                )
            }
        }
        body
    }

    fn event(&self) -> &'static str {
        match self {
            Self::Open(_) => "segment_open",
            Self::Seal { .. } => "segment_seal",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Recovery(_) => "recovery",
            Self::Retention { .. } => "retention",
            Self::Lost(_) => "segments_lost",
            Self::TimeStamp { .. } => "time_stamp",
        }
    }
}

impl Open {
    pub(super) fn after(end: &Position, follows: Follows, origin: &str, recoveries: u64) -> Self {
        Self {
            segment: end.segment + 1,
            origin: origin.to_owned(),
            follows,
            recoveries,
            previous: end.chain,
            lines: end.lines,
            end: end.bytes,
        }
    }

    /// Where the log is before this line, in this line's segment.
    pub(super) fn start(&self) -> Position {
        Position {
            segment: self.segment,
            line: 0,
            bytes: 0,
            lines: self.lines,
            chain: self.previous,
        }
    }
}
