//! Formats results as rows of a table.

use super::clock::Clock;
use super::record::{Record, details};
use super::search::{Found, Seen};
use voxgate_terminal::color::Tone;
use voxgate_terminal::table::{ABSENT, Column};
use voxgate_terminal::text::{Charset, printable};

/// Columns of a table of requests.
pub(super) fn requests(clock: &Clock) -> Vec<Column> {
    vec![
        time(clock),
        Column::long("KEY"),
        Column::long("ACCOUNT").optional(),
        Column::long("ADDRESS").at_least(15),
        Column::long("REQUEST").at_least(12),
        Column::long("DECISION").toned(Tone::of_state),
        Column::number("STATUS").toned(Tone::of_status),
        Column::long("LIMIT").optional(),
        Column::text("ENDED").optional(),
        Column::number("DURATION").optional(),
        Column::number("BYTES").optional(),
    ]
}

/// Columns of a table of records.
pub(super) fn records(clock: &Clock) -> Vec<Column> {
    vec![
        time(clock),
        Column::text("EVENT").at_least(12),
        Column::long("KEY").at_least(10),
        Column::long("DETAILS").toned(Tone::of_state),
    ]
}

fn time(clock: &Clock) -> Column {
    Column::text("").titled(format!("TIME ({})", clock.name()))
}

/// Returns a field of a record.
pub(super) type Get = for<'a> fn(&'a Record<'_>) -> Option<&'a str>;
pub(super) type Count = fn(&Record<'_>) -> Option<u64>;

/// A string or a number of a record, with its name in the schema.
pub(super) enum Field {
    Text(&'static str, Get),
    Number(&'static str, Count),
}

/// The columns of CSV and Parquet files.
pub(super) const FIELDS: &[Field] = &[
    Field::Text("ts", |r| Some(&r.ts)),
    Field::Text("event", |r| Some(&r.event)),
    Field::Text("instance", |r| r.instance.as_deref()),
    Field::Number("seq", |r| r.seq),
    Field::Text("request_id", |r| r.request_id.as_deref()),
    Field::Text("key_id", |r| r.key_id.as_deref()),
    Field::Text("account", |r| r.account.as_deref()),
    Field::Text("label", |r| r.label.as_deref()),
    Field::Text("outcome", |r| r.outcome.as_deref()),
    Field::Text("reason", |r| r.reason.as_deref()),
    Field::Text("limit", |r| r.limit.as_deref()),
    Field::Number("status", |r| r.status.map(u64::from)),
    Field::Text("method", |r| r.method.as_deref()),
    Field::Text("path", |r| r.path.as_deref()),
    Field::Text("query_names", |r| r.query_names.as_deref()),
    Field::Text("ended", |r| r.ended.as_deref()),
    Field::Text("failure", |r| r.failure.as_deref()),
    Field::Number("duration_us", |r| r.duration_us),
    Field::Number("first_byte_us", |r| r.first_byte_us),
    Field::Number("bytes_sent", |r| r.bytes_sent),
    Field::Number("bytes_received", |r| r.bytes_received),
    Field::Text("peer", |r| r.peer.as_deref()),
    Field::Text("client", |r| r.client.as_deref()),
    Field::Text("cred_fp", |r| r.cred_fp.as_deref()),
    Field::Text("auth_method", |r| r.auth_method.as_deref()),
    Field::Text("scopes", |r| r.scopes.as_deref()),
    Field::Text("rule", |r| r.rule.as_deref()),
    Field::Text("required_scope", |r| r.required_scope.as_deref()),
    Field::Text("dialect", |r| r.dialect.as_deref()),
    Field::Text("host", |r| r.host.as_deref()),
    Field::Text("protocol", |r| r.protocol.as_deref()),
    Field::Text("user_agent", |r| r.user_agent.as_deref()),
    Field::Text("trace_id", |r| r.trace_id.as_deref()),
    Field::Text("trace_parent", |r| r.trace_parent.as_deref()),
    Field::Number("characters", |r| r.characters),
    Field::Number("audio_ms", |r| r.audio_ms),
    Field::Text("voice", |r| r.voice.as_deref()),
    Field::Text("model", |r| r.model.as_deref()),
    Field::Text("language", |r| r.language.as_deref()),
    Field::Number("characters_billed", |r| r.characters_billed),
    Field::Number("audio_billed_ms", |r| r.audio_billed_ms),
    Field::Number("cost_micros", |r| r.cost_micros),
    Field::Text("cost_currency", |r| r.cost_currency.as_deref()),
];

pub(super) fn csv_titles() -> impl Iterator<Item = &'static str> {
    let names = FIELDS.iter().map(|field| match field {
        Field::Text(name, _) | Field::Number(name, _) => *name,
    });
    names.chain(["details"])
}

/// Returns the fields of one CSV line. `details` has the fields without a column.
pub(super) fn csv(found: Found<'_>) -> Vec<String> {
    let records = [
        Some(found.first.record),
        found.second.map(|seen| seen.record),
    ];
    let records = || records.into_iter().flatten();
    let mut fields: Vec<String> = FIELDS
        .iter()
        .map(|field| match field {
            Field::Text(_, get) => records().find_map(get).unwrap_or_default().to_owned(),
            Field::Number(_, get) => {
                let number = records().find_map(get);
                number.map(|number| number.to_string()).unwrap_or_default()
            }
        })
        .collect();
    let Seen { line, record } = found.first;
    let is_request = record.is_decision() || record.is_completion();
    fields.push(if is_request {
        String::new()
    } else {
        details(line)
    });
    fields
}

pub(super) fn request(found: Found<'_>, clock: &Clock, charset: Charset) -> Vec<String> {
    let first = found.first.record;
    let last = found.second.map_or(first, |seen| seen.record);
    let text = |text: Option<&str>| printable(text.unwrap_or(ABSENT), charset);
    let decision = match first.reason.as_deref() {
        None if first.is_completion() => "accepted".to_owned(),
        None | Some("ok") => text(first.outcome.as_deref()),
        Some(reason) => format!(
            "{}: {}",
            text(first.outcome.as_deref()),
            printable(reason, charset)
        ),
    };
    let ended = last
        .ended
        .as_deref()
        .map(|ended| match last.failure.as_deref() {
            Some(failure) => format!("{ended}: {failure}"),
            None => ended.to_owned(),
        });
    vec![
        clock.moment(&first.ts),
        text(first.key_id.as_deref()),
        text(first.account.as_deref()),
        address(first, charset),
        target(first, charset),
        decision,
        last.status
            .map_or(ABSENT.into(), |status| status.to_string()),
        text(first.limit.as_deref()),
        text(ended.as_deref()),
        last.duration_us.map_or(ABSENT.into(), duration),
        last.bytes_sent.map_or(ABSENT.into(), bytes),
    ]
}

/// The address of the client.
fn address(record: &Record<'_>, charset: Charset) -> String {
    match (record.client_address(), record.peer.as_deref()) {
        (Some(address), _) => address.to_string(),
        (None, Some(peer)) => printable(peer, charset),
        (None, None) => ABSENT.to_owned(),
    }
}

pub(super) fn record(
    Seen { line, record }: Seen<'_>,
    clock: &Clock,
    charset: Charset,
) -> Vec<String> {
    vec![
        clock.moment(&record.ts),
        printable(&record.event, charset),
        printable(record.key_id.as_deref().unwrap_or(ABSENT), charset),
        what(line, record, charset),
    ]
}

/// Summarizes a record.
fn what(line: &str, record: &Record<'_>, charset: Charset) -> String {
    let mut words = Vec::new();
    let mut add = |text: Option<&str>| words.extend(text.map(|text| printable(text, charset)));
    match &*record.event {
        "decision" => {
            add(record.outcome.as_deref());
            add(record.reason.as_deref().filter(|reason| *reason != "ok"));
            add(record.status.map(|status| status.to_string()).as_deref());
            words.push(target(record, charset));
            if let Some(peer) = record.peer.as_deref() {
                words.push(format!("from {}", printable(peer, charset)));
            }
            if let Some(print) = record.cred_fp.as_deref() {
                words.push(format!("with {}", printable(print, charset)));
            }
        }
        "complete" => {
            add(record.status.map(|status| status.to_string()).as_deref());
            add(record.ended.as_deref());
            add(record.failure.as_deref());
            words.extend(record.duration_us.map(duration));
            words.extend(record.bytes_sent.map(bytes));
        }
        "gap" => {
            let (from, to) = (record.from.unwrap_or(0), record.to.unwrap_or(0));
            words.push(format!("records {from} to {to} were lost"));
        }
        _ => words.push(printable(&details(line), charset)),
    }
    words.join(" ")
}

fn target(record: &Record<'_>, charset: Charset) -> String {
    match (record.method.as_deref(), record.path.as_deref()) {
        (Some(method), Some(path)) => {
            format!(
                "{} {}",
                printable(method, charset),
                printable(path, charset)
            )
        }
        _ => ABSENT.to_owned(),
    }
}

pub(super) fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} us"),
        1_000..1_000_000 => format!("{} ms", microseconds / 1_000),
        1_000_000..60_000_000 => {
            let tenths = microseconds / 100_000;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ => {
            let seconds = microseconds / 1_000_000;
            format!("{}:{:02} min", seconds / 60, seconds % 60)
        }
    }
}

