//! A rate of one holder: the generic cell rate algorithm, by `governor`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// How much of a rate is used up.
///
/// Its state is outside of governor's limiter, so that what was taken can be given back and stays
/// when the rate changes. All times are since one moment before the first of them.
pub(super) struct Bucket {
    pace: Pace,
    limiter: RateLimiter<NotKeyed, State, Moment, StateInformationMiddleware>,
    state: State,
    now: Moment,
}

/// A rate as the algorithm sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one request to the next.
    pub(super) interval: Duration,
    /// How many may begin at once.
    pub(super) burst: NonZeroU32,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// How many requests may begin at once.
    pub(crate) requests: u32,
    /// When all of the burst is there again.
    pub(crate) full_after: Duration,
}

impl Bucket {
    pub(super) fn new(pace: Pace) -> Self {
        Self::with_state(pace, State::default())
    }

    fn with_state(pace: Pace, state: State) -> Self {
        let now = Moment::default();
        Self {
            pace,
            // It measures from now on, which is zero.
            limiter: RateLimiter::new(pace.quota(), state.clone(), now.clone()),
            state,
            now,
        }
    }

    /// Goes on at this pace. What was taken at another one is as many requests of this.
    pub(super) fn turn_to(&mut self, pace: Pace, now: Duration) {
        if pace != self.pace {
            let taken = self.busy_until().saturating_sub(now);
            let before = u128::from(nanos(self.pace.interval).max(1));
            let taken = taken.as_nanos() * u128::from(nanos(pace.interval)) / before;
            let taken = Duration::from_nanos(u64::try_from(taken).unwrap_or(u64::MAX));
            self.give_back(now.saturating_add(taken));
            *self = Self::with_state(pace, self.state.clone());
        }
    }

    /// Takes one request, or says how long to wait for it.
    pub(super) fn take(&mut self, pace: Pace, now: Duration) -> Result<Left, Duration> {
        self.turn_to(pace, now);
        self.now.set(now);
        match self.limiter.check() {
            Ok(snapshot) => Ok(Left {
                requests: snapshot.remaining_burst_capacity(),
                full_after: self.busy_until().saturating_sub(now),
            }),
            Err(not_until) => Err(not_until.wait_time_from(self.now.now())),
        }
    }

    /// What to go back to if the request does not begin after all.
    pub(super) fn busy_until(&self) -> Duration {
        Duration::from_nanos(self.state.0.load(Ordering::Relaxed))
    }

    pub(super) fn give_back(&mut self, busy_until: Duration) {
        self.state.0.store(nanos(busy_until), Ordering::Relaxed);
    }
}

impl Pace {
    /// The same for governor. A burst for which a process does not live long enough is as good as
    /// any: governor's arithmetic has 64 bits of nanoseconds.
    fn quota(self) -> Quota {
        const CENTURY: u64 = 100 * 366 * 24 * 3600 * 1_000_000_000;
        let interval = nanos(self.interval).clamp(1, CENTURY);
        let most = u32::try_from(CENTURY / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(most).map_or(self.burst, |most| self.burst.min(most));
        let one = Quota::with_period(Duration::from_nanos(interval));
        // There is no such thing as a period of zero.
        one.unwrap_or(Quota::per_hour(NonZeroU32::MIN))
            .allow_burst(burst)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The theoretical arrival time; zero before the first request. Atomic only because governor
/// shares it: there is a lock around all of this.
#[derive(Clone, Debug, Default)]
struct State(Arc<AtomicU64>);

impl StateStore for State {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let before = self.0.load(Ordering::Relaxed);
        let (outcome, after) = measure((before > 0).then(|| before.into()))?;
        self.0.store(after.into(), Ordering::Relaxed);
        Ok(outcome)
    }
}

/// The time as it was told last.
#[derive(Clone, Debug, Default)]
struct Moment(Arc<AtomicU64>);

impl Moment {
    fn set(&self, now: Duration) {
        self.0.store(nanos(now), Ordering::Relaxed);
    }
}

impl Clock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(interval: Duration, burst: u32) -> Pace {
        let burst = NonZeroU32::new(burst).expect("not zero");
        Pace { interval, burst }
    }

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let at = Duration::from_millis;
        let pace = pace(at(100), 3);
        let mut bucket = Bucket::new(pace);
        for (now, left) in [(1000, 2), (1000, 1), (1000, 0), (1100, 0), (1250, 0)] {
            let taken = bucket.take(pace, at(now)).expect("one more");
            assert_eq!(taken.requests, left, "{now}");
        }
        assert_eq!(bucket.take(pace, at(1250)), Err(at(50)));
        let taken = bucket.take(pace, at(1300)).expect("one more");
        assert_eq!(taken.full_after, at(300));
        let rested = bucket.take(pace, at(9000)).expect("the first of a burst");
        assert_eq!((rested.requests, rested.full_after), (2, at(100)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let single = pace(Duration::from_secs(60), 1);
        let mut bucket = Bucket::new(single);
        let before = bucket.busy_until();
        let now = Duration::from_secs(5);
        bucket.take(single, now).expect("the first");
        bucket.give_back(before);
        bucket.take(single, now).expect("the first, again");
        assert_eq!(bucket.take(single, now), Err(single.interval));
    }

    #[test]
    fn another_pace_does_not_forget_what_was_taken() {
        let now = Duration::from_secs(5);
        let hour = Duration::from_secs(3600);
        let mut bucket = Bucket::new(pace(hour, 1));
        bucket.take(pace(hour, 1), now).expect("the first");
        let minute = pace(Duration::from_secs(60), 1);
        assert_eq!(bucket.take(minute, now), Err(minute.interval));
        let left = bucket.take(pace(hour, 3), now).expect("one more");
        assert_eq!((left.requests, left.full_after), (1, 2 * hour));
    }

    #[test]
    fn no_pace_is_too_fast_or_too_slow() {
        for interval in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
            for burst in [1, u32::MAX] {
                let pace = pace(interval, burst);
                let mut bucket = Bucket::new(pace);
                bucket
                    .take(pace, Duration::from_secs(5))
                    .expect("the first");
            }
        }
    }
}
