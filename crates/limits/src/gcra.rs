//! The generic cell rate algorithm (GCRA): the state of a rate with a burst is one point in time.

use std::num::NonZeroU32;
use std::time::Duration;

use super::remaining::RateRemaining;

/// A rate as the algorithm needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateWithBurst {
    /// The time from one request to the next.
    pub(crate) interval: Duration,
    /// How many requests may start at once.
    pub(crate) burst: NonZeroU32,
}

/// How much of a rate is used up. All times are measured from one moment, before the first of them.
pub(crate) struct Gcra {
    quota: RateWithBurst,
    /// When all of the burst is available again, in nanoseconds: the theoretical arrival time of
    /// the next request at this rate.
    busy_until: u64,
}

/// Longer than the lifetime of any process. The sum of two such times fits into 64 bits of
/// nanoseconds.
const CENTURY: u64 = 100 * 366 * 24 * 3600 * 1_000_000_000;

impl Gcra {
    pub(crate) fn new(quota: RateWithBurst) -> Self {
        Self {
            quota,
            busy_until: 0,
        }
    }

    /// Changes the rate. Each request that was taken at the old rate counts as one at the new rate.
    pub(crate) fn set_quota(&mut self, quota: RateWithBurst, now: Duration) {
        if quota != self.quota {
            let taken = u128::from(self.busy_until.saturating_sub(nanos(now)));
            let old = u128::from(nanos(self.quota.interval).max(1));
            let taken = taken * u128::from(nanos(quota.interval)) / old;
            let taken = u64::try_from(taken).unwrap_or(u64::MAX);
            self.busy_until = nanos(now).saturating_add(taken);
            self.quota = quota;
        }
    }

    /// Takes one request, or returns how long to wait for it.
    pub(crate) fn take(
        &mut self,
        quota: RateWithBurst,
        now: Duration,
    ) -> Result<RateRemaining, Duration> {
        self.set_quota(quota, now);
        let (interval, tolerance) = quota.interval_and_tolerance();
        let now = nanos(now);
        let earliest = self.busy_until.saturating_sub(tolerance);
        if now < earliest {
            return Err(Duration::from_nanos(earliest - now));
        }
        self.busy_until = self.busy_until.max(now).saturating_add(interval);
        let busy = self.busy_until - now;
        let left = (tolerance + interval).saturating_sub(busy) / interval;
        Ok(RateRemaining {
            requests: u32::try_from(left).unwrap_or(u32::MAX),
            full_after: Duration::from_nanos(busy),
        })
    }

    /// When all of the burst is available again.
    pub(crate) fn busy_until(&self) -> Duration {
        Duration::from_nanos(self.busy_until)
    }

    /// Gives a request back. `busy_until` is the value from before the request.
    pub(crate) fn give_back(&mut self, busy_until: Duration) {
        self.busy_until = nanos(busy_until);
    }
}

impl RateWithBurst {
    /// The interval, and how far the state may run ahead of the clock. A burst that would take
    /// longer than a century to refill is as good as unlimited.
    fn interval_and_tolerance(self) -> (u64, u64) {
        let interval = nanos(self.interval).clamp(1, CENTURY);
        let burst = u64::from(self.burst.get()).min(CENTURY / interval);
        (interval, interval * (burst - 1))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(interval: Duration, burst: u32) -> RateWithBurst {
        let burst = NonZeroU32::new(burst).expect("not zero");
        RateWithBurst { interval, burst }
    }

    #[test]
    fn a_burst_is_followed_by_one_request_in_each_interval() {
        let at = Duration::from_millis;
        let quota = quota(at(100), 3);
        let mut gcra = Gcra::new(quota);
        for (now, left) in [(1000, 2), (1000, 1), (1000, 0), (1100, 0), (1250, 0)] {
            let taken = gcra.take(quota, at(now)).expect("one more");
            assert_eq!(taken.requests, left, "{now}");
        }
        assert_eq!(gcra.take(quota, at(1250)), Err(at(50)));
        let taken = gcra.take(quota, at(1300)).expect("one more");
        assert_eq!(taken.full_after, at(300));
        let rested = gcra.take(quota, at(9000)).expect("the first of a burst");
        assert_eq!((rested.requests, rested.full_after), (2, at(100)));
    }

    #[test]
    fn a_request_that_is_given_back_can_be_taken_again() {
        let single = quota(Duration::from_secs(60), 1);
        let mut gcra = Gcra::new(single);
        let before = gcra.busy_until();
        let now = Duration::from_secs(5);
        gcra.take(single, now).expect("the first");
        gcra.give_back(before);
        gcra.take(single, now).expect("the first, again");
        assert_eq!(gcra.take(single, now), Err(single.interval));
    }

    #[test]
    fn a_changed_rate_keeps_the_requests_that_were_taken() {
        let now = Duration::from_secs(5);
        let hour = Duration::from_secs(3600);
        let mut gcra = Gcra::new(quota(hour, 1));
        gcra.take(quota(hour, 1), now).expect("the first");
        let minute = quota(Duration::from_secs(60), 1);
        assert_eq!(gcra.take(minute, now), Err(minute.interval));
        let left = gcra.take(quota(hour, 3), now).expect("one more");
        assert_eq!((left.requests, left.full_after), (1, 2 * hour));
    }

    #[test]
    fn extreme_rates_work() {
        for interval in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
            for burst in [1, u32::MAX] {
                let quota = quota(interval, burst);
                let mut gcra = Gcra::new(quota);
                gcra.take(quota, Duration::from_secs(5)).expect("the first");
            }
        }
    }
}