/// Formats a size with three digits and a unit.
pub(super) fn bytes(count: u64) -> String {
    let mut tenths = u128::from(count) * 10;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if tenths < 10_000 {
            return if unit == "B" {
                format!("{count} B")
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
        tenths /= 1_000;
    }
    format!("{} PB", tenths * 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (66_044, "66.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (12_345_678_901, "12.3 GB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        assert!(bytes(u64::MAX).ends_with(" PB"));
        for (microseconds, expected) in [
            (999, "999 us"),
            (192_487, "192 ms"),
            (1_250_000, "1.2 s"),
            (61_000_000, "1:01 min"),
        ] {
            assert_eq!(duration(microseconds), expected);
        }
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        let line = r#"{"v":1,"ts":"2026-03-14T10:11:12.123456Z","event":"decision","outcome":"refused","reason":"missing_credential","status":401,"request_id":"r","peer":"[::1]:9","method":"GET","path":"/a\u001b"}"#;
        let clock = Clock::default();
        let record = Record::read(line).expect("a record");
        let seen = Seen {
            line,
            record: &record,
        };
        let found = Found {
            first: seen,
            second: None,
        };
        assert_eq!(
            request(found, &clock, Charset::Unicode),
            [
                "2026-03-14 10:11:12",
                "-",
                "-",
                "::1",
                "GET /a\\u001b",
                "refused: missing_credential",
                "401",
                "-",
                "-",
                "-",
                "-"
            ]
        );
        assert_eq!(
            request(found, &clock, Charset::Ascii).len(),
            requests(&clock).len()
        );
        let row = super::record(seen, &clock, Charset::Ascii);
        assert_eq!(row.len(), records(&clock).len());
        assert_eq!(
            row[3],
            "refused missing_credential 401 GET /a\\u001b from [::1]:9"
        );
        assert_eq!(csv(found).len(), csv_titles().count());
    }
}
