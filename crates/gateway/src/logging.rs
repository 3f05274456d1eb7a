//! Writes log lines to standard error, on a separate thread, so that no request waits for a slow
//! reader. Lost lines are counted.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, reload};

use super::config::Logging;
use super::log_filter::{self, LogFilter};
use super::log_queue::{self, LogGuard};

/// Maximum number of bytes that wait to be written.
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

/// Sets up the logging of the process. Call it once.
///
/// # Errors
///
/// When logging is already set up, or no thread can be started.
pub(crate) fn start(logging: &Logging) -> Result<(LogGuard, LogFilter), LoggingError> {
    let failed = |error: io::Error| LoggingError(error.to_string());
    let is_json = logging.is_json(&io::stderr());
    let stderr = unbuffered(&io::stderr()).map_err(failed)?;
    let (writer, guard) = log_queue::start(stderr, QUEUE, "voxgate-log").map_err(failed)?;
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
    let (filter, handle) = reload::Layer::new(log_filter::parse(&logging.filter));
    tracing_subscriber::registry()
        .with(log.with_filter(filter.and(filter_fn(has_no_client_text))))
        .try_init()
        .map_err(|error| LoggingError(error.to_string()))?;
    Ok((guard, LogFilter::new(&logging.filter, handle)))
}

/// Whether a log line cannot hold what a client sent. `h2` writes the path and the authority of
/// malformed requests at the level `debug`, and decoded headers at `trace`. A key may be among them.
fn has_no_client_text(line: &Metadata<'_>) -> bool {
    let is_h2 = line.target() == "h2" || line.target().starts_with("h2::");
    !is_h2 || *line.level() <= Level::INFO
}

/// The stream without its buffer, which would write each line separately and keep failed lines.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
