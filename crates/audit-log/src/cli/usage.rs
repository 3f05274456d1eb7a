//! `voxgate usage`: what each key, account, model or voice has used, from the audit log.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use voxgate_terminal::table::{ABSENT, Column, Table};
use voxgate_terminal::text::{Charset, escape_json, printable};

use super::clock::Clock;
use super::failure::CommandError;
use super::record::Record;
use super::row::bytes;
use super::segments::{self, Source};
use super::when::{self, End};
use super::{arguments, csv, log, output};
use crate::timestamp;

const AFTER: &str = "\
Examples:
  voxgate usage --month 2026-11 /var/log/voxgate
  voxgate usage --month 2026-11 --by account --format csv /var/log/voxgate

Usage is counted from the records of finished requests. A request whose answer was an error is \
counted as failed, and its text is not. BILLED, AUDIO BILLED and COST are what the vendor's answers \
report; the other figures are counted by the gateway. Give --tz the time zone of the quotas. To check that no \
record is missing, run `voxgate audit report`.";

/// One figure of a row, in each format.
struct Figure {
    /// The column of CSV.
    csv: &'static str,
    /// The column of a table.
    column: fn() -> Column,
    /// The member of JSON, and its value.
    json: (&'static str, fn(&Sum) -> Value),
    /// The cells of CSV and of a table, if they are not the value of JSON.
    cells: Option<[Cell; 2]>,
}

type Cell = fn(&Sum) -> String;

impl Figure {
    fn cell(&self, sum: &Sum, of_table: bool) -> String {
        match self.cells {
            Some(cells) => cells[usize::from(of_table)](sum),
            None => (self.json.1)(sum).to_string(),
        }
    }
}

/// What a row has. New figures come last: scripts read CSV by position.
const FIGURES: [Figure; 10] = [
    Figure {
        csv: "requests",
        column: || Column::number("REQUESTS"),
        json: ("requests", |sum| sum.requests.into()),
        cells: None,
    },
    Figure {
        csv: "failed",
        column: || Column::number("FAILED").optional(),
        json: ("failed", |sum| sum.failed.into()),
        cells: None,
    },
    Figure {
        csv: "unmetered",
        column: || Column::number("UNMETERED").optional(),
        json: ("unmetered", |sum| sum.unmetered.into()),
        cells: None,
    },
    Figure {
        csv: "characters",
        column: || Column::number("CHARACTERS"),
        json: ("characters", |sum| sum.characters.into()),
        cells: None,
    },
    Figure {
        csv: "audio_seconds",
        column: || Column::number("AUDIO"),
        json: ("audio_ms", |sum| sum.audio_ms.into()),
        cells: Some([|sum| seconds(sum.audio_ms), |sum| hours(sum.audio_ms)]),
    },
    Figure {
        csv: "bytes_sent",
        column: || Column::number("SENT").optional(),
        json: ("bytes_sent", |sum| sum.bytes.into()),
        cells: Some([|sum| sum.bytes.to_string(), |sum| bytes(sum.bytes)]),
    },
    Figure {
        csv: "first_byte_ms",
        column: || Column::number("FIRST BYTE").optional(),
        json: ("first_byte_ms", |sum| sum.first_byte_ms().into()),
        cells: Some([
            |sum| or_nothing(sum.first_byte_ms()),
            |sum| or_absent(sum.first_byte_ms().map(|it| format!("{it} ms"))),
        ]),
    },
    Figure {
        csv: "characters_billed",
        column: || Column::number("BILLED").optional(),
        json: ("characters_billed", |sum| sum.characters_billed.into()),
        cells: Some([
            |sum| or_nothing(sum.characters_billed),
            |sum| or_absent(sum.characters_billed),
        ]),
    },
    Figure {
        csv: "audio_billed_seconds",
        column: || Column::number("AUDIO BILLED").optional(),
        json: ("audio_billed_ms", |sum| sum.audio_billed_ms.into()),
        cells: Some([
            |sum| or_nothing(sum.audio_billed_ms.map(seconds)),
            |sum| or_absent(sum.audio_billed_ms.map(hours)),
        ]),
    },
    Figure {
        csv: "cost",
        column: || Column::number("COST").optional(),
        json: ("cost_micros", |sum| json!(sum.cost)),
        cells: Some([Sum::cost, |sum| {
            or_absent(Some(sum.cost()).filter(|cost| !cost.is_empty()))
        }]),
    },
];

fn or_nothing(figure: Option<impl ToString>) -> String {
    figure.map_or_else(String::new, |it| it.to_string())
}

fn or_absent(figure: Option<impl ToString>) -> String {
    figure.map_or_else(|| ABSENT.to_owned(), |it| it.to_string())
}

/// The command `usage`.
pub(super) fn command() -> Command {
    let one_of = |name: &'static str, value, values: &'static [&'static str], default| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .value_parser(PossibleValuesParser::new(values))
            .default_value(default)
    };
    let command = Command::new("usage")
        .about("Sum up characters, audio and requests of a month, from the audit log")
        .after_help(AFTER)
        .arg(
            Arg::new("month")
                .long("month")
                .value_name("MONTH")
                .help("Month to sum up, such as 2026-11 [default: the current month]"),
        )
        .arg(
            one_of(
                "by",
                "WHAT",
                &["key", "account", "model", "voice", "day"],
                "key",
            )
            .help("One row for each key, account, model, voice or day"),
        )
        .arg(
            one_of("format", "FORMAT", &["table", "csv", "json"], "table")
                .help("Format of the output"),
        )
        .arg(
            Arg::new("tz")
                .long("tz")
                .value_name("ZONE")
                .default_value("UTC")
                .help("Time zone of the month: a name such as Europe/Berlin, or local"),
        );
    arguments::with_paths(command)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let clock = arguments::clock(matches)?;
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let now = SystemTime::now();
    let this_month = timestamp::format_micros(now);
    let this_month = clock.moment(&this_month);
    let month = text("month").unwrap_or(&this_month[..7]);
    let bound = |end| when::bound(month, end, now, &clock).filter(|_| is_month(month));
    let (Some(since), Some(until)) = (bound(End::Since), bound(End::Until)) else {
        return Err(CommandError::Usage(format!(
            "--month {month:?} is not valid: give a month such as 2026-11"
        )));
    };
    let by = text("by").unwrap_or("key");
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let reading = log::read(&arguments::sources(matches)?, is_completion, |_, record| {
        let is_inside = *record.ts >= *since && *record.ts < *until;
        if record.is_completion() && !record.uncounted && is_inside {
            let name = name(by, record, &clock);
            sums.entry(name).or_default().add(record);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut out = output::stdout();
    match text("format") {
        Some("csv") => write_csv(&mut out, by, &sums)?,
        Some("json") => write_json(&mut out, by, month, &clock, &sums)?,
        _ => write_table(&mut out, by, month, &clock, &sums)?,
    }
    out.flush()?;
    reading.invalid_lines.warn();
    Ok(())
}

/// What one finished request used, for quotas.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Charge<'a> {
    /// The id of the key.
    pub key: &'a str,
    /// The id of its account.
    pub account: Option<&'a str>,
    /// When the request ended.
    pub time: SystemTime,
    /// Characters of text.
    pub characters: u64,
    /// The duration of the audio in milliseconds.
    pub audio_ms: u64,
}

/// Reads what requests have used that ended at or after `since`, from the segments of a directory.
/// Requests whose answer was an error have used nothing. A directory without segments has none.
///
/// # Errors
///
/// A text that names the file that cannot be read, and says what to do.
pub fn charges(
    directory: &Path,
    since: SystemTime,
    mut each: impl FnMut(Charge<'_>),
) -> Result<(), String> {
    let ended_before = |source: &Source| {
        let modified = std::fs::metadata(source.path()).and_then(|file| file.modified());
        modified.is_ok_and(|modified| modified < since)
    };
    let mut sources = match segments::find(&[directory.to_owned()]) {
        Ok(sources) => sources,
        Err(CommandError::Nothing { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    // A file that was last written before has nothing of interest.
    sources.retain(|source| !ended_before(source));
    let since = timestamp::format_micros(since);
    let read = log::read(&sources, is_completion, |_, record| {
        let time = timestamp::parse(&record.ts).filter(|_| *record.ts >= *since);
        if let (Some(key), Some(time)) = (record.key_id.as_deref(), time)
            && is_charged(record)
        {
            each(Charge {
                key,
                account: record.account.as_deref(),
                time,
                characters: record.characters.unwrap_or(0),
                audio_ms: record.audio_ms.unwrap_or(0),
            });
        }
        Ok(ControlFlow::Continue(()))
    });
    read.map(drop).map_err(|error| error.to_string())
}

fn is_completion(line: &str) -> bool {
    line.contains("\"event\":\"complete\"")
}

fn is_month(text: &str) -> bool {
    text.len() == 7 && text.as_bytes()[4] == b'-'
}

/// Whether a request succeeded, so that it and its text count.
pub(super) fn is_charged(record: &Record<'_>) -> bool {
    record.is_completion()
        && !record.uncounted
        && record.failure.is_none()
        && record.status.is_some_and(|status| status < 400)
}

fn name(by: &str, record: &Record<'_>, clock: &Clock) -> String {
    let found = match by {
        "account" => record.account.as_deref(),
        "model" => record.model.as_deref(),
        "voice" => record.voice.as_deref(),
        "day" => return clock.moment(&record.ts)[..10].to_owned(),
        _ => record.key_id.as_deref(),
    };
    found.unwrap_or_default().to_owned()
}

/// The sums of one row.
#[derive(Clone, Debug, Default)]
struct Sum {
    requests: u64,
    failed: u64,
    unmetered: u64,
    characters: u64,
    audio_ms: u64,
    bytes: u64,
    first_byte_us: u128,
    /// Answers with a body.
    first_bytes: u64,
    /// What the vendor's answers say is charged, if they say it.
    characters_billed: Option<u64>,
    audio_billed_ms: Option<u64>,
    /// Millionths of each currency.
    cost: BTreeMap<String, u64>,
}

impl Sum {
    fn add(&mut self, record: &Record<'_>) {
        if !is_charged(record) {
            self.failed += 1;
            return;
        }
        self.requests += 1;
        self.unmetered += u64::from(record.unmetered);
        for (sum, more) in [
            (&mut self.characters, record.characters),
            (&mut self.audio_ms, record.audio_ms),
            (&mut self.bytes, record.bytes_sent),
        ] {
            *sum = sum.saturating_add(more.unwrap_or(0));
        }
        add_known(&mut self.characters_billed, record.characters_billed);
        add_known(&mut self.audio_billed_ms, record.audio_billed_ms);
        if let Some(cost) = record.cost_micros {
            let currency = record.cost_currency.as_deref().unwrap_or_default();
            let sum = self.cost.entry(currency.to_owned()).or_default();
            *sum = sum.saturating_add(cost);
        }
        if let Some(first_byte) = record.first_byte_us {
            self.first_byte_us += u128::from(first_byte);
            self.first_bytes += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.unmetered += other.unmetered;
        self.characters = self.characters.saturating_add(other.characters);
        self.audio_ms = self.audio_ms.saturating_add(other.audio_ms);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first_byte_us += other.first_byte_us;
        self.first_bytes += other.first_bytes;
        add_known(&mut self.characters_billed, other.characters_billed);
        add_known(&mut self.audio_billed_ms, other.audio_billed_ms);
        for (currency, cost) in &other.cost {
            let sum = self.cost.entry(currency.clone()).or_default();
            *sum = sum.saturating_add(*cost);
        }
    }

    /// The average time to the first byte in milliseconds.
    fn first_byte_ms(&self) -> Option<u64> {
        let average = self.first_byte_us.checked_div(self.first_bytes.into())?;
        u64::try_from(average / 1000).ok()
    }

    /// The price in each currency, such as `12.345600 EUR`.
    fn cost(&self) -> String {
        let amounts = self.cost.iter().map(|(currency, micros)| {
            let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
            format!("{whole}.{rest:06} {currency}")
                .trim_end()
                .to_owned()
        });
        amounts.collect::<Vec<_>>().join(" + ")
    }
}

fn add_known(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// A duration for people, such as `1:02:03`.
pub(super) fn hours(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn write_csv(
    out: &mut impl Write,
    by: &str,
    sums: &BTreeMap<String, Sum>,
) -> Result<(), CommandError> {
    let titles = FIGURES.iter().map(|figure| figure.csv);
    csv::write(out, [by].into_iter().chain(titles))?;
    for (name, sum) in sums {
        let cells: Vec<String> = FIGURES
            .iter()
            .map(|figure| figure.cell(sum, false))
            .collect();
        let cells = cells.iter().map(String::as_str);
        csv::write(out, [name.as_str()].into_iter().chain(cells))?;
    }
    Ok(())
}

fn write_json(
    out: &mut impl Write,
    by: &str,
    month: &str,
    clock: &Clock,
    sums: &BTreeMap<String, Sum>,
) -> Result<(), CommandError> {
    let rows = sums.iter().map(|(name, sum)| {
        let mut row = json!({ by: Some(name).filter(|name| !name.is_empty()) });
        for Figure {
            json: (name, value),
            ..
        } in &FIGURES
        {
            row[name] = value(sum);
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    let all = json!({ "month": month, "time_zone": clock.name(), "usage": rows });
    out.write_all(escape_json(&format!("{all:#}\n")).as_bytes())?;
    Ok(())
}

fn write_table(
    out: &mut impl Write,
    by: &str,
    month: &str,
    clock: &Clock,
    sums: &BTreeMap<String, Sum>,
) -> Result<(), CommandError> {
    let charset = Charset::from_locale();
    writeln!(out, "Usage in {month}, {}\n", clock.name())?;
    let mut columns = vec![Column::long("").titled(by.to_uppercase())];
    // What no row has is left out.
    let shown: Vec<&Figure> = FIGURES
        .iter()
        .filter(|figure| {
            sums.is_empty() || sums.values().any(|sum| figure.cell(sum, true) != ABSENT)
        })
        .collect();
    columns.extend(shown.iter().map(|figure| (figure.column)()));
    let mut table =
        Table::new(columns, charset, output::terminal_width()).colored(output::colors());
    let mut total = Sum::default();
    for (name, sum) in sums {
        total.merge(sum);
        let name = match name.as_str() {
            "" => "(none)".to_owned(),
            name => printable(name, charset),
        };
        table.row(out, table_row(name, &shown, sum))?;
    }
    table.row(out, table_row("total".to_owned(), &shown, &total))?;
    table.settle(out)?;
    Ok(())
}

fn table_row(name: String, figures: &[&Figure], sum: &Sum) -> Vec<String> {
    let cells = figures.iter().map(|figure| figure.cell(sum, true));
    [name].into_iter().chain(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ts: &str, key: &str, fields: &str) -> String {
        format!(
            "{{\"v\":1,\"seq\":1,\"ts\":\"{ts}\",\"instance\":\"i\",\"event\":\"complete\",\
             \"request_id\":\"r\",\"key_id\":\"{key}\",\"account\":\"acme\",{fields}}}\n"
        )
    }

    fn log() -> String {
        let good = "\"status\":200,\"bytes_sent\":10,\"first_byte_us\":4000,\"characters\":7,\
                    \"audio_ms\":1500,\"characters_billed\":8,\"cost_micros\":1500000,\
                    \"cost_currency\":\"EUR\",\"model\":\"m\",\"voice\":\"v\"";
        let failed = "\"status\":502,\"failure\":\"upstream_unreachable\",\"bytes_sent\":1,\
                      \"characters\":9";
        let quiet = "\"status\":200,\"bytes_sent\":3,\"characters\":0,\"unmetered\":true";
        [
            line("2026-10-31T22:59:59.000000Z", "a", good),
            line("2026-10-31T23:00:00.000000Z", "a", good),
            line("2026-11-15T10:00:00.000000Z", "a", failed),
            line("2026-11-15T10:00:00.000000Z", "=b", quiet),
            line(
                "2026-11-30T22:59:59.999999Z",
                "a",
                "\"status\":200,\"characters\":0,\"uncounted\":true",
            ),
            line("2026-11-30T22:59:59.999999Z", "a", good),
            line("2026-11-30T23:00:00.000000Z", "a", good),
        ]
        .concat()
    }

    fn run_with(arguments: &[&str]) -> BTreeMap<String, Sum> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit-000000000001.jsonl");
        std::fs::write(&path, log()).expect("a log");
        let line = ["usage"].iter().chain(arguments);
        let matches = command().get_matches_from(line);
        let clock = arguments::clock(&matches).expect("a zone");
        let by = matches.get_one::<String>("by").expect("a default").clone();
        let since = when::bound("2026-11", End::Since, SystemTime::now(), &clock);
        let until = when::bound("2026-11", End::Until, SystemTime::now(), &clock);
        let (since, until) = (since.expect("a time"), until.expect("a time"));
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let sources = segments::find(&[path]).expect("a file");
        log::read(&sources, is_completion, |_, record| {
            if !record.uncounted && *record.ts >= *since && *record.ts < *until {
                sums.entry(name(&by, record, &clock))
                    .or_default()
                    .add(record);
            }
            Ok(ControlFlow::Continue(()))
        })
        .expect("read");
        sums
    }

    #[test]
    fn a_month_is_that_of_the_time_zone_and_failures_are_not_charged() {
        let sums = run_with(&["--tz", "Europe/Berlin"]);
        let a = &sums["a"];
        assert_eq!((a.requests, a.failed), (2, 1));
        assert_eq!((a.characters, a.audio_ms, a.bytes), (14, 3000, 20));
        assert_eq!(a.first_byte_ms(), Some(4));
        assert_eq!((sums["=b"].requests, sums["=b"].unmetered), (1, 1));
        let utc = run_with(&[]);
        assert_eq!(utc["a"].characters, 14);
        let by_model = run_with(&["--by", "model", "--tz", "Europe/Berlin"]);
        let models: Vec<&str> = by_model.keys().map(String::as_str).collect();
        assert_eq!(models, ["", "m"]);
        let days = run_with(&["--by", "day", "--tz", "Europe/Berlin"]);
        let days: Vec<&str> = days.keys().map(String::as_str).collect();
        assert_eq!(days, ["2026-11-01", "2026-11-15", "2026-11-30"]);
    }

    #[test]
    fn every_format_has_the_same_figures() {
        let sums = run_with(&["--tz", "Europe/Berlin"]);
        let mut out = Vec::new();
        write_csv(&mut out, "key", &sums).expect("written");
        let text = String::from_utf8(out).expect("text");
        let expected = "key,requests,failed,unmetered,characters,audio_seconds,bytes_sent,\
                        first_byte_ms,characters_billed,audio_billed_seconds,cost\r\n'=b,1,0,1,0,0.000,3,,,,\r\n\
                        a,2,1,0,14,3.000,20,4,16,,3.000000 EUR\r\n";
        assert_eq!(text, expected);
        let mut out = Vec::new();
        write_json(&mut out, "key", "2026-11", &Clock::default(), &sums).expect("written");
        let read: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(read["usage"][1]["characters"], 14);
        assert_eq!(read["usage"][0]["characters_billed"], Value::Null);
        assert_eq!(read["usage"][1]["cost_micros"], json!({ "EUR": 3_000_000 }));
        let mut out = Vec::new();
        write_table(&mut out, "key", "2026-11", &Clock::default(), &sums).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.contains("CHARACTERS") && text.contains("0:00:03"),
            "{text}"
        );
    }

    #[test]
    fn charges_begin_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sum = 0;
        let read = |sum: &mut u64, since: &str| {
            let since = timestamp::parse(since).expect("a time");
            *sum = 0;
            charges(directory.path(), since, |charge| {
                assert_eq!((charge.key, charge.account), ("a", Some("acme")));
                assert_eq!(charge.characters % 7, 0);
                *sum += charge.characters;
            })
        };
        read(&mut sum, "2026-11-01T00:00:00Z").expect("nothing there");
        let path = directory.path().join("audit-000000000001.jsonl");
        std::fs::write(path, log().replace("=b", "a")).expect("a log");
        read(&mut sum, "2026-10-31T23:00:00Z").expect("read");
        assert_eq!(sum, 21);
        read(&mut sum, "2026-11-30T23:00:00.000001Z").expect("read");
        assert_eq!(sum, 0);
    }
}
