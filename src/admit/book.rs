//! Who has how much in flight, and how much of each rate is used up.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::limit::Limits;

use super::ask::{Ask, Hit, Holder};
use super::bucket::{Bucket, Left, Pace};

/// Holders that are remembered before those that are idle are looked for.
const SWEEP_AT_LEAST: usize = 1024;

/// All counts of a process. Holders that have nothing in flight and whose rates are unused are
/// forgotten, so that it does not grow beyond twice the number of those that are not.
pub(super) struct Book {
    keys: HashMap<Box<str>, Count>,
    accounts: HashMap<Box<str>, Count>,
    upstream: Count,
    sweep_at: usize,
}

#[derive(Default)]
struct Count {
    in_flight: u32,
    bucket: Option<Bucket>,
}

/// What a holder has left, once a request has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// What the holder may, in all.
    pub(super) limits: Limits,
    /// How many more may be in flight.
    pub(super) slots: Option<u32>,
    /// What is left of the rate.
    pub(super) left: Option<Left>,
}

/// What each [`Holder`] has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quotas(pub(super) [Option<Quota>; 3]);

/// Which part of each limit is this process's own: one of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(pub(super) u32);

impl Share {
    pub(super) const WHOLE: Self = Self(1);

    /// At least one: a limit is not a ban.
    fn of(self, number: NonZeroU32) -> NonZeroU32 {
        NonZeroU32::new(number.get() / self.0.max(1)).unwrap_or(NonZeroU32::MIN)
    }

