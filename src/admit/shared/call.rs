//! A question as the script is asked it, and its answer.

use std::time::Duration;

use super::keys::Keys;
use super::{Demand, Hit, Quota, What};

/// A request is one request, until a rate counts something else.
const COST: u64 = 1;

/// A question, encoded.
#[derive(Debug)]
pub(super) struct Call {
    keys: Vec<String>,
    numbers: Vec<u64>,
    demands: Vec<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    slots: Option<String>,
    /// How many requests its rate lets through at once.
    burst: Option<u64>,
}

/// What the script says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is room; it is taken, if the question was to take it.
    Granted(Vec<Option<Quota>>),
    Refused(Refusal),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) hit: Hit,
    /// Nothing but a slot is missing, and waiting for one may help.
    pub(super) for_a_slot: bool,
}

impl Call {
    pub(super) fn new(keys: &Keys, demands: &[Demand<'_>]) -> Self {
        let mut call = Self {
            keys: Vec::new(),
            numbers: Vec::with_capacity(5 * demands.len()),
            demands: Vec::with_capacity(demands.len()),
        };
        for demand in demands {
            let slots = demand.limits.concurrency.map(|_| keys.slots(demand.holder));
            call.keys.extend(slots.clone());
            let concurrency = demand.limits.concurrency.map_or(0, |it| it.get().into());
            let mut burst = None;
            let (mut drain, mut unit) = (0, 0);
            if let Some(rate) = demand.limits.rate {
                let requests = rate.requests();
                (drain, unit) = lowest_terms(requests.get().into(), micros(rate.period()));
                burst = Some(demand.limits.burst.unwrap_or(requests).get().into());
                call.keys.push(keys.level(demand.holder, drain, unit));
            }
            call.numbers
                .extend([concurrency, drain, unit, burst.unwrap_or(0), COST]);
            call.demands.push(Encoded { slots, burst });
        }
        call
    }

    /// Whether there is nothing to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Where its lease is kept: nowhere, if nothing limits how many there are.
    pub(super) fn slots(&self) -> impl Iterator<Item = &str> {
        self.demands.iter().filter_map(|it| it.slots.as_deref())
    }

    /// The slots of which this demand wants one.
    pub(super) fn slots_of(&self, demand: usize) -> Option<&str> {
        self.demands.get(demand)?.slots.as_deref()
    }

    /// What it is to be told while others wait for the same slots.
    pub(super) fn hit_of(&self, slots: &str, quotas: &[Option<Quota>]) -> Hit {
        let mut demands = self.demands.iter();
        let demand = demands.position(|it| it.slots.as_deref() == Some(slots));
        Hit {
            demand: demand.unwrap_or_default(),
            what: What::Concurrency,
            retry_after: None,
            quotas: quotas.to_vec(),
        }
    }

    /// Nothing was asked, so there is nothing left to tell.
    pub(super) fn no_quotas(&self) -> Vec<Option<Quota>> {
        self.demands.iter().map(|_| None).collect()
    }

    /// Reads an answer. `None` if this is none.
    pub(super) fn read(&self, answer: &[i64]) -> Option<Decision> {
        let [outcome, demand, wait, ref quotas @ ..] = *answer else {
            return None;
        };
        let (quotas, rest) = quotas.as_chunks::<2>();
        if quotas.len() != self.demands.len() || !rest.is_empty() {
            return None;
        }
        let quotas: Option<Vec<_>> = quotas
            .iter()
            .zip(&self.demands)
            .map(|(quota, demand)| demand.quota(*quota))
            .collect();
        let (quotas, wait) = (quotas?, Duration::from_micros(wait.try_into().ok()?));
        let (what, retry_after) = match outcome {
            0 => return Some(Decision::Granted(quotas)),
            1 => (What::Rate, Some(wait)),
            2 => (What::Concurrency, None),
            3 => (What::Concurrency, Some(wait)),
            _ => return None,
        };
        let demand = usize::try_from(demand).ok()?;
        self.demands.get(demand)?;
        Some(Decision::Refused(Refusal {
            hit: Hit {
                demand,
                what,
                retry_after,
                quotas,
            },
            for_a_slot: outcome == 2,
        }))
    }
}

impl Encoded {
    /// `None` if it is not to be understood, `Some(None)` if there is no rate.
    fn quota(&self, [remaining, full_in]: [i64; 2]) -> Option<Option<Quota>> {
        let Some(burst) = self.burst else {
            return Some(None);
        };
        Some(Some(Quota {
            limit: burst,
            remaining: remaining.try_into().ok()?,
            full_in: Duration::from_micros(full_in.try_into().ok()?),
        }))
    }
}

/// In the script, numbers are whole up to 2^53 only: the smaller the better.
fn lowest_terms(a: u64, b: u64) -> (u64, u64) {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor.max(1), b / divisor.max(1))
}

/// A time in whole microseconds, in which the scripts reckon.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
