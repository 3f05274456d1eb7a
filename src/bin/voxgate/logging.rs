//! Where log lines and audit records are written.
//!
//! Audit records go to standard output, whatever the log filter says; all other lines go to
//! standard error. Audit lines are written by a thread of their own: a request never waits for a
//! slow reader, and what is lost to a full queue is counted.

use std::io;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};
use voxgate::audit::AUDIT_TARGET;

use super::config::Logging;

/// Audit records that wait to be written; each is about 500 bytes.
const QUEUE: usize = 64 * 1024;

/// Keeps the writing thread alive. Dropping it writes out what waits.
#[derive(Debug)]
pub(crate) struct AuditWriter {
    lost: ErrorCounter,
    _guard: WorkerGuard,
}

impl AuditWriter {
    /// Tells how many audit records did not fit into the queue.
    pub(crate) fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lost = self.lost.clone();
        move || lost.dropped_lines() as u64
    }
}

/// Sets the process's logging up. Call it once.
///
/// # Errors
///
/// When it has been set up before.
pub(crate) fn start(logging: &Logging) -> Result<AuditWriter, TryInitError> {
    let audit_is_json = logging.is_json(&io::stdout());
    let log_is_json = logging.is_json(&io::stderr());
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE)
        .lossy(true)
        .thread_name("voxgate-audit")
        .finish(io::stdout());
    let lost = writer.error_counter();

    let is_audit = filter_fn(|metadata| metadata.target() == AUDIT_TARGET);
    let is_other = filter_fn(|metadata| metadata.target() != AUDIT_TARGET);
    // A record has its own time, and no level: it is not a message.
    let audit = layer().with_writer(writer).without_time().with_level(false);
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
    let log = layer().with_writer(io::stderr);
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
        .try_init()?;
    Ok(AuditWriter {
        lost,
        _guard: guard,
    })
}
