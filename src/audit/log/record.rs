//! The lines: those that the log writes itself, and what is read of the others.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::chain::{Chain, Position, hex};
use super::fields::{Fields, Value, escape, unescape};
use super::options::InvalidLine;

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
}

impl Follows {
    const ALL: [(Self, &str); 5] = [
        (Self::Nothing, "nothing"),
        (Self::Sealed, "sealed"),
        (Self::Unsealed, "unsealed"),
        (Self::Failed, "failed"),
        (Self::Damaged, "damaged"),
    ];

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
            timestamp(now)
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

/// A line as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Event(Event<'a>),
    Own {
        own: Own,
        instance: String,
        time: String,
    },
}

/// What the log has to know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) seq: u64,
    pub(super) instance: &'a str,
    /// The first and last `seq` that a `gap` says are lost.
    pub(super) lost: Option<(u64, u64)>,
}

/// Reads the body of a line whose chain is right.
pub(super) fn read(body: &[u8]) -> Option<Line<'_>> {
    if let Some(event) = read_event(body) {
        return event.ok().map(Line::Event);
    }
    read_own(body)
}

/// The `seq` that a line claims to have, be it right or not.
pub(super) fn claimed_seq(line: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(line).skip(1);
    match fields.next()? {
        Ok(("seq", value)) => value.integer(),
        _ => None,
    }
}

/// Whether a line is one that the log of this instance takes.
pub(super) fn check_event(line: &[u8], instance: &str, max: usize) -> Result<(), InvalidLine> {
    if line.len() > max {
        return Err(InvalidLine::TooLong);
    }
    let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let body = line.strip_suffix(b"}").filter(|_| printable);
    let body = body.ok_or(InvalidLine::Malformed)?;
    let event = read_event(body).unwrap_or(Err(InvalidLine::Malformed))?;
    let right = event.instance == instance;
    right.then_some(()).ok_or(InvalidLine::Instance)
}

/// Fields are read up to the last one that matters here: what follows is the chain's concern.
fn read_event(body: &[u8]) -> Option<Result<Event<'_>, InvalidLine>> {
    let mut fields = Fields::new(body);
    let version = fields.next()?.ok()?;
    let (name, seq) = fields.next()?.ok()?;
    if version != ("v", Value::Number("1")) || name != "seq" {
        return None;
    }
    Some(event_after(seq.integer(), fields).unwrap_or(Err(InvalidLine::Malformed)))
}

fn event_after<'a>(seq: Option<u64>, fields: Fields<'a>) -> Option<Result<Event<'a>, InvalidLine>> {
    let (mut instance, mut kind, mut from, mut to) = (None, None, None, None);
    for field in fields {
        let (name, value) = field.ok()?;
        let text = match name {
            "instance" => &mut instance,
            "event" => &mut kind,
            "from" => {
                from = value.integer();
                continue;
            }
            "to" => {
                to = value.integer();
                continue;
            }
            _ => continue,
        };
        if text.is_some() {
            return None;
        }
        *text = Some(value.plain()?);
        if instance.is_some() && kind.is_some_and(|kind| kind != "gap") {
            break;
        }
    }
    let lost = match kind? {
        "gap" => Some((from?, to.filter(|to| Some(*to) >= from)?)),
        "segment_open" | "segment_seal" | "checkpoint" | "recovery" | "retention" => {
            return Some(Err(InvalidLine::Reserved));
        }
        _ => None,
    };
    Some(Ok(Event {
        seq: seq?,
        instance: instance?,
        lost,
    }))
}

/// A line of the log's own has exactly the fields that it is written with.
fn read_own(body: &[u8]) -> Option<Line<'static>> {
    let fields: Option<Vec<_>> = Fields::new(body).map(Result::ok).collect();
    let [version, event, time, instance, rest @ ..] = &fields?[..] else {
        return None;
    };
    let names: Vec<&str> = rest.iter().map(|(name, _)| *name).collect();
    let text = |at: usize| rest.get(at)?.1.plain();
    let number = |at: usize| rest.get(at)?.1.integer();
    let chain = |at: usize| Chain::from_hex(text(at)?.as_bytes());
    let own = match (event.1.plain()?, &names[..]) {
        (
            "segment_open",
            [
                "segment",
                "origin",
                "follows",
                "recoveries",
                "end",
                "lines",
                "previous",
            ],
        ) => {
            let follows = text(2)?;
            let follows = Follows::ALL.iter().find(|(_, name)| *name == follows)?;
            Own::Open(Open {
                segment: number(0)?,
                origin: text(1)?.to_owned(),
                follows: follows.0,
                recoveries: number(3)?,
                end: number(4)?,
                lines: number(5)?,
                previous: chain(6)?,
            })
        }
        ("segment_seal", ["reason", "line"]) => Own::Seal {
            reason: text(0)?.to_owned(),
            line: number(1)?,
        },
        ("checkpoint", ["note"]) => match rest.first()?.1 {
            Value::Text(note) => Own::Checkpoint {
                note: unescape(note)?,
            },
            _ => return None,
        },
        (
            "recovery",
            [
                "segment",
                "state",
                "line",
                "offset",
                "bytes",
                "sha256",
                "file",
            ],
        ) => Own::Recovery(Recovery {
            segment: number(0)?,
            state: text(1)?.to_owned(),
            line: number(2)?,
            offset: number(3)?,
            bytes: number(4)?,
            sha256: *chain(5)?.as_bytes(),
            file: text(6)?.to_owned(),
        }),
        ("retention", ["from", "to", "lines", "last"]) => Own::Retention {
            from: number(0)?,
            to: number(1)?,
            lines: number(2)?,
            last: chain(3)?,
        },
        _ => return None,
    };
    let head = (*version, event.0, time.0, instance.0);
    let right = head == (("v", Value::Number("1")), "event", "ts", "instance");
    right.then_some(Line::Own {
        own,
        instance: instance.1.plain()?.to_owned(),
        time: time.1.plain()?.to_owned(),
    })
}

/// RFC 3339, in UTC, with microseconds.
fn timestamp(time: SystemTime) -> String {
    let mut text = String::new();
    let time = humantime::format_rfc3339_micros(time.max(UNIX_EPOCH));
    // It fails after the year 9999 only.
    match write!(text, "{time}") {
        Ok(()) => text,
        Err(_) => "9999-12-31T23:59:59.999999Z".to_owned(),
    }
}
