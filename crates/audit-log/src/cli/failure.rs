//! Why a command could not do its work.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was asked for makes no sense (`EX_USAGE` of `sysexits.h`).
const EXIT_USAGE: u8 = 64;

#[derive(Debug)]
pub(super) enum CommandError {
    /// The command line is wrong, and what to write instead.
    Usage(String),
    /// The log could not be read.
    Read { path: PathBuf, error: io::Error },
    /// There is no log there, and where it may be.
    Nothing { path: PathBuf, fix: &'static str },
    /// A file could not be written.
    File { path: PathBuf, error: io::Error },
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
            Self::Usage(text) => f.write_str(text),
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {error}", path.display())?;
                match error.kind() {
                    ErrorKind::NotFound => f.write_str("; name a directory of segments or a file"),
                    ErrorKind::PermissionDenied => {
                        f.write_str("; the log belongs to the user whom the gateway runs as")
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

/// Says what went wrong, if anything did, and how the process is to end.
pub(super) fn status(done: Result<(), CommandError>) -> ExitCode {
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    match &failure {
        // Whoever closed the pipe has read enough.
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
