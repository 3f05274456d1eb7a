//! Writes the report to a terminal.

use std::io::{self, Write};

use super::super::clock::Clock;
use super::super::log::InvalidLines;
use super::super::output;
use super::super::row::bytes;
use super::super::usage::hours;
use super::basis::Basis;
use super::gather::{Usage, UsageReport};
use super::sums;
use super::top::Top;
use voxgate_terminal::table::{ABSENT, Column, Table};
use voxgate_terminal::text::{Charset, printable, truncate, width};

const USAGE: &[Column] = &[
    Column::text("PERIOD"),
    Column::long("KEY"),
    Column::number("ACCEPTED"),
    Column::number("REFUSED"),
    Column::number("STREAMS"),
    Column::number("SENT"),
    Column::number("CHARACTERS").optional(),
    Column::number("AUDIO").optional(),
    Column::text("FIRST USE"),
    Column::text("LAST USE"),
];
const REASONS: &[Column] = &[
    Column::text("PERIOD"),
    Column::long("KEY"),
    Column::text("REASON"),
    Column::number("REFUSED"),
];
const TOP: &[Column] = &[
    Column::long("WHO"),
    Column::number("TIMES"),
    Column::text("FIRST"),
    Column::text("LAST"),
];
const CHANGES: &[Column] = &[
    Column::text("TIME"),
    Column::long("WHAT"),
    Column::text("CHANGE"),
    Column::long("BY").optional(),
    Column::long("BEFORE"),
    Column::long("NOW"),
];
/// Maximum number of keys in the chart, and of entries in a list.
const KEYS: usize = 20;
const MOST: usize = 10;
/// Length of the longest bar if the width of the terminal is unknown.
const BAR: usize = 50;

/// What a report stands on.
pub(super) struct Head<'a> {
    pub(super) files: usize,
    pub(super) basis: Option<&'a Basis>,
}

pub(super) fn write(
    out: &mut impl Write,
    report: &UsageReport,
    invalid_lines: &InvalidLines,
    head: Head<'_>,
    charset: Charset,
    limit: Option<usize>,
) -> io::Result<()> {
    match &report.span {
        Some((first, last)) => writeln!(
            out,
            "Audit report: {} to {} UTC",
            Clock::default().moment(first),
            Clock::default().moment(last)
        )?,
        None => writeln!(out, "Audit report: no records in this period")?,
    }
    writeln!(out, "Records: {}. Files: {}.", report.records, head.files)?;
    if let Some(basis) = head.basis {
        writeln!(out, "{}", printable(&basis.to_string(), charset))?;
    }
    writeln!(out)?;
    let findings = sums::findings(report, invalid_lines);
    let mark = if findings.complete {
        "ok"
    } else {
        "INCOMPLETE"
    };
    for (at, sentence) in findings.sentences.iter().enumerate() {
        let mark = if at == 0 { mark } else { "" };
        let indent = if findings.complete { 4 } else { 12 };
        writeln!(out, "{mark:indent$}{sentence}")?;
    }
    let mut table = Table::new(USAGE, charset, limit).colored(output::colors());
    writeln!(out)?;
    for ((period, key), usage) in &report.usage {
        let key = printable(sums::key_name(key.as_deref()), charset);
        table.row(out, usage_row(period.clone(), key, usage))?;
    }
    let total = sums::total(report);
    table.row(out, usage_row("total".to_owned(), String::new(), &total))?;
    table.settle(out)?;
    write_reasons(out, report, charset, limit)?;
    for (title, top) in [
        ("Unknown credentials, by fingerprint:", &report.prints),
        ("Failed authentications, by address:", &report.peers),
    ] {
        write_top(out, title, top, charset, limit)?;
    }
    write_changes(out, report, charset, limit)?;
    write_chart(out, report, charset, limit)
}

fn usage_row(period: String, key: String, usage: &Usage) -> Vec<String> {
    let time = |ts: &Option<String>| {
        ts.as_deref()
            .map_or("-".to_owned(), |ts| Clock::default().moment(ts))
    };
    vec![
        period,
        key,
        usage.accepted.to_string(),
        usage.refused.to_string(),
        usage.streams.to_string(),
        bytes(usage.bytes),
        usage.characters.to_string(),
        hours(usage.audio_ms),
        time(&usage.first),
        time(&usage.last),
    ]
}

fn write_reasons(
    out: &mut impl Write,
    report: &UsageReport,
    charset: Charset,
    limit: Option<usize>,
) -> io::Result<()> {
    let mut table = Table::new(REASONS, charset, limit).colored(output::colors());
    let mut any = false;
    for ((period, key), usage) in &report.usage {
        for (reason, count) in &usage.reasons {
            if !std::mem::replace(&mut any, true) {
                writeln!(out, "\nRefusals:")?;
            }
            let cells = vec![
                period.clone(),
                printable(sums::key_name(key.as_deref()), charset),
                printable(reason, charset),
                count.to_string(),
            ];
            table.row(out, cells)?;
        }
    }
    if any { table.settle(out) } else { Ok(()) }
}

