//! The circuit breaker: stops requests to Redis after failures in a row.

use std::time::{Duration, Instant};

/// How many failures in a row open the breaker.
const FAILURES: u32 = 5;
/// How long the breaker is open before the first probe. Each pause is twice as long as the one
/// before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A circuit breaker. It has no clock and no random numbers of its own.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: BreakerState,
    /// How long the breaker will be open the next time.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    /// Redis is asked. The number counts commands that failed in a row.
    Closed { failures: u32 },
    /// Redis is not asked until this time.
    Open { until: Instant },
    /// One probe is under way, and Redis is asked nothing else.
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            state: BreakerState::Closed { failures: 0 },
            pause: FIRST_PAUSE,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, BreakerState::Closed { .. })
    }

    /// A command was answered in time. This changes nothing while the breaker is open: the command
    /// was sent before it opened.
    pub(crate) fn succeed(&mut self) {
        if self.is_closed() {
            self.state = BreakerState::Closed { failures: 0 };
        }
    }

    /// A command failed. Returns whether the breaker opens. `random` is between 0 and 1.
    pub(crate) fn fail(&mut self, now: Instant, random: f64) -> bool {
        let BreakerState::Closed { failures } = &mut self.state else {
            return false;
        };
        *failures += 1;
        let opens = *failures >= FAILURES;
        if opens {
            self.open(now, random);
        }
        opens
    }

    /// A probe failed, or Redis cannot be reached.
    pub(crate) fn trip(&mut self, now: Instant, random: f64) {
        self.open(now, random);
    }

    /// When the next probe is due.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed { .. } | BreakerState::HalfOpen => None,
        }
    }

    /// Starts a probe if one is due.
    pub(crate) fn begin_probe(&mut self, now: Instant) {
        if self.probe_at().is_some_and(|at| at <= now) {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// A probe succeeded. The next pause stays long: if requests fail although probes succeed, the
    /// breaker opens again at once.
    pub(crate) fn close(&mut self) {
        self.state = BreakerState::Closed { failures: 0 };
    }

    /// Redis has been available for a while.
    pub(crate) fn settle(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Opens for a random time between half of the pause and all of it, so that gateways do not all
    /// reconnect at once.
    fn open(&mut self, now: Instant, random: f64) {
        let pause = self.pause / 2 + (self.pause / 2).mul_f64(random);
        self.state = BreakerState::Open { until: now + pause };
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails until it opens. Returns when the first probe is due.
    fn opened(breaker: &mut Breaker, now: Instant, random: f64) -> Duration {
        for _ in 1..FAILURES {
            assert!(!breaker.fail(now, random));
            assert!(breaker.is_closed());
        }
        assert!(breaker.fail(now, random));
        due_in(breaker, now)
    }

    fn due_in(breaker: &Breaker, now: Instant) -> Duration {
        assert!(!breaker.is_closed());
        breaker.probe_at().expect("a probe is due") - now
    }

    #[test]
    fn the_breaker_opens_once_after_failures_in_a_row() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert!(!breaker.fail(now, 1.0));
            }
            breaker.succeed();
            assert!(breaker.is_closed());
        }
        assert_eq!(opened(&mut breaker, now, 1.0), FIRST_PAUSE);
        assert!(!breaker.fail(now, 1.0), "late failures change nothing");
        assert_eq!(due_in(&breaker, now), FIRST_PAUSE);
        breaker.succeed();
        assert!(!breaker.is_closed(), "only a probe closes it");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_reset() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        let mut pauses = vec![opened(&mut breaker, now, 1.0)];
        for _ in 0..6 {
            now = breaker.probe_at().expect("a probe is due");
            breaker.begin_probe(now);
            assert!(!breaker.is_closed(), "a probe is the only command");
            assert_eq!(breaker.probe_at(), None, "there is one probe at a time");
            breaker.trip(now, 1.0);
            pauses.push(due_in(&breaker, now));
        }
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 2000, 2000]);
        breaker.close();
        assert_eq!(opened(&mut breaker, now, 1.0), LONGEST_PAUSE);
        breaker.close();
        breaker.settle();
        assert_eq!(opened(&mut breaker, now, 1.0), FIRST_PAUSE);
    }

    #[test]
    fn a_refused_connection_opens_the_breaker_at_once() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        breaker.trip(now, 1.0);
        assert_eq!(due_in(&breaker, now), FIRST_PAUSE);
    }

    #[test]
    fn a_probe_waits_for_its_time() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        breaker.trip(now, 0.0);
        assert_eq!(due_in(&breaker, now), FIRST_PAUSE / 2);
        breaker.begin_probe(now);
        assert_eq!(due_in(&breaker, now), FIRST_PAUSE / 2);
    }
}
