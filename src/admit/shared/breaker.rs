//! When to leave Redis alone.

use std::time::{Duration, Instant};

/// So many failures in a row, and nothing is asked any more.
const FAILURES: u32 = 5;
/// How long to wait before the first probe; twice as long each time, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A circuit breaker. It has no clock and no dice of its own.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// How long it will be open the next time.
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Questions are asked; so many have failed in a row.
    Closed { failures: u32 },
    /// Nothing is asked until then.
    Open { until: Instant },
    /// One probe is on its way, and nothing else is asked.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed { failures: 0 },
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// A question was answered in time. Late news from before it opened changes nothing.
    pub(super) fn succeed(&mut self) {
        if self.is_closed() {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// A question failed: whether it opens by that. `dice` is between 0 and 1.
    pub(super) fn fail(&mut self, now: Instant, dice: f64) -> bool {
        let State::Closed { failures } = &mut self.state else {
            return false;
        };
        *failures += 1;
        let opens = *failures >= FAILURES;
        if opens {
            self.open(now, dice);
        }
        opens
    }

    /// A probe failed, or there is plainly nobody to ask.
    pub(super) fn trip(&mut self, now: Instant, dice: f64) {
        self.open(now, dice);
    }

    /// When the next probe is due.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::HalfOpen => None,
        }
    }

    /// Begins a probe if one is due.
    pub(super) fn begin_probe(&mut self, now: Instant) {
        if self.probe_at().is_some_and(|at| at <= now) {
            self.state = State::HalfOpen;
        }
    }

    /// A probe succeeded. The next pause is still a long one: what opens it again at once, such as
    /// questions that fail when probes do not, is not over.
    pub(super) fn close(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// All has been well for a while.
    pub(super) fn settle(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Between half of the pause and all of it, so that many gateways do not come back at once.
    fn open(&mut self, now: Instant, dice: f64) {
        let pause = self.pause / 2 + (self.pause / 2).mul_f64(dice);
        self.state = State::Open { until: now + pause };
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails until it opens, and says when the first probe is due.
    fn opened(breaker: &mut Breaker, now: Instant, dice: f64) -> Duration {
        for _ in 1..FAILURES {
            assert!(!breaker.fail(now, dice));
            assert!(breaker.is_closed());
        }
        assert!(breaker.fail(now, dice));
        due_in(breaker, now)
    }

    fn due_in(breaker: &Breaker, now: Instant) -> Duration {
        assert!(!breaker.is_closed());
        breaker.probe_at().expect("a probe is due") - now
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_says_so_once() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert!(!breaker.fail(now, 1.0));
            }
            breaker.succeed();
            assert!(breaker.is_closed());
        }
        assert_eq!(opened(&mut breaker, now, 1.0), FIRST_PAUSE);
        assert!(!breaker.fail(now, 1.0), "what is late is no news");
        assert_eq!(due_in(&breaker, now), FIRST_PAUSE);
        breaker.succeed();
        assert!(!breaker.is_closed(), "only a probe closes it");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        let mut pauses = vec![opened(&mut breaker, now, 1.0)];
        for _ in 0..6 {
            now = breaker.probe_at().expect("a probe is due");
            breaker.begin_probe(now);
            assert!(!breaker.is_closed(), "a probe lets nobody else in");
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
    fn a_refused_connection_opens_it_at_once() {
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
