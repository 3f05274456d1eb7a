//! The command `voxgate explain`: it decides about a request as the gateway does, or reads a decision
//! in the audit log, and shows each step and what to change.
//!
//! The decision is the library's own: the request goes through an `AuthLayer` with the dialect, the
//! policy and the keys of the settings (`trial.rs`). No secret is needed, because the verifier of that
//! layer answers with the key that the command line names.

mod advice;
mod command;
mod decided;
mod failure;
mod recorded;
mod request;
mod steps;
mod trial;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::ArgMatches;
use voxgate::ConfigError;
use voxgate::env::{Environment, Settings};

pub use self::command::command;

use self::failure::ExplainError;
use self::request::RequestSpec;
use self::steps::Report;
use self::trial::{Laboratory, principal};

/// The command line or the configuration is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_CONFIG: u8 = 64;

/// Runs the command. `settings` are those of the gateway, with the callers' keys. Returns the exit
/// code: 0 if the decision is explained, 64 if the command line or the configuration is wrong, 1 for
/// any other failure.
#[must_use]
pub fn run(
    matches: &ArgMatches,
    environment: &Environment,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> ExitCode {
    match explain(matches, environment, settings) {
        Ok(text) => {
            // A reader that closes the pipe early is not an error.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}

fn explain(
    matches: &ArgMatches,
    environment: &Environment,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> Result<String, ExplainError> {
    match matches.get_one::<String>("request-id") {
        Some(id) => recorded::explain(id, environment, settings),
        None => {
            let settings = settings()?;
            let spec = RequestSpec::from_matches(matches)?;
            let key = matches.get_one::<String>("key");
            let key = key.map(|id| principal(&settings, id)).transpose()?;
            let decided = Laboratory::new(&settings, environment, key).decide(&spec)?;
            let report = Report {
                decided: &decided,
                settings: Some(&settings),
                principal: key,
                recorded: false,
            };
            Ok(report.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