fn write_top(
    out: &mut impl Write,
    title: &str,
    top: &Top,
    charset: Charset,
    limit: Option<usize>,
) -> io::Result<()> {
    let most = top.most(MOST);
    if most.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    let mut table = Table::new(TOP, charset, limit).colored(output::colors());
    for (name, entry) in most {
        let cells = vec![
            printable(name, charset),
            sums::at_most(entry),
            Clock::default().moment(&entry.first),
            Clock::default().moment(&entry.last),
        ];
        table.row(out, cells)?;
    }
    table.settle(out)
}

fn write_changes(
    out: &mut impl Write,
    report: &UsageReport,
    charset: Charset,
    limit: Option<usize>,
) -> io::Result<()> {
    let changes = &report.changes;
    if changes.count == 0 {
        return Ok(());
    }
    let hidden = changes.latest().len().saturating_sub(KEYS);
    let shown = changes.latest().len() - hidden;
    match changes.count > shown as u64 {
        true => writeln!(out, "\nChanges ({shown} latest of {}):", changes.count)?,
        false => writeln!(out, "\nChanges:")?,
    }
    let mut table = Table::new(CHANGES, charset, limit).colored(output::colors());
    for change in changes.latest().skip(hidden) {
        let texts = [
            &change.what,
            &change.change,
            &change.by,
            &change.before,
            &change.now,
        ];
        let texts = texts.into_iter().map(|text| match text.is_empty() {
            true => ABSENT.to_owned(),
            false => printable(text, charset),
        });
        let time = Clock::default().moment(&change.ts);
        table.row(out, [time].into_iter().chain(texts).collect())?;
    }
    table.settle(out)
}

/// Writes a bar for the requests of each key.
fn write_chart(
    out: &mut impl Write,
    report: &UsageReport,
    charset: Charset,
    limit: Option<usize>,
) -> io::Result<()> {
    let keys = sums::by_key(report);
    let shown_keys: Vec<(String, u64)> = keys
        .iter()
        .take(KEYS)
        .map(|(key, usage)| {
            (
                truncate(&printable(key, charset), 24, charset),
                usage.accepted + usage.refused,
            )
        })
        .collect();
    let Some(most) = shown_keys.iter().map(|(_, count)| *count).max() else {
        return Ok(());
    };
    let names = shown_keys
        .iter()
        .map(|(key, _)| width(key))
        .max()
        .unwrap_or(0);
    let number = most.to_string().len();
    let room = limit.map_or(BAR, |limit| {
        limit.saturating_sub(names + number + 4).min(BAR)
    });
    writeln!(out, "\nRequests by key:")?;
    for (key, count) in &shown_keys {
        let padding = " ".repeat(names - width(key));
        let bar = bar(*count, most, room, charset);
        writeln!(out, "{key}{padding}  {bar} {count}")?;
    }
    match keys.len().saturating_sub(KEYS) {
        0 => Ok(()),
        more => writeln!(out, "and {more} keys with fewer requests"),
    }
}

/// Draws a bar in eighths of a column. A count above zero is visible.
fn bar(count: u64, most: u64, columns: usize, charset: Charset) -> String {
    let parts: &[char] = match charset {
        Charset::Ascii => &['#'],
        Charset::Unicode => &['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'],
    };
    let steps = columns as u128 * parts.len() as u128;
    let length = u128::from(count) * steps / u128::from(most.max(1));
    let length = length.max(u128::from(count > 0));
    let length = usize::try_from(length).unwrap_or(0);
    let whole = parts[parts.len() - 1]
        .to_string()
        .repeat(length / parts.len());
    match length % parts.len() {
        0 => whole,
        rest => format!("{whole}{}", parts[rest - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_to_their_counts() {
        assert_eq!(bar(10, 10, 4, Charset::Unicode), "████");
        assert_eq!(bar(5, 10, 3, Charset::Unicode), "█▌");
        assert_eq!(bar(1, 1_000_000, 4, Charset::Unicode), "▏");
        assert_eq!(bar(0, 10, 4, Charset::Unicode), "");
        assert_eq!(bar(0, 0, 4, Charset::Unicode), "");
        assert_eq!(bar(5, 10, 4, Charset::Ascii), "##");
        assert_eq!(bar(u64::MAX, u64::MAX, 50, Charset::Ascii).len(), 50);
    }
}
