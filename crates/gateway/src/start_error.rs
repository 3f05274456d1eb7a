//! Why the gateway could not be started.

use std::fmt;
use std::io;

use voxgate::Problem;

/// The gateway could not be started.
#[derive(Debug)]
pub(crate) struct StartError {
    /// The setting that the system does not permit.
    setting: Option<&'static str>,
    what: String,
    error: io::Error,
}

impl StartError {
    /// The problem of the configuration, if it is one.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let setting = self.setting?;
        Some(Problem::new(
            setting,
            format!("{}: {}", self.what, self.error),
        ))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(setting) = self.setting {
            write!(f, "{setting}: ")?;
        }
        write!(f, "{}: {}", self.what, self.error)
    }
}

pub(crate) fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let (setting, what) = (None, what.into());
    move |error| StartError {
        setting,
        what,
        error,
    }
}

/// The system does not permit what this setting asks for.
pub(crate) fn cannot_use(
    setting: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(io::Error) -> StartError {
    let (setting, what) = (Some(setting), what.into());
    move |error| StartError {
        setting,
        what,
        error,
    }
}
