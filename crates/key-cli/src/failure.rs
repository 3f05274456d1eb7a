//! The failures of the commands.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use voxgate::{ConfigError, Problem};

use crate::EXIT_CONFIG;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum KeyCommandError {
    /// The command line or a file is wrong.
    Wrong(Vec<Problem>),
    /// The existing keys file is wrong.
    Broken(Vec<Problem>),
    /// The system reported an error.
    Failed(String),
}

impl KeyCommandError {
    pub(super) fn wrong(place: impl Into<String>, message: impl Into<String>) -> Self {
        Problem::new(place, message).into()
    }

    pub(super) fn failed(place: impl Display, message: impl Display) -> Self {
        Self::Failed(format!("{place}: {message}"))
    }

    /// Prints the failure to standard error.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Wrong(problems) | Self::Broken(problems) => {
                let mut text = "voxgate: nothing was done:\n".to_owned();
                for problem in problems {
                    text.push_str(&format!("  {problem}\n"));
                }
                let _ = io::stderr().write_all(text.as_bytes());
                ExitCode::from(EXIT_CONFIG)
            }
            Self::Failed(message) => {
                let _ = writeln!(io::stderr(), "voxgate: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<Problem> for KeyCommandError {
    fn from(problem: Problem) -> Self {
        Self::Wrong(vec![problem])
    }
}

impl From<ConfigError> for KeyCommandError {
    fn from(error: ConfigError) -> Self {
        Self::Wrong(error.into_problems())
    }
}
