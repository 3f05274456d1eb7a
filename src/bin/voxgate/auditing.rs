//! Where audit records are kept, and what is promised of them.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use voxgate::audit::{AuditQueue, AuditThreads, Promise, StreamOutput};

/// How long the end of the process waits for what is still to be written.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// What is configured of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) promise: Promise,
}

/// The queue of a process, and its threads.
pub(crate) struct Auditing {
    pub(crate) queue: AuditQueue,
    threads: AuditThreads,
}

/// Records cannot be kept.
#[derive(Debug)]
pub(crate) struct AuditError(io::Error);

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot keep audit records: {}", self.0)
    }
}

impl Auditing {
    /// Starts to keep records on standard output.
    ///
    /// # Errors
    ///
    /// When there is no thread, or no randomness, to be had.
    pub(crate) fn start(audit: &Audit) -> Result<Self, AuditError> {
        let instance = instance().map_err(AuditError)?;
        // The stream itself, without the buffer that writes each line alone and keeps what failed.
        let stdout = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(AuditError)?;
        let output = StreamOutput::new(File::from(stdout));
        let started = AuditQueue::start(output, audit.promise, &instance);
        let (queue, threads) = started.map_err(AuditError)?;
        Ok(Self { queue, threads })
    }

    /// Writes out what waits. The last log line says how many records were lost, if any.
    pub(crate) fn finish(self) {
        let lost = self.threads.finish(FINISH_WITHIN);
        if lost > 0 {
            tracing::error!(lost, "audit records were not written");
        }
    }
}

/// A name for this start of the process that no other has.
fn instance() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}
