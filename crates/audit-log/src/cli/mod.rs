//! The commands of `voxgate audit`: they read, verify and redact the audit log.

mod arguments;
mod clock;
mod csv;
mod export;
mod failure;
mod filter;
mod find;
mod glob;
mod keygen;
mod lines;
mod log;
mod output;
mod peer;
mod pending_decisions;
mod progress;
mod query;
mod record;
mod redact;
mod report;
mod row;
mod search;
mod segments;
mod tail;
mod usage;
mod verify;
mod when;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

pub use self::find::{ReadFailure, find_request};

pub use self::usage::{Charge, charges};
use self::verify::Verify;

/// The command line is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_CONFIG: u8 = 64;

/// The command `audit`, with its subcommands. `reasons` are the values that the field `reason` of
/// records can have.
#[must_use]
pub fn command(reasons: impl IntoIterator<Item = &'static str>) -> Command {
    let reasons: Vec<_> = reasons.into_iter().collect();
    Command::new("audit")
        .about("Query and verify the audit log")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verify::command())
        .subcommand(keygen::command())
        .subcommand(query::command(&reasons))
        .subcommand(report::command(&reasons))
        .subcommand(tail::command(&reasons))
        .subcommand(export::command(&reasons))
        .subcommand(redact::command())
}

/// The command `usage`, which belongs beside `audit`.
#[must_use]
pub fn usage_command() -> Command {
    usage::command()
}

/// Runs the command `usage`. Returns its exit code.
#[must_use]
pub fn run_usage(matches: &ArgMatches) -> ExitCode {
    failure::status(usage::run(matches))
}

/// Runs the subcommand that `matches` names. Returns its exit code.
#[must_use]
pub fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("verify", matches)) => match Verify::from_matches(matches) {
            Ok(verify) => verify.run(),
            Err(error) => failure::status(Err(error)),
        },
        Some(("keygen", matches)) => keygen::run(matches),
        Some(("query", matches)) => failure::status(query::run(matches)),
        Some(("report", matches)) => failure::status(report::run(matches)),
        Some(("tail", matches)) => failure::status(tail::run(matches)),
        Some(("export", matches)) => failure::status(export::run(matches)),
        Some(("redact", matches)) => redact::run(matches),
        _ => ExitCode::FAILURE,
    }
}
