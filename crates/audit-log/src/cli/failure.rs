//! Errors of the commands.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command line is wrong (`EX_USAGE` of `sysexits.h`).
const EXIT_USAGE: u8 = 64;

#[derive(Debug)]
pub(super) enum CommandError {
    /// The command line is wrong. The text says how to correct it.
    Usage(String),
    /// The log could not be read.
    Read { path: PathBuf, error: io::Error },
    /// The directory contains no log. `fix` says how to name one.
    Nothing { path: PathBuf, fix: &'static str },
    /// A file could not be written.
    File { path: PathBuf, error: io::Error },
    /// The command could not do its work. The text says why, and what to do.
    Refused(String),
    /// Standard output could not be written.
    Output(io::Error),
}

impl CommandError {
    pub(super) fn reading(path: &Path, error: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            error,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Refused(text) => f.write_str(text),
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {error}", path.display())?;
                match error.kind() {
                    ErrorKind::NotFound => f.write_str("; name a directory of segments or a file"),
                    ErrorKind::PermissionDenied => {
                        f.write_str("; run this command as the user that the gateway runs as")
                    }
                    _ => Ok(()),
                }
            }
            Self::Nothing { path, fix } => {
                write!(f, "no audit log in {}; {fix}", path.display())
            }
            Self::File { path, error } => write!(f, "cannot write {}: {error}", path.display()),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

/// Reports an error, if there is one, and returns the exit status.
pub(super) fn status(done: Result<(), CommandError>) -> ExitCode {
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    match &failure {
        // The reader closed the pipe because it needs no more output.
        CommandError::Output(error) if error.kind() == ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let _ = writeln!(io::stderr(), "voxgate: {failure}");
    match failure {
        CommandError::Usage(_) => ExitCode::from(EXIT_USAGE),
        _ => ExitCode::FAILURE,
    }
}
