//! Log lines about upstreams that do not answer: one a second for each, with a count, and one when the
//! upstream answers again. Each failure is a line at the level `debug`.

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use tracing::field::display;
use voxgate::{Dialect, RequestId, TraceId};

const LINE_EVERY: Duration = Duration::from_secs(1);

/// The upstreams whose last request failed.
#[derive(Debug, Default)]
pub(crate) struct UpstreamFailures {
    failing: Mutex<HashMap<String, Failing>>,
    /// Their number, which is read without the lock.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last_line: Instant,
    last_failure: Instant,
    failures: u64,
    unsaid: u64,
}

/// What a log line says about a request that failed.
pub(super) struct FailedRequest<'a> {
    pub(super) request_id: RequestId,
    pub(super) trace_id: Option<TraceId>,
    pub(super) key_id: &'a str,
    pub(super) dialect: Dialect,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
}

impl FailedRequest<'_> {
    /// The vendor's route, such as `/v1/text-to-speech/{voice_id}`. A path itself can contain a key.
    fn route(&self) -> Option<String> {
        let policy = self.dialect.policy();
        let rule = policy.find(self.method, self.path)?;
        Some(rule.pattern().to_owned())
    }
}

impl UpstreamFailures {
    /// A request to this upstream failed.
    pub(super) fn failed(
        &self,
        upstream: &impl Debug,
        request: FailedRequest<'_>,
        failure: &dyn Display,
    ) {
        let FailedRequest {
            request_id, key_id, ..
        } = request;
        let trace_id = request.trace_id.map(display);
        let route = || request.route().map(display);
        let upstream = format!("{upstream:?}");
        match self.count(&upstream, Instant::now()) {
            Some(failures) => {
                tracing::warn!(%request_id, trace_id, key_id, route = route(), upstream, failures, "{failure}")
            }
            None => {
                tracing::debug!(%request_id, trace_id, key_id, route = route(), upstream, "{failure}")
            }
        }
    }

    /// A request to this upstream was answered.
    pub(super) fn answered(&self, upstream: &impl Debug) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let upstream = format!("{upstream:?}");
        if let Some((failures, after)) = self.end(&upstream, Instant::now()) {
            let after_seconds = after.as_secs();
            tracing::info!(
                upstream,
                failures,
                after_seconds,
                "the upstream answers again"
            );
        }
    }

    /// The failures that a line now stands for; `None` if it is too early for one.
    fn count(&self, upstream: &str, now: Instant) -> Option<u64> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = failing.get_mut(upstream) else {
            let first = Failing {
                since: now,
                last_line: now,
                last_failure: now,
                failures: 1,
                unsaid: 0,
            };
            failing.insert(upstream.to_owned(), first);
            self.count.store(failing.len(), Ordering::Relaxed);
            return Some(1);
        };
        known.failures += 1;
        known.last_failure = now;
        known.unsaid += 1;
        if now.duration_since(known.last_line) < LINE_EVERY {
            return None;
        }
        known.last_line = now;
        Some(std::mem::take(&mut known.unsaid))
    }

    /// How often requests failed, and for how long; `None` unless they have stopped failing for a
    /// while.
    fn end(&self, upstream: &str, now: Instant) -> Option<(u64, Duration)> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failing.get(upstream)?;
        if now.duration_since(known.last_failure) < LINE_EVERY {
            return None;
        }
        let ended = failing.remove(upstream)?;
        self.count.store(failing.len(), Ordering::Relaxed);
        Some((ended.failures, now.duration_since(ended.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_failures_is_one_line_and_the_end_is_another() {
        let (failures, upstream) = (UpstreamFailures::default(), "tts:1");
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(failures.end(upstream, at(0)), None, "it never failed");
        assert_eq!(failures.count(upstream, at(0)), Some(1));
        assert_eq!(failures.count("other:1", at(0)), Some(1));
        for milliseconds in [1, 500, 999] {
            assert_eq!(failures.count(upstream, at(milliseconds)), None);
        }
        assert_eq!(failures.count(upstream, at(1_000)), Some(4));
        assert_eq!(failures.count(upstream, at(1_001)), None);
        assert_eq!(
            failures.end(upstream, at(1_500)),
            None,
            "some requests still fail"
        );
        let ended = failures.end(upstream, at(5_000));
        assert_eq!(ended, Some((6, Duration::from_secs(5))));
        assert_eq!(failures.count.load(Ordering::Relaxed), 1);
        assert_eq!(
            failures.count(upstream, at(6_000)),
            Some(1),
            "it failed again"
        );
    }
}
