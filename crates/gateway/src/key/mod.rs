//! `voxgate key`: manages the keys of callers in a keys file.

mod change;
mod cluster;
mod command;
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
mod permissions;
mod printable;
mod revoke;
mod rotate;
mod store;
mod target;
mod verify;

use std::process::ExitCode;

use clap::ArgMatches;

pub(crate) use self::command::command;

/// Runs the subcommand.
pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match matches.subcommand() {
        Some(("new", matches)) => new::run(matches).map(done),
        Some(("list", matches)) => list::run(matches).map(done),
        Some(("revoke", matches)) => revoke::run(matches).map(done),
        Some(("rotate", matches)) => rotate::run(matches).map(done),
        Some(("import", matches)) => import::run(matches).map(done),
        Some((_, matches)) => verify::run(matches),
        // The parser requires a subcommand.
        None => Ok(ExitCode::from(crate::EXIT_CONFIG)),
    };
    result.unwrap_or_else(|failure| failure.report())
}
