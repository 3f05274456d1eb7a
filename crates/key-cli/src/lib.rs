//! The commands of `voxgate key`: they make and manage the keys of callers in a keys file.

mod actor;
mod applied;
mod change;
mod cluster;
mod command;
pub mod control;
mod edit;
mod emergency;
mod entry;
mod failure;
mod find;
mod ids;
mod import;
mod list;
mod listed;
mod lock;
mod manifest;
mod moment;
mod new;
mod now;
mod permissions;
mod revoke;
mod rotate;
mod store;
mod target;
mod verify;
mod watched;

use std::process::ExitCode;

use clap::ArgMatches;
use voxgate::env::Environment;

pub use self::command::command;

/// The command line or a file is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_CONFIG: u8 = 64;

/// Runs the subcommand that `matches` names. Returns its exit code. The keys file and the dialect
/// come from `environment`, unless a flag gives them.
#[must_use]
pub fn run(matches: &ArgMatches, environment: &Environment) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match matches.subcommand() {
        Some(("new", matches)) => new::run(matches, environment).map(done),
        Some(("list", matches)) => list::run(matches, environment).map(done),
        Some(("revoke", matches)) => revoke::run(matches, environment).map(done),
        Some(("rotate", matches)) => rotate::run(matches, environment).map(done),
        Some(("import", matches)) => import::run(matches, environment).map(done),
        Some((_, matches)) => verify::run(matches, environment),
        // The parser requires a subcommand.
        None => Ok(ExitCode::from(EXIT_CONFIG)),
    };
    result.unwrap_or_else(|failure| failure.report())
}
