//! `--by`: counts the requests of each hour or day.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;

use voxgate_terminal::table::{Column, Table};
use voxgate_terminal::text::Charset;

use super::super::clock::Clock;
use super::super::failure::CommandError;
use super::super::filter::Filter;
use super::super::search::{Found, Search};
use super::super::segments::Source;
use super::super::{csv, output, row};

/// The requests of one period.
#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    /// Accepted requests that did not end well.
    failed: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, found: Found<'_>) {
        let first = found.first.record;
        let last = found.second.map_or(first, |seen| seen.record);
        if first.is_decision() && !first.is_accepted() {
            self.refused += 1;
            return;
        }
        self.accepted += 1;
        self.failed += u64::from(last.failure.is_some());
        self.bytes = self.bytes.saturating_add(last.bytes_sent.unwrap_or(0));
    }
}

/// Counts the requests that `filter` selects, in each `period` of `clock`.
pub(super) fn run(
    filter: Filter,
    sources: &[Source],
    period: &str,
    as_csv: bool,
    clock: &Clock,
) -> Result<(), CommandError> {
    let by_hour = period == "hour";
    let mut tallies = BTreeMap::<String, Tally>::new();
    let mut search = Search::new(filter, true);
    let reading = search.run(sources, |found| {
        let moment = clock.moment(&found.first.record.ts);
        let name = match by_hour {
            true => format!("{}:00", moment.get(..13).unwrap_or(&moment)),
            false => moment.get(..10).unwrap_or(&moment).to_owned(),
        };
        tallies.entry(name).or_default().add(found);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut out = output::stdout();
    if as_csv {
        let titles = ["period", "accepted", "refused", "failed", "bytes_sent"];
        csv::write(&mut out, titles.into_iter())?;
        for (name, tally) in &tallies {
            let counts = [tally.accepted, tally.refused, tally.failed, tally.bytes];
            let counts = counts.map(|count| count.to_string());
            csv::write(
                &mut out,
                [name].into_iter().chain(&counts).map(String::as_str),
            )?;
        }
    } else {
        let unit = if by_hour { "HOUR" } else { "DAY" };
        let columns = [
            Column::text("").titled(format!("{unit} ({})", clock.name())),
            Column::number("ACCEPTED"),
            Column::number("REFUSED"),
            Column::number("FAILED"),
            Column::number("SENT"),
        ];
        let mut table = Table::new(columns, Charset::from_locale(), output::terminal_width())
            .colored(output::colors());
        for (name, tally) in tallies {
            let counts = [tally.accepted, tally.refused, tally.failed];
            let counts = counts.map(|count| count.to_string());
            let cells = [name]
                .into_iter()
                .chain(counts)
                .chain([row::bytes(tally.bytes)]);
            table.row(&mut out, cells.collect())?;
        }
        table.settle(&mut out)?;
    }
    out.flush()?;
    reading.invalid_lines.warn();
    Ok(())
}
