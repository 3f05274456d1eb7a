//! `voxgate audit report`: summarizes the use of keys, refusals and missing records.

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

use self::gather::{Period, UsageReport};
use super::failure::CommandError;
use super::{arguments, log, output};
use voxgate_terminal::text::Charset;

const AFTER: &str = "\
Examples:
  voxgate audit report --since 2026-03 --until 2026-03 /var/log/voxgate
  voxgate audit report --since 30d --by day --html report.html /var/log/voxgate

The report first lists the records that are missing from the log. To detect changed records, run \
`voxgate audit verify`.";

pub(super) fn command() -> Command {
    let command = Command::new("report")
        .about("Summarize the use of each key, refused requests and missing records")
        .after_help(AFTER)
        .arg(
            Arg::new("by")
                .long("by")
                .value_name("PERIOD")
                .value_parser(PossibleValuesParser::new(["month", "day"]))
                .default_value("month")
                .help("Totals for each month or day, in UTC"),
        )
        .arg(
            Arg::new("html")
                .long("html")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write a self-contained HTML page with charts to this file instead"),
        );
    arguments::with_paths(arguments::with_times(command))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let filter = arguments::filter(matches)?;
    let sources = arguments::sources(matches)?;
    let period = match matches.get_one::<String>("by").map(String::as_str) {
        Some("day") => Period::Day,
        _ => Period::Month,
    };
    let mut report = UsageReport::new(period, filter);
    let reading = log::read(
        &sources,
        |_| true,
        |_, record| {
            report.add(record);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let files = sources.len();
    if let Some(path) = matches.get_one::<PathBuf>("html") {
        let page = html::page(&report, &reading.invalid_lines, files);
        return fs::write(path, page).map_err(|error| CommandError::File {
            path: path.clone(),
            error,
        });
    }
    let mut out = output::stdout();
    let width = output::terminal_width();
    terminal::write(
        &mut out,
        &report,
        &reading.invalid_lines,
        files,
        Charset::from_locale(),
        width,
    )?;
    out.flush()?;
    Ok(())
}
