//! The failures of the commands.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use voxgate::env::{Environment, Settings};
use voxgate::keys::KeysFile;
use voxgate::{ConfigError, Dialect, Key, Problem};

use crate::EXIT_CONFIG;

const KEYS_FILE: &str = "VOXGATE_KEYS_FILE";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, a setting or a file is wrong.
    Wrong(Vec<Problem>),
    /// The system reported an error.
    System(String),
}

impl Failure {
    pub(crate) fn wrong(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Wrong(vec![Problem::new(place, message)])
    }

    /// Prints the failure to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Wrong(problems) => {
                let mut text = "voxgate: nothing was done:\n".to_owned();
                for problem in problems {
                    text.push_str(&format!("  {problem}\n"));
                }
                let _ = io::stderr().write_all(text.as_bytes());
                ExitCode::from(EXIT_CONFIG)
            }
            Self::System(message) => {
                let _ = writeln!(io::stderr(), "voxgate: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Wrong(error.into_problems())
    }
}

/// The keys of the file that the flag or the environment names. `None` if neither names one.
pub(crate) fn keys(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Option<Vec<Key>>, Failure> {
    let flag = matches.get_one::<PathBuf>("file").cloned();
    let path = flag.or_else(|| environment.get(KEYS_FILE).map(PathBuf::from));
    let Some(path) = path else {
        return Ok(None);
    };
    // The dialect decides how a secret in plain text is presented, which does not matter here.
    let dialect = environment.get("VOXGATE_DIALECT").map(str::parse);
    let dialect = dialect.and_then(Result::ok).unwrap_or(Dialect::Bearer);
    Ok(Some(KeysFile::load(&path, dialect)?.keys().to_vec()))
}

/// Warnings about scopes that no rule of the policy requires, as far as the policy can be read here.
pub(crate) fn unknown_scopes(environment: &Environment, scopes: &[String]) -> Vec<String> {
    let Ok(policy) = Settings::policy_from(environment) else {
        return Vec::new();
    };
    let is_known = |scope: &String| {
        let mut rules = policy.rules().iter();
        rules.any(|rule| rule.scope() == Some(scope))
    };
    let unknown = scopes.iter().filter(|scope| !is_known(scope));
    unknown
        .map(|scope| format!("warning: no rule of the policy requires the scope {scope}"))
        .collect()
}
