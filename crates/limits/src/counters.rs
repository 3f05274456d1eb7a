//! The counters of one process: requests in flight, and the state of each rate.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::limit::Limits;

use super::decision::LimitExceeded;
use super::gcra::{Gcra, RateWithBurst};
use super::remaining::{Remaining, ScopeRemaining};
use super::request::{AcquireRequest, LimitScope};

/// The number of counters of keys or accounts at which idle ones are removed for the first time.
const SWEEP_AT_LEAST: usize = 1024;

/// All counters of a process. A counter is idle when nothing is in flight and its rate is unused;
/// idle counters are removed, so that there are at most twice as many as are in use.
pub(crate) struct Counters {
    keys: HashMap<Box<str>, Counter>,
    accounts: HashMap<Box<str>, Counter>,
    upstream: Counter,
    sweep_at: usize,
}

/// The counter of one key, one account or the upstream.
#[derive(Default)]
struct Counter {
    in_flight: u32,
    rate: Option<Gcra>,
}

/// The share of each limit that this process enforces: one of `replicas` equal shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(u32);

impl Share {
    const WHOLE: Self = Self(1);

    pub(crate) fn one_of(replicas: u32) -> Self {
        Self(replicas)
    }

    /// At least 1: a limit never becomes a ban.
    fn of(self, number: NonZeroU32) -> NonZeroU32 {
        NonZeroU32::new(number.get() / self.0.max(1)).unwrap_or(NonZeroU32::MIN)
    }

