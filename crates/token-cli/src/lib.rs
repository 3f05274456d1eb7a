//! The commands of `voxgate token`: they make and inspect short-lived tokens.

mod command;
mod failure;
mod inspect;
mod mint;

use std::process::ExitCode;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate_token::TokenIssuer;

pub use self::command::command;

/// The command line or a setting is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_CONFIG: u8 = 64;

/// What signs and verifies tokens, as the settings say.
#[derive(Clone, Debug)]
pub enum Signing {
    /// A signing key is configured.
    Key(TokenIssuer),
    /// No signing key is configured. The setting that would name one.
    None {
        /// The name of the setting.
        setting: &'static str,
    },
}

/// Runs the subcommand that `matches` names. Returns its exit code. The keys file comes from
/// `environment`, unless a flag gives it.
#[must_use]
pub fn run(matches: &ArgMatches, environment: &Environment, signing: &Signing) -> ExitCode {
    let result = match matches.subcommand() {
        Some(("mint", matches)) => mint::run(matches, environment, signing),
        Some((_, matches)) => inspect::run(matches, environment, signing),
        // The parser requires a subcommand.
        None => Ok(ExitCode::from(EXIT_CONFIG)),
    };
    result.unwrap_or_else(|failure| failure.report())
}
