//! The audit trail of the process: its queue, its primary output and its sinks.

mod addresses;
mod config;
mod log_counters;
mod sinks;
mod time_stamps;

use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use voxgate::Problem;
use voxgate::audit::log::{Log, LogOptions};
use voxgate::audit::{AuditQueue, AuditQueueGuard, LogOutput, StreamOutput};

use crate::settings::AUDIT_DIR;

pub(crate) use self::addresses::RecordedAddresses;
pub(crate) use self::config::Audit;
use self::config::LogFiles;
pub(crate) use self::log_counters::LogCounters;
pub(crate) use self::sinks::{AuditSinks, SinkQueue};

/// How long shutdown waits for records that are not written yet.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The audit queue of the process, its sinks, and its threads.
pub(crate) struct Auditing {
    pub(crate) queue: AuditQueue,
    pub(crate) sinks: AuditSinks,
    /// `None` without files.
    pub(crate) log: Option<LogCounters>,
    threads: AuditQueueGuard,
}

/// The audit trail cannot be started.
#[derive(Debug)]
pub(crate) struct AuditError {
    /// The setting that the system does not permit.
    setting: Option<&'static str>,
    error: String,
}

impl AuditError {
    /// The problem of the configuration, if it is one.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let message = format!("cannot start the audit trail: {}", self.error);
        Some(Problem::new(self.setting?, message))
    }
}

impl Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start the audit trail: {}", self.error)
    }
}

fn failed(error: impl Display) -> AuditError {
    let (setting, error) = (None, error.to_string());
    AuditError { setting, error }
}

/// The directory of the log cannot be used.
fn cannot_open(error: impl Display) -> AuditError {
    let (setting, error) = (Some(AUDIT_DIR), error.to_string());
    AuditError { setting, error }
}

impl Auditing {
    /// Opens the outputs and starts the threads.
    ///
    /// # Errors
    ///
    /// When an output cannot be opened, a thread cannot be started, or the system has no randomness.
    pub(crate) fn start(audit: &Audit) -> Result<Self, AuditError> {
        let instance = instance().map_err(failed)?;
        let sinks = AuditSinks::start(&audit.sinks, &instance).map_err(failed)?;
        let guarantee = audit.promise;
        let counters = audit.log.is_some().then(LogCounters::default);
        let (queue, threads) = match audit.log.as_ref().zip(counters.clone()) {
            Some((files, counters)) => {
                let log = open(files, &instance, audit, sinks.clone(), counters)?;
                let log = LogOutput::new(log);
                AuditQueue::start(sinks.fan_out(log, guarantee), guarantee, &instance)
            }
            None => {
                let stdout = StreamOutput::new(stdout().map_err(failed)?);
                AuditQueue::start(sinks.fan_out(stdout, guarantee), guarantee, &instance)
            }
        }
        .map_err(failed)?;
        Ok(Self {
            queue,
            sinks,
            log: counters,
            threads,
        })
    }

    /// Writes the records that still wait. The last log lines say how many were lost, if any.
    pub(crate) fn finish(self) {
        let lost = self.threads.finish(FINISH_WITHIN);
        if lost > 0 {
            tracing::error!(lost, "audit records were not written");
        }
        for sink in self.sinks.iter().filter(|sink| sink.lost() > 0) {
            let (sink, lost) = (sink.name(), sink.lost());
            tracing::error!(sink, lost, "audit records were not delivered to a sink");
        }
    }
}

/// Standard output without the buffer of the standard library, which writes each line alone and
/// keeps lines that failed.
fn stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

fn open(
    files: &LogFiles,
    instance: &str,
    audit: &Audit,
    sinks: AuditSinks,
    counters: LogCounters,
) -> Result<Log, AuditError> {
    let mut options = LogOptions::new(&files.directory, instance, origin());
    options.segment_bytes = files.segment_bytes;
    options.retention.max_age = files.retention;
    options.retention.max_percent = files.retention_percent;
    options.least_space_bytes = 2 * files.segment_bytes;
    options.low_space_bytes = 16 * files.segment_bytes;
    options.signer.clone_from(&files.signer);
    // Checkpoints also go to the process's log and to the sinks. A checkpoint that is stored outside
    // of the audit log shows whether the log was changed or cut off.
    let own = instance.to_owned();
    options.on_checkpoint = Some(Box::new(move |note| {
        tracing::info!(note, "audit checkpoint");
        sinks.checkpoint(&own, note);
    }));
    if let Some(settings) = &files.time_stamps {
        let (take, arrived) =
            time_stamps::start(settings, &audit.sinks.roots, counters.clone()).map_err(failed)?;
        options.on_synced_checkpoint = Some(take);
        options.time_stamps = Some(arrived);
    }
    options.on_event = Some(Box::new(move |event| counters.note(event)));
    let (log, recovered) = Log::open(options, SystemTime::now()).map_err(cannot_open)?;
    if let Some((segment, line)) = recovered.damaged {
        tracing::error!(
            segment,
            line,
            "the audit log was changed at this line; new records go to a new file; run `voxgate audit verify`"
        );
    } else if recovered.unsealed {
        let torn_bytes = recovered.torn_bytes;
        tracing::warn!(
            torn_bytes,
            "the audit log was not closed cleanly; records continue after the last complete line"
        );
    }
    Ok(log)
}

/// The name of this host's log in checkpoints.
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

/// A random id for this run of the process.
fn instance() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}
