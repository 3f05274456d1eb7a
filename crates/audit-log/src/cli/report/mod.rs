//! `voxgate audit report`: summarizes the use of keys, refusals and missing records.

mod basis;
mod changes;
mod data;
mod gather;
mod html;
mod plot;
mod sequence;
mod sums;
mod terminal;
mod top;

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, value_parser};

use self::basis::Basis;
use self::gather::{Period, UsageReport};
use super::failure::CommandError;
use super::pending_decisions::PendingDecisions;
use super::record::Record;
use super::{arguments, log, output};
use voxgate_terminal::text::{Charset, escape_json};

const AFTER: &str = "\
Examples:
  voxgate audit report --since 2026-03 --until 2026-03 /var/log/voxgate
  voxgate audit report --since 30d --by day --html report.html /var/log/voxgate
  voxgate audit report --since 1d --by hour --account acme --format csv /var/log/voxgate

The report first says what it stands on: the verdict about the chain of a whole directory, and the records that are missing from the log. To prove that the end is there, run `voxgate audit verify` with checkpoints.";

pub(super) fn command(reasons: &[&'static str]) -> Command {
    let command = Command::new("report")
        .about("Summarize the use of each key, refused requests and missing records")
        .after_help(AFTER)
        .arg(
            Arg::new("by")
                .long("by")
                .value_name("PERIOD")
                .value_parser(PossibleValuesParser::new(["month", "day", "hour"]))
                .default_value("month")
                .help("Totals for each month, day or hour, in UTC"),
        )
        .arg(
            Arg::new("html")
                .long("html")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write a self-contained HTML page with charts to this file instead"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["text", "json", "csv"]))
                .default_value("text")
                .conflicts_with("html")
                .help("Output format; csv has one line for each period and key"),
        );
    arguments::with_paths(arguments::with_filters(command, reasons))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let filter = arguments::filter(matches)?;
    let sources = arguments::sources(matches)?;
    let period = match matches.get_one::<String>("by").map(String::as_str) {
        Some("day") => Period::Day,
        Some("hour") => Period::Hour,
        _ => Period::Month,
    };
    // A completion has no address, method, path and account of its own.
    let asks_the_decision = filter.asks_the_decision();
    let mut open = PendingDecisions::new();
    let mut report = UsageReport::new(period, filter);
    let reading = log::read(
        &sources,
        |_| true,
        |line, record| {
            let mut before = None;
            if asks_the_decision && let Some(request_id) = record.request_id.as_deref() {
                if record.is_completion() {
                    before = open.take(request_id);
                } else if record.is_accepted() {
                    open.insert(request_id, line);
                }
            }
            report.add(record, before.as_deref().and_then(Record::read).as_ref());
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let files = sources.len();
    let basis = Basis::of(&arguments::paths(matches)?);
    if let Some(path) = matches.get_one::<PathBuf>("html") {
        let page = html::page(&report, &reading.invalid_lines, files, basis.as_ref());
        return fs::write(path, page).map_err(|error| CommandError::File {
            path: path.clone(),
            error,
        });
    }
    let mut out = output::stdout();
    match matches.get_one::<String>("format").map(String::as_str) {
        Some("csv") => data::csv(&mut out, &report)?,
        Some("json") => {
            let report = data::json(&report, &reading.invalid_lines, files, basis.as_ref());
            writeln!(out, "{}", escape_json(&format!("{report:#}")))?;
        }
        _ => {
            let charset = Charset::from_locale();
            let head = terminal::Head {
                files,
                basis: basis.as_ref(),
            };
            let width = output::terminal_width();
            terminal::write(
                &mut out,
                &report,
                &reading.invalid_lines,
                head,
                charset,
                width,
            )?;
        }
    }
    out.flush()?;
    Ok(())
}
