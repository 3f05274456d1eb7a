//! Where audit records are kept, and what is promised of them.

mod config;
mod copies;

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use voxgate::audit::log::{Log, LogOptions};
use voxgate::audit::{AuditQueue, AuditQueueGuard, LogOutput, StreamOutput};

pub(crate) use self::config::Audit;
use self::config::LogFiles;
pub(crate) use self::copies::{Copies, Copy};

/// How long the end of the process waits for what is still to be written.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The queue of a process, and its threads.
pub(crate) struct Auditing {
    pub(crate) queue: AuditQueue,
    pub(crate) copies: Copies,
    threads: AuditQueueGuard,
}

/// Records cannot be kept.
#[derive(Debug)]
pub(crate) struct AuditError(String);

impl Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot keep audit records: {}", self.0)
    }
}

fn failed(error: impl Display) -> AuditError {
    AuditError(error.to_string())
}

impl Auditing {
    /// Starts to keep records.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened, or there is no thread or no randomness to be had.
    pub(crate) fn start(audit: &Audit) -> Result<Self, AuditError> {
        let instance = instance().map_err(failed)?;
        let copies = Copies::start(&audit.copies, &instance).map_err(failed)?;
        let promise = audit.promise;
        let (queue, threads) = match &audit.log {
            Some(files) => {
                let log = LogOutput::new(open(files, &instance, copies.clone())?);
                AuditQueue::start(copies.fan_out(log, promise), promise, &instance)
            }
            None => {
                let stdout = StreamOutput::new(stdout().map_err(failed)?);
                AuditQueue::start(copies.fan_out(stdout, promise), promise, &instance)
            }
        }
        .map_err(failed)?;
        Ok(Self {
            queue,
            copies,
            threads,
        })
    }

    /// Writes out what waits. The last log line says how many records were lost, if any.
    pub(crate) fn finish(self) {
        let lost = self.threads.finish(FINISH_WITHIN);
        if lost > 0 {
            tracing::error!(lost, "audit records were not written");
        }
        for copy in self.copies.iter().filter(|copy| copy.lost() > 0) {
            let (copy, lost) = (copy.name(), copy.lost());
            tracing::error!(copy, lost, "audit records are missing from a copy");
        }
    }
}

/// The stream itself, without the buffer that writes each line alone and keeps what failed.
fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

fn open(files: &LogFiles, instance: &str, copies: Copies) -> Result<Log, AuditError> {
    let mut options = LogOptions::new(&files.directory, instance, origin());
    options.segment_bytes = files.segment_bytes;
    options.retention.max_age = files.retention;
    options.least_space_bytes = 2 * files.segment_bytes;
    options.low_space_bytes = 16 * files.segment_bytes;
    options.signer.clone_from(&files.signer);
    // The log of the process, and the copies, go elsewhere than the audit log: a copy of each
    // checkpoint there shows what the audit log alone cannot.
    let own = instance.to_owned();
    options.on_checkpoint = Some(Box::new(move |note| {
        tracing::info!(note, "audit checkpoint");
        copies.checkpoint(&own, note);
    }));
    let (log, recovered) = Log::open(options, SystemTime::now()).map_err(failed)?;
    if let Some((segment, line)) = recovered.damaged {
        tracing::error!(
            segment,
            line,
            "the audit log was changed here; it goes on in a new file: run `voxgate audit verify`"
        );
    } else if recovered.unsealed {
        let torn_bytes = recovered.torn_bytes;
        tracing::warn!(
            torn_bytes,
            "the audit log had not come to its end; it goes on"
        );
    }
    Ok(log)
}

/// The name of this host's log, in checkpoints.
fn origin() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let host: String = host
        .chars()
        .filter(|letter| plain(*letter))
        .take(64)
        .collect();
    format!("voxgate/{host}")
}

/// A name for this start of the process that no other has.
fn instance() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}
