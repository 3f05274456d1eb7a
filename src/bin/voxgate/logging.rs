//! Where log lines and audit records are written.
//!
//! Audit records go to standard output, whatever the log filter says; all other lines go to
//! standard error. Both are written by threads of their own: no request waits for a slow reader,
//! and what is lost is counted.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};
use voxgate::audit::AUDIT_TARGET;

use super::config::Logging;
use super::queue_writer::{QueueGuard, queue};

/// Bytes that wait to be written, in each of the two queues; an audit record has about 500.
const QUEUE: usize = 32 * 1024 * 1024;

/// Keeps the writing threads.
pub(crate) struct Writers {
    pub(crate) audit: QueueGuard,
    pub(crate) log: QueueGuard,
}

impl Writers {
    /// Writes out what waits. The last log line says how many audit records were lost, if any.
    pub(crate) fn finish(self) {
        let lost = self.audit.finish();
        if lost > 0 {
            tracing::error!(lost, "audit records were not written");
        }
        self.log.finish();
    }
}

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
pub(crate) fn start(logging: &Logging) -> Result<Writers, LoggingError> {
    let failed = |error: io::Error| LoggingError(error.to_string());
    let audit_is_json = logging.is_json(&io::stdout());
    let log_is_json = logging.is_json(&io::stderr());
    let (audit_writer, audit_guard) = queue(
        unbuffered(&io::stdout()).map_err(failed)?,
        QUEUE,
        "voxgate-audit",
    )
    .map_err(failed)?;
    let (log_writer, log_guard) = queue(
        unbuffered(&io::stderr()).map_err(failed)?,
        QUEUE,
        "voxgate-log",
    )
    .map_err(failed)?;

    let is_audit = filter_fn(|metadata| metadata.target() == AUDIT_TARGET);
    let is_other = filter_fn(|metadata| metadata.target() != AUDIT_TARGET);
    // A record has its own time, and no level: it is not a message.
    let audit = layer()
        .with_writer(audit_writer)
        .without_time()
        .with_level(false);
    let audit = if audit_is_json {
        audit
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_current_span(false)
            .boxed()
    } else {
        audit.with_ansi(false).boxed()
    };
    let log = layer()
        .with_writer(log_writer)
        .with_ansi(!log_is_json && io::stderr().is_terminal());
    let log = if log_is_json {
        log.json()
            .flatten_event(true)
            .with_span_list(false)
            .with_current_span(false)
            .boxed()
    } else {
        log.boxed()
    };
    let log = log
        .with_filter(is_other)
        .with_filter(EnvFilter::new(&logging.filter));
    tracing_subscriber::registry()
        .with(audit.with_filter(is_audit))
        .with(log)
        .try_init()
        .map_err(|error| LoggingError(error.to_string()))?;
    Ok(Writers {
        audit: audit_guard,
        log: log_guard,
    })
}

/// The stream itself, without the buffer that writes each line alone and keeps what failed.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
