//! `voxgate audit tail`: shows the last records and, with `-f`, new records.

mod follow;
mod last;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use self::follow::Follower;
use super::clock::Clock;
use super::failure::CommandError;
use super::filter::Filter;
use super::record::Record;
use super::search::{Search, Seen};
use super::segments;
use super::{arguments, output, row};
use voxgate_terminal::table::Table;
use voxgate_terminal::text::Charset;

pub(super) fn command(reasons: &[&'static str]) -> Command {
    let command = Command::new("tail")
        .about("Show the last records; with -f, also new records")
        .arg(
            Arg::new("lines")
                .short('n')
                .long("lines")
                .value_name("N")
                .default_value("10")
                .value_parser(value_parser!(usize))
                .help("Number of last records to show"),
        )
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Wait for new records, including those in new segments"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["table", "json"]))
                .help("Output format [default: table on a terminal, json elsewhere]"),
        );
    arguments::with_paths(arguments::with_filters(command, reasons))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let filter = arguments::filter(matches)?;
    let path = the_one(arguments::paths(matches)?)?;
    let wanted = matches.get_one::<usize>("lines").copied().unwrap_or(10);
    let json = match matches.get_one::<String>("format") {
        Some(format) => format == "json",
        None => !output::is_terminal(),
    };
    let mut printer = Printer::new(json, arguments::clock(matches)?);
    let mut search = Search::new(filter.clone(), false);
    // The follower starts at `end`, and reads a last line that is incomplete now.
    let (lines, end) = last::lines(&path, &filter, wanted)?;
    for line in &lines {
        if let Some(record) = Record::read(line) {
            printer.print(Seen {
                line,
                record: &record,
            })?;
        }
    }
    printer.settle()?;
    if matches.get_flag("follow") {
        Follower::new(path, end).run(|line| see(line, &filter, &mut search, &mut printer))?;
    }
    Ok(())
}

fn see(
    line: &str,
    filter: &Filter,
    search: &mut Search,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let Some(record) = filter.may_match(line).then(|| Record::read(line)).flatten() else {
        return Ok(());
    };
    let seen = Seen {
        line,
        record: &record,
    };
    let _ = search.see(seen, &mut |found| {
        printer.print(found.first)?;
        Ok(ControlFlow::Continue(()))
    })?;
    printer.settle()?;
    Ok(())
}

fn the_one(paths: Vec<PathBuf>) -> Result<PathBuf, CommandError> {
    match <[PathBuf; 1]>::try_from(paths) {
        Ok([path]) if path != *"-" => {
            // Returns an error if the log cannot be found.
            segments::find(std::slice::from_ref(&path))?;
            Ok(path)
        }
        _ => Err(CommandError::Usage(
            "tail follows one log: name one directory or one file".to_owned(),
        )),
    }
}

struct Printer {
    /// `None` if the lines are printed unchanged.
    table: Option<Table>,
    charset: Charset,
    clock: Clock,
    out: io::BufWriter<io::StdoutLock<'static>>,
}

impl Printer {
    fn new(json: bool, clock: Clock) -> Self {
        let charset = Charset::from_locale();
        let table = || {
            Table::new(row::records(&clock), charset, output::terminal_width())
                .colored(output::colors())
        };
        Self {
            table: (!json).then(table),
            charset,
            clock,
            out: output::stdout(),
        }
    }

    fn print(&mut self, seen: Seen<'_>) -> io::Result<()> {
        match &mut self.table {
            Some(table) => table.row(&mut self.out, row::record(seen, &self.clock, self.charset)),
            None => writeln!(self.out, "{}", seen.line),
        }
    }

    /// Prints the rows that are held back.
    fn settle(&mut self) -> io::Result<()> {
        if let Some(table) = &mut self.table {
            table.settle(&mut self.out)?;
        }
        self.out.flush()
    }
}
