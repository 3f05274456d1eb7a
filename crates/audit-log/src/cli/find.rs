//! Finds one request, for other commands of the program.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use super::failure::CommandError;
use super::filter::Filter;
use super::search::Search;
use super::segments;

/// Why a log could not be read.
#[derive(Debug)]
pub struct ReadFailure(CommandError);

impl ReadFailure {
    /// Whether the log is named wrongly.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self.0, CommandError::Usage(_))
    }
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ReadFailure {}

/// The lines of the request with this id in a directory or a file of the log: its decision, and its
/// completion if it has ended. Empty if there is no such request.
///
/// # Errors
///
/// If the log cannot be read.
pub fn find_request(log: &Path, request_id: &str) -> Result<Vec<String>, ReadFailure> {
    let filter = Filter {
        request_id: Some(request_id.to_owned()),
        ..Filter::default()
    };
    let mut lines = Vec::new();
    let sources = segments::find(&[log.to_owned()]).map_err(ReadFailure)?;
    let mut search = Search::new(filter, true);
    search
        .run(&sources, |found| {
            lines.push(found.first.line.to_owned());
            lines.extend(found.second.map(|seen| seen.line.to_owned()));
            Ok(ControlFlow::Break(()))
        })
        .map_err(ReadFailure)?;
    Ok(lines)
}
