//! Has checkpoints of the audit log confirmed by a time-stamp authority (RFC 3161).
//!
//! A thread of its own asks the authority. It keeps only the newest checkpoint, which covers all
//! before it: an authority that is slow or does not answer delays neither requests nor the writer.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use http::Uri;
use http::header::{ACCEPT, CONTENT_TYPE};
use ureq::Agent;
use voxgate::audit::log::{OnCheckpoint, TimeStamp};
use voxgate_audit_log::TimeStampRequest;

use super::LogCounters;
use super::sinks::jittered;
use crate::http_client;
use crate::tls::{Roots, ureq_client};

/// How long to wait after the first failure. The pause doubles with each failure, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// No answer is longer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// The authority as configured.
#[derive(Clone, Debug)]
pub(crate) struct TimeStampSettings {
    pub(super) url: Uri,
    /// The shortest time between two requests that the authority answers.
    pub(super) interval: Duration,
}

/// The newest checkpoint that is not confirmed.
#[derive(Default)]
struct Newest {
    note: Mutex<Option<String>>,
    changed: Condvar,
}

/// Starts the thread. Returns what takes checkpoints, and where their time stamps arrive.
///
/// # Errors
///
/// When the thread cannot be started.
pub(super) fn start(
    settings: &TimeStampSettings,
    roots: &Roots,
    counters: LogCounters,
) -> io::Result<(OnCheckpoint, Receiver<TimeStamp>)> {
    let newest = Arc::new(Newest::default());
    let (sender, arrived) = channel();
    let stamper = Stamper {
        newest: Arc::clone(&newest),
        settings: settings.clone(),
        agent: http_client::agent(ureq_client(roots), ANSWER_WITHIN),
        sender,
        counters,
    };
    // The thread is not joined: the authority can block it for longer than the process may live.
    thread::Builder::new()
        .name("voxgate-tsa".to_owned())
        .spawn(move || stamper.run())?;
    let take: OnCheckpoint = Box::new(move |note| newest.set(note));
    Ok((take, arrived))
}

impl Newest {
    fn set(&self, note: &str) {
        let mut newest = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(note.to_owned());
        self.changed.notify_one();
    }

    /// Waits for a checkpoint, which stays the newest one.
    fn wait(&self) -> String {
        let mut newest = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(note) = &*newest {
                return note.clone();
            }
            newest = self
                .changed
                .wait(newest)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// This one is confirmed.
    fn settle(&self, note: &str) {
        let mut newest = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        newest.take_if(|newest| newest == note);
    }
}

struct Stamper {
    newest: Arc<Newest>,
    settings: TimeStampSettings,
    agent: Agent,
    sender: Sender<TimeStamp>,
    counters: LogCounters,
}

impl Stamper {
    fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut is_failing = false;
        loop {
            let note = self.newest.wait();
            match self.stamp(&note) {
                Ok(time_stamp) => {
                    self.newest.settle(&note);
                    self.counters.stamped();
                    if is_failing {
                        tracing::info!("audit checkpoints are time-stamped again");
                    }
                    (is_failing, pause) = (false, FIRST_PAUSE);
                    if self.sender.send(time_stamp).is_err() {
                        return;
                    }
                    thread::sleep(self.settings.interval);
                }
                Err(error) => {
                    self.counters.stamp_failed();
                    if !is_failing {
                        tracing::error!(
                            %error,
                            "audit checkpoints are not time-stamped; retrying; check VOXGATE_AUDIT_TSA_URL and the authority"
                        );
                    }
                    is_failing = true;
                    thread::sleep(jittered(pause));
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn stamp(&self, note: &str) -> io::Result<TimeStamp> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let request = TimeStampRequest::new(note, random).map_err(io::Error::other)?;
        let mut response = self
            .agent
            .post(&self.settings.url)
            .header(CONTENT_TYPE, "application/timestamp-query")
            .header(ACCEPT, "application/timestamp-reply")
            .send(request.as_bytes())
            .map_err(ureq::Error::into_io)?;
        let status = response.status();
        if !status.is_success() {
            return Err(io::Error::other(format!(
                "the authority answered with status {}",
                status.as_u16()
            )));
        }
        let answer = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(ureq::Error::into_io)?;
        request.read(&answer).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_checkpoint_waits_and_a_newer_one_is_not_settled() {
        let newest = Newest::default();
        newest.set("one");
        newest.set("two");
        assert_eq!(newest.wait(), "two");
        newest.set("three");
        newest.settle("two");
        assert_eq!(newest.wait(), "three");
        newest.settle("three");
        assert_eq!(*newest.note.lock().expect("a lock"), None);
    }
}
