//! Why nothing can be explained.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use voxgate::{ConfigError, Problem};
use voxgate_audit_log::cli::ReadFailure;

use super::EXIT_CONFIG;

/// Why nothing can be explained.
#[derive(Debug)]
pub(crate) enum ExplainError {
    /// The configuration or the command line is wrong.
    Wrong(ConfigError),
    /// The audit log cannot be read, or has no such request.
    Log(ReadFailure),
    /// The system reports an error.
    Failed(String),
}

impl ExplainError {
    /// An argument is wrong.
    pub(crate) fn wrong(place: &str, message: impl Into<String>) -> Self {
        Self::Wrong(Problem::new(place, message).into())
    }

    /// Prints the error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let _ = writeln!(io::stderr(), "voxgate: {self}");
        match self {
            Self::Wrong(_) => ExitCode::from(EXIT_CONFIG),
            Self::Log(failure) if failure.is_usage() => ExitCode::from(EXIT_CONFIG),
            Self::Log(_) | Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(error) => error.fmt(f),
            Self::Log(failure) => failure.fmt(f),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

impl From<ConfigError> for ExplainError {
    fn from(error: ConfigError) -> Self {
        Self::Wrong(error)
    }
}

impl From<ReadFailure> for ExplainError {
    fn from(failure: ReadFailure) -> Self {
        Self::Log(failure)
    }
}
