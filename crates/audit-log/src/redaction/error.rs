//! Why nothing, or not all, was redacted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log was not redacted.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedactError {
    /// The log, the key or the moment does not allow it. The text says what to do.
    Refused(String),
    /// The file system refused.
    Io {
        /// What it should have done, such as `replace`.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
}

impl RedactError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }
}

impl fmt::Display for RedactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Io { what, path, error } => {
                write!(f, "cannot {what} {}: {error}", path.display())?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; run this command as the user that the gateway runs as")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for RedactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Io { error, .. } => Some(error),
        }
    }
}