    fn quota(self, limits: Limits) -> Option<RateWithBurst> {
        let (rate, burst) = limits.rate_and_burst()?;
        Some(RateWithBurst {
            interval: rate.interval().saturating_mul(self.0.max(1)),
            burst: self.of(burst),
        })
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            accounts: HashMap::new(),
            upstream: Counter::default(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Counts a request if it may start: it is in flight until [`end`](Self::end). Concurrency
    /// limits are checked before rates. All limits are checked before any is taken, so that a
    /// refused request uses up nothing.
    pub(crate) fn begin(
        &mut self,
        request: &AcquireRequest,
        now: Duration,
    ) -> Result<Remaining, LimitExceeded> {
        self.begin_without_rates(request, now)?;
        let remaining = self.take_rates(request, Share::WHOLE, now);
        if remaining.is_err() {
            self.end(request);
        }
        remaining
    }

    /// Counts a request if the concurrency limits allow it. Rates are neither checked nor taken.
    pub(crate) fn begin_without_rates(
        &mut self,
        request: &AcquireRequest,
        now: Duration,
    ) -> Result<(), LimitExceeded> {
        self.check_concurrency(request, Share::WHOLE, 0)?;
        self.hold(request, now);
        Ok(())
    }

    /// Counts a request without checking the limits.
    pub(crate) fn hold(&mut self, request: &AcquireRequest, now: Duration) {
        for (scope, _) in request.scopes() {
            match self.get(request, scope) {
                Some(counter) => counter.in_flight = counter.in_flight.saturating_add(1),
                None => self.start(request, scope, now),
            }
        }
    }

    /// Returns the rate that refuses this request, if there is one. Takes nothing.
    pub(crate) fn exceeded_rate(
        &mut self,
        request: &AcquireRequest,
        now: Duration,
    ) -> Option<LimitExceeded> {
        request.scopes().find_map(|(scope, limits)| {
            let wait = self.get(request, scope)?.wait_for_rate(limits, now)?;
            Some(LimitExceeded::rate(scope, wait))
        })
    }

    /// Checks a request that is in flight against this share of the limits. Takes from the rates
    /// if they allow it.
    pub(crate) fn confirm(
        &mut self,
        request: &AcquireRequest,
        share: Share,
        now: Duration,
    ) -> Result<Remaining, LimitExceeded> {
        self.check_concurrency(request, share, 1)?;
        self.take_rates(request, share, now)
    }

    /// Records that the request is no longer in flight.
    pub(crate) fn end(&mut self, request: &AcquireRequest) {
        for (scope, _) in request.scopes() {
            if let Some(counter) = self.get(request, scope) {
                counter.in_flight = counter.in_flight.saturating_sub(1);
            }
        }
    }

    /// Returns how many requests in flight count towards the upstream's limit.
    pub(crate) fn upstream_in_flight(&self) -> u32 {
        self.upstream.in_flight
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u32 {
        let counters = self.keys.values().chain(self.accounts.values());
        counters.map(|counter| counter.in_flight).sum::<u32>() + self.upstream.in_flight
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.accounts.len()
    }

    /// `own` is how often this request itself is counted as in flight.
    fn check_concurrency(
        &mut self,
        request: &AcquireRequest,
        share: Share,
        own: u32,
    ) -> Result<(), LimitExceeded> {
        for (scope, limits) in request.scopes() {
            let Some(most) = limits.concurrency else {
                continue;
            };
            let in_flight = self.get(request, scope).map_or(0, |it| it.in_flight);
            if in_flight.saturating_sub(own) >= share.of(most).get() {
                return Err(LimitExceeded::concurrency(scope));
            }
        }
        Ok(())
    }

    fn take_rates(
        &mut self,
        request: &AcquireRequest,
        share: Share,
        now: Duration,
    ) -> Result<Remaining, LimitExceeded> {
        let mut remaining = Remaining::default();
        let mut before = [None; LimitScope::ALL.len()];
        for (scope, limits) in request.scopes() {
            // Every scope with requests in flight has a counter.
            let Some(counter) = self.get(request, scope) else {
                continue;
            };
            match counter.take(limits, share, now) {
                Ok((left, busy_until)) => {
                    remaining.set(scope, left);
                    before[scope as usize] = busy_until;
                }
                Err(wait) => {
                    for (scope, before) in LimitScope::ALL.into_iter().zip(before) {
                        let counter = self.get(request, scope);
                        if let (Some(counter), Some(before)) = (counter, before) {
                            counter.give_back(before);
                        }
                    }
                    return Err(LimitExceeded::rate(scope, wait));
                }
            }
        }
        Ok(remaining)
    }

    fn get(&mut self, request: &AcquireRequest, scope: LimitScope) -> Option<&mut Counter> {
        match scope {
            LimitScope::Key => self.keys.get_mut(request.id(scope)),
            LimitScope::Account => self.accounts.get_mut(request.id(scope)),
            LimitScope::Upstream => Some(&mut self.upstream),
        }
    }

    /// Adds a counter with one request in flight.
    fn start(&mut self, request: &AcquireRequest, scope: LimitScope, now: Duration) {
        let counters = match scope {
            LimitScope::Key => &mut self.keys,
            LimitScope::Account => &mut self.accounts,
            LimitScope::Upstream => return,
        };
        if counters.len() >= self.sweep_at {
            counters.retain(|_, counter| !counter.is_idle(now));
            self.sweep_at = SWEEP_AT_LEAST.max(counters.len() * 2);
        }
        let counter = Counter {
            in_flight: 1,
            rate: None,
        };
        counters.insert(request.id(scope).into(), counter);
    }
}

impl Counter {
    /// Takes one request of the rate, if there is a rate. Also returns the state before, for
    /// [`give_back`](Self::give_back).
    fn take(
        &mut self,
        limits: Limits,
        share: Share,
        now: Duration,
    ) -> Result<(ScopeRemaining, Option<Duration>), Duration> {
        let most = limits.concurrency.map(|most| share.of(most).get());
        let concurrency = most.map(|most| most.saturating_sub(self.in_flight));
        let Some(quota) = share.quota(limits) else {
            return Ok((ScopeRemaining::new(None, concurrency), None));
        };
        let rate = self.rate.get_or_insert_with(|| Gcra::new(quota));
        // The state before is measured at the new rate.
        rate.set_quota(quota, now);
        let before = rate.busy_until();
        let left = rate.take(quota, now)?;
        Ok((ScopeRemaining::new(Some(left), concurrency), Some(before)))
    }

    /// Returns how long until the rate allows one request, unless it allows one now.
    fn wait_for_rate(&mut self, limits: Limits, now: Duration) -> Option<Duration> {
        match self.take(limits, Share::WHOLE, now) {
            Ok((_, before)) => {
                self.give_back(before?);
                None
            }
            Err(wait) => Some(wait),
        }
    }

    fn give_back(&mut self, before: Duration) {
        if let Some(rate) = &mut self.rate {
            rate.give_back(before);
        }
    }

    fn is_idle(&self, now: Duration) -> bool {
        let is_unused = |rate: &Gcra| rate.busy_until() <= now;
        self.in_flight == 0 && self.rate.as_ref().is_none_or(is_unused)
    }
}