    fn pace(self, limits: Limits) -> Option<Pace> {
        let (rate, burst) = limits.rate_and_burst()?;
        Some(Pace {
            interval: rate.interval().saturating_mul(self.0.max(1)),
            burst: self.of(burst),
        })
    }
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            accounts: HashMap::new(),
            upstream: Count::default(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Counts a request, if it may begin: it is in flight until [`end`](Self::end). Concurrency
    /// comes first, and everybody's limits are asked before anything is taken, so that a refused
    /// request uses up nothing.
    pub(super) fn begin(&mut self, ask: &Ask, now: Duration) -> Result<Quotas, Hit> {
        self.begin_unrated(ask, now)?;
        let quotas = self.take_rates(ask, Share::WHOLE, now);
        if quotas.is_err() {
            self.end(ask);
        }
        quotas
    }

    /// Counts a request that may be in flight, whatever the rates say.
    pub(super) fn begin_unrated(&mut self, ask: &Ask, now: Duration) -> Result<(), Hit> {
        self.slots(ask, Share::WHOLE, 0)?;
        for (holder, _) in ask.holders() {
            self.with(ask, holder, now, |count| {
                count.in_flight = count.in_flight.saturating_add(1);
            });
        }
        Ok(())
    }

    /// The rate that keeps this request from beginning, if one does. Takes nothing.
    pub(super) fn hit_by_rate(&mut self, ask: &Ask, now: Duration) -> Option<Hit> {
        ask.holders().find_map(|(holder, limits)| {
            let wait = self.get(ask, holder)?.wait_for_rate(limits, now)?;
            Some(Hit {
                limit: holder.rate(),
                retry_after: Some(wait),
            })
        })
    }

    /// Whether a request that is counted keeps to this share of the limits; takes of the rates if
    /// it does.
    #[cfg(feature = "redis")]
    pub(super) fn confirm(
        &mut self,
        ask: &Ask,
        share: Share,
        now: Duration,
    ) -> Result<Quotas, Hit> {
        self.slots(ask, share, 1)?;
        self.take_rates(ask, share, now)
    }

    /// The request is no longer in flight.
    pub(super) fn end(&mut self, ask: &Ask) {
        for (holder, _) in ask.holders() {
            if let Some(count) = self.get(ask, holder) {
                count.in_flight = count.in_flight.saturating_sub(1);
            }
        }
    }

    /// How many requests are in flight that the upstream's limit counts.
    pub(super) fn upstream_in_flight(&self) -> u32 {
        self.upstream.in_flight
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> u32 {
        let counts = self.keys.values().chain(self.accounts.values());
        counts.map(|count| count.in_flight).sum::<u32>() + self.upstream.in_flight
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        self.keys.len() + self.accounts.len()
    }

    /// `own` of those in flight are this very request.
    fn slots(&mut self, ask: &Ask, share: Share, own: u32) -> Result<(), Hit> {
        for (holder, limits) in ask.holders() {
            let in_flight = self.get(ask, holder).map_or(0, |count| count.in_flight);
            let most = limits.concurrency.map(|most| share.of(most).get());
            if most.is_some_and(|most| in_flight.saturating_sub(own) >= most) {
                return Err(Hit {
                    limit: holder.concurrency(),
                    retry_after: None,
                });
            }
        }
        Ok(())
    }

    fn take_rates(&mut self, ask: &Ask, share: Share, now: Duration) -> Result<Quotas, Hit> {
        let mut quotas = Quotas::default();
        let mut taken = Vec::new();
        for (holder, limits) in ask.holders() {
            match self.with(ask, holder, now, |count| count.take(limits, share, now)) {
                Ok((quota, before)) => {
                    quotas.0[holder as usize] = Some(quota);
                    taken.extend(before.map(|before| (holder, before)));
                }
                Err(wait) => {
                    for (holder, before) in taken {
                        self.with(ask, holder, now, |count| count.give_back(before));
                    }
                    return Err(Hit {
                        limit: holder.rate(),
                        retry_after: Some(wait),
                    });
                }
            }
        }
        Ok(quotas)
    }

    fn get(&mut self, ask: &Ask, holder: Holder) -> Option<&mut Count> {
        match holder {
            Holder::Key => self.keys.get_mut(ask.id(holder)),
            Holder::Account => self.accounts.get_mut(ask.id(holder)),
            Holder::Upstream => Some(&mut self.upstream),
        }
    }

    /// Does this to the holder's count, which begins at nothing.
    fn with<T>(
        &mut self,
        ask: &Ask,
        holder: Holder,
        now: Duration,
        change: impl FnOnce(&mut Count) -> T,
    ) -> T {
        if let Some(count) = self.get(ask, holder) {
            return change(count);
        }
        let sweep_at = &mut self.sweep_at;
        let counts = match holder {
            Holder::Account => &mut self.accounts,
            _ => &mut self.keys,
        };
        if counts.len() >= *sweep_at {
            counts.retain(|_, count| !count.is_idle(now));
            *sweep_at = SWEEP_AT_LEAST.max(counts.len() * 2);
        }
        change(counts.entry(ask.id(holder).into()).or_default())
    }
}

impl Count {
    /// Takes one request of the rate, if there is one. Also says to what to go back.
    fn take(
        &mut self,
        limits: Limits,
        share: Share,
        now: Duration,
    ) -> Result<(Quota, Option<Duration>), Duration> {
        let slots = limits.concurrency.map(|most| share.of(most).get());
        let mut quota = Quota {
            limits,
            slots: slots.map(|slots| slots.saturating_sub(self.in_flight)),
            left: None,
        };
        let Some(pace) = share.pace(limits) else {
            return Ok((quota, None));
        };
        let bucket = self.bucket.get_or_insert_with(|| Bucket::new(pace));
        // What to go back to is reckoned at the pace of now.
        bucket.turn_to(pace, now);
        let before = bucket.busy_until();
        quota.left = Some(bucket.take(pace, now)?);
        Ok((quota, Some(before)))
    }

    /// How long it takes until one request of the rate can be taken, if that is not now.
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
        if let Some(bucket) = &mut self.bucket {
            bucket.give_back(before);
        }
    }

    fn is_idle(&self, now: Duration) -> bool {
        let unused = |bucket: &Bucket| bucket.busy_until() <= now;
        self.in_flight == 0 && self.bucket.as_ref().is_none_or(unused)
    }
}
