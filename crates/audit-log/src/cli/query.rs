//! `voxgate audit query`: shows requests, or records.

mod closing;
mod tally;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use self::closing::Closing;
use super::clock::Clock;
use super::failure::CommandError;
use super::filter::Filter;
use super::record::Record;
use super::search::{Found, Search, Seen};
use super::segments::Source;
use super::{arguments, csv, output, row};
use voxgate_terminal::table::Table;
use voxgate_terminal::text::Charset;

/// Default number of rows for `--newest`.
const NEWEST: usize = 1000;

const AFTER: &str = "\
Examples:
  voxgate audit query --key ivr-prod --since 2026-03 --until 2026-03 /var/log/voxgate
  voxgate audit query --outcome refused --peer 10.0.0.0/8 --since 7d --newest --limit 20
  voxgate audit query --key 'ivr-*' --since 03:00 --tz Europe/Berlin --by hour
  voxgate audit query --event key --format json /var/log/voxgate | jq .

For the formats of SIEMs (OCSF, ECS, CEF), use `voxgate audit export`.

Each row is a request: its decision and how it ended. Rows are in the order in which requests ended.";

pub(super) fn command(reasons: &[&'static str]) -> Command {
    let command = Command::new("query")
        .about("Show the requests or records that match")
        .after_help(AFTER)
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["table", "json", "csv"]))
                .default_value("table")
                .help("Output format; json prints the lines of the log unchanged"),
        )
        .arg(
            Arg::new("records")
                .long("records")
                .action(ArgAction::SetTrue)
                .help("Show one row for each record, of every kind; --event and --format json imply it"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Maximum number of rows"),
        )
        .arg(
            Arg::new("newest")
                .long("newest")
                .action(ArgAction::SetTrue)
                .help("Show the newest rows first: at most --limit, or 1000"),
        )
        .arg(
            Arg::new("by")
                .long("by")
                .value_name("PERIOD")
                .value_parser(PossibleValuesParser::new(["hour", "day"]))
                .conflicts_with_all(["limit", "newest"])
                .help("Count the requests of each hour or day instead of showing them"),
        );
    arguments::with_paths(arguments::with_filters(command, reasons))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let filter = arguments::filter(matches)?;
    let sources = arguments::sources(matches)?;
    let clock = arguments::clock(matches)?;
    let format = matches.get_one::<String>("format").map(String::as_str);
    let single = matches.get_flag("records") || filter.event.is_some();
    let joined = !single && format != Some("json");
    if let Some(period) = matches.get_one::<String>("by") {
        if !joined {
            return Err(CommandError::Usage(
                "--by counts requests: leave out --records, --event and --format json".to_owned(),
            ));
        }
        return tally::run(filter, &sources, period, format == Some("csv"), &clock);
    }
    let limit = matches.get_one::<u64>("limit");
    let limit = limit.map(|limit| usize::try_from(*limit).unwrap_or(usize::MAX));
    let mut search = Search::new(filter.clone(), joined);
    let mut printer = Printer::new(format, joined, clock.clone(), output::stdout())?;
    let mut shown = 0;
    let mut matching = None;
    let reading = if matches.get_flag("newest") {
        let wanted = limit.unwrap_or(NEWEST);
        let mut newest = VecDeque::new();
        let mut found_all = 0;
        let reading = search.run(&sources, |found| {
            if newest.len() == wanted {
                newest.pop_front();
            }
            newest.push_back(Kept::new(found));
            found_all += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        for kept in newest.iter().rev() {
            kept.print(&mut printer)?;
        }
        shown += newest.len() as u64;
        matching = Some(found_all);
        reading
    } else {
        let mut left = limit.unwrap_or(usize::MAX);
        search.run(&sources, |found| {
            printer.print(found)?;
            shown += 1;
            left -= 1;
            Ok(match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        })?
    };
    let left_out = printer.finish()?;
    reading.invalid_lines.warn();
    if format == Some("table") {
        let closing = Closing {
            shown,
            matching,
            noun: if joined { "request" } else { "record" },
            reading: &reading,
            rejected: search.rejected(),
            left_out: &left_out,
            clock: &clock,
        };
        closing.say(&filter, &sources);
    }
    Ok(())
}

/// Writes all requests that the filter selects as CSV.
pub(super) fn write_csv(filter: Filter, sources: &[Source]) -> Result<(), CommandError> {
    let mut printer = Printer::new(Some("csv"), true, Clock::default(), output::stdout())?;
    let reading = Search::new(filter, true).run(sources, |found| {
        printer.print(found)?;
        Ok(ControlFlow::Continue(()))
    })?;
    printer.finish()?;
    reading.invalid_lines.warn();
    Ok(())
}

/// The lines of a result.
struct Kept {
    first: Box<str>,
    second: Option<Box<str>>,
}

impl Kept {
    fn new(found: Found<'_>) -> Self {
        Self {
            first: found.first.line.into(),
            second: found.second.map(|seen| seen.line.into()),
        }
    }

    fn print<W: Write>(&self, printer: &mut Printer<W>) -> io::Result<()> {
        // These lines were parsed as records before.
        let Some(first) = Record::read(&self.first) else {
            return Ok(());
        };
        let second = self.second.as_deref();
        let second = second.and_then(|line| Some((line, Record::read(line)?)));
        printer.print(Found {
            first: Seen {
                line: &self.first,
                record: &first,
            },
            second: second.as_ref().map(|(line, record)| Seen { line, record }),
        })
    }
}

enum Style {
    Json,
    Csv,
    Table {
        table: Table,
        charset: Charset,
        clock: Clock,
        joined: bool,
    },
}

struct Printer<W> {
    style: Style,
    out: W,
}

impl<W: Write> Printer<W> {
    fn new(format: Option<&str>, joined: bool, clock: Clock, mut out: W) -> io::Result<Self> {
        let style = match format {
            Some("json") => Style::Json,
            Some("csv") => {
                csv::write(&mut out, row::csv_titles())?;
                Style::Csv
            }
            _ => {
                let charset = Charset::from_locale();
                let columns = match joined {
                    true => row::requests(&clock),
                    false => row::records(&clock),
                };
                Style::Table {
                    table: Table::new(columns, charset, output::terminal_width())
                        .colored(output::colors()),
                    charset,
                    clock,
                    joined,
                }
            }
        };
        Ok(Self { style, out })
    }

    fn print(&mut self, found: Found<'_>) -> io::Result<()> {
        match &mut self.style {
            Style::Json => {
                self.out.write_all(found.first.line.as_bytes())?;
                self.out.write_all(b"\n")
            }
            Style::Csv => {
                let fields = row::csv(found);
                csv::write(&mut self.out, fields.iter().map(String::as_str))
            }
            Style::Table {
                table,
                charset,
                clock,
                joined,
            } => {
                let cells = match joined {
                    true => row::request(found, clock, *charset),
                    false => row::record(found.first, clock, *charset),
                };
                table.row(&mut self.out, cells)
            }
        }
    }

    /// Writes what is waiting. Returns the titles of the columns that were left out.
    fn finish(mut self) -> io::Result<Vec<String>> {
        let mut left_out = Vec::new();
        if let Style::Table { table, .. } = &mut self.style {
            table.settle(&mut self.out)?;
            left_out.extend(table.left_out().map(str::to_owned));
        }
        self.out.flush()?;
        Ok(left_out)
    }
}
