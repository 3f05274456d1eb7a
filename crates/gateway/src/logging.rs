//! Where log lines are written: to standard error, by a thread of their own, so that no request
//! waits for a slow reader. What is lost is counted.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use super::config::Logging;
use super::queue_writer::{QueueGuard, queue};

/// Bytes that wait to be written.
const QUEUE: usize = 32 * 1024 * 1024;

/// The process's logging cannot be set up.
#[derive(Debug)]
pub(crate) struct LoggingError(String);

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot set up logging: {}", self.0)
    }
}

impl std::error::Error for LoggingError {}

/// Sets the process's logging up. Call it once.
///
/// # Errors
///
/// When it has been set up before, or there is no thread to have.
pub(crate) fn start(logging: &Logging) -> Result<QueueGuard, LoggingError> {
    let failed = |error: io::Error| LoggingError(error.to_string());
    let is_json = logging.is_json(&io::stderr());
    let stderr = unbuffered(&io::stderr()).map_err(failed)?;
    let (writer, guard) = queue(stderr, QUEUE, "voxgate-log").map_err(failed)?;
    let log = layer()
        .with_writer(writer)
        .with_ansi(!is_json && io::stderr().is_terminal());
    let log = if is_json {
        log.json()
            .flatten_event(true)
            .with_span_list(false)
            .with_current_span(false)
            .boxed()
    } else {
        log.boxed()
    };
    tracing_subscriber::registry()
        .with(log.with_filter(EnvFilter::new(&logging.filter)))
        .try_init()
        .map_err(|error| LoggingError(error.to_string()))?;
    Ok(guard)
}

/// The stream itself, without the buffer that writes each line alone and keeps what failed.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
