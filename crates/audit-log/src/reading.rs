//! What is read of a line.

use super::chain::Chain;
use super::fields::{Fields, Value, unescape};
use super::loss::{Loss, LossCause};
use super::options::InvalidLine;
use super::record::{Follows, Open, Own, Recovery};

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
    /// A `gap` may have none.
    pub(super) seq: Option<u64>,
    pub(super) time: Option<&'a str>,
    pub(super) instance: &'a str,
    /// The first and last `seq` that a `gap` says are lost.
    pub(super) lost: Option<(u64, u64)>,
    /// All that the line says.
    pub(super) body: &'a [u8],
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
    // The loop has no branch, and takes many bytes at a time.
    let printable = line
        .iter()
        .fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
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
    let (name, second) = fields.next()?.ok()?;
    // Only a `gap` has no `seq`: it stands for records, and is none.
    let is_event = version == ("v", Value::Number("1")) && matches!(name, "seq" | "ts");
    let (seq, time) = match name {
        "seq" => (Some(second), None),
        _ => (None, second.plain()),
    };
    is_event.then(|| event_after(body, seq, time, fields).unwrap_or(Err(InvalidLine::Malformed)))
}

fn event_after<'a>(
    body: &'a [u8],
    seq: Option<Value<'a>>,
    mut time: Option<&'a str>,
    fields: Fields<'a>,
) -> Option<Result<Event<'a>, InvalidLine>> {
    let (mut instance, mut kind, mut from, mut to) = (None, None, None, None);
    for field in fields {
        let (name, value) = field.ok()?;
        let text = match name {
            "instance" => &mut instance,
            "event" => &mut kind,
            "ts" => {
                time = value.plain();
                continue;
            }
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
        "segment_open" | "segment_seal" | "checkpoint" | "recovery" | "retention"
        | "segments_lost" | "time_stamp" => {
            return Some(Err(InvalidLine::Reserved));
        }
        _ => None,
    };
    let seq = match seq {
        Some(seq) => Some(seq.integer()?),
        None => {
            lost?;
            None
        }
    };
    Some(Ok(Event {
        seq,
        time,
        instance: instance?,
        lost,
        body,
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
        ) => Own::Open(Open {
            segment: number(0)?,
            origin: text(1)?.to_owned(),
            follows: Follows::from_name(text(2)?)?,
            recoveries: number(3)?,
            end: number(4)?,
            lines: number(5)?,
            previous: chain(6)?,
        }),
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
        ("time_stamp", ["lines", "token"]) => Own::TimeStamp {
            lines: number(0)?,
            token: text(1)?.to_owned(),
        },
        ("segments_lost", ["cause", "from", "to", "first_seq", "last_seq"]) => {
            let seqs = (number(3)?, number(4)?);
            Own::Lost(Loss {
                cause: LossCause::from_name(text(0)?)?,
                from: number(1)?,
                to: number(2)?,
                seqs: (seqs != (0, 0)).then_some(seqs),
            })
        }
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
