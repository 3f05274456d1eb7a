//! Encodes a request for the script, and parses the script's reply.

use std::time::Duration;

use voxgate::rate_limit::{
    AcquireRequest, LimitExceeded, LimitScope, RateRemaining, Remaining, ScopeRemaining,
};

use crate::keys::Keys;

/// The cost of a request in a rate.
const COST: u64 = 1;

/// A request, encoded for the script.
#[derive(Debug)]
pub(crate) struct EncodedCommand {
    parts: Vec<Part>,
}

/// The scopes of a request that one script decides. On one server, these are all scopes. In a
/// cluster, the scopes of the key and its account are the first part, and the upstream's is the
/// last.
#[derive(Debug)]
pub(crate) struct Part {
    /// The hash slot of its keys.
    slot: u16,
    keys: Vec<String>,
    numbers: Vec<u64>,
    scopes: Vec<EncodedScope>,
}

/// One scope of a request.
#[derive(Debug)]
struct EncodedScope {
    scope: LimitScope,
    /// The key of its leases, if it has a concurrency limit.
    slots: Option<String>,
    has_rate: bool,
}

/// The script's reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The limits allow the request. The script has taken its cost, unless it only checked.
    Granted,
    Refused(Refusal),
}

/// Why the script refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) exceeded: LimitExceeded,
    /// The owner of the limit.
    pub(crate) scope: LimitScope,
}

impl EncodedCommand {
    pub(crate) fn new(keys: &Keys, request: &AcquireRequest) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for (scope, limits) in request.scopes() {
            let slots = limits.concurrency.map(|_| keys.slots(request, scope));
            let mut of_scope: Vec<String> = slots.clone().into_iter().collect();
            let concurrency = limits.concurrency.map_or(0, |it| it.get().into());
            let (mut drain, mut unit, mut burst) = (0, 0, 0);
            if let Some(rate) = limits.rate {
                let requests = rate.requests();
                (drain, unit) = lowest_terms(requests.get().into(), micros(rate.period()));
                burst = limits.burst.unwrap_or(requests).get().into();
                of_scope.push(keys.level(request, scope, drain, unit));
            }
            // A burst alone limits nothing.
            let Some(first) = of_scope.first() else {
                continue;
            };
            let slot = keys.slot(first);
            let known = parts.iter().position(|part| part.slot == slot);
            let index = known.unwrap_or_else(|| {
                parts.push(Part::new(slot));
                parts.len() - 1
            });
            let part = &mut parts[index];
            part.keys.extend(of_scope);
            part.numbers.extend([concurrency, drain, unit, burst, COST]);
            part.scopes.push(EncodedScope {
                scope,
                slots,
                has_rate: limits.rate.is_some(),
            });
        }
        Self { parts }
    }

    /// Whether the request has no limits in Redis.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts, in the order in which they are asked about.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The keys of its leases; none if only rates limit it.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(Part::slots)
    }

    /// The key of this scope's leases.
    pub(crate) fn slots_of(&self, scope: LimitScope) -> Option<&str> {
        self.scopes().find(|it| it.scope == scope)?.slots.as_deref()
    }

    /// The refusal of a request that must queue behind others for these slots.
    pub(crate) fn refused_by(&self, slots: &str) -> Refusal {
        let scope = self.scopes().find(|it| it.slots.as_deref() == Some(slots));
        let scope = scope.map_or(LimitScope::Upstream, |it| it.scope);
        Refusal {
            exceeded: LimitExceeded::concurrency(scope),
            scope,
        }
    }

    fn scopes(&self) -> impl Iterator<Item = &EncodedScope> {
        self.parts.iter().flat_map(|part| &part.scopes)
    }
}

impl Part {
    fn new(slot: u16) -> Self {
        Self {
            slot,
            keys: Vec::new(),
            numbers: Vec::new(),
            scopes: Vec::new(),
        }
    }

    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    pub(crate) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The keys of its leases; none if only rates limit it.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().filter_map(|it| it.slots.as_deref())
    }

    /// Parses a reply, and adds what remains. `None` if it is not one of the script's.
    pub(crate) fn parse(&self, reply: &[i64], remaining: &mut Remaining) -> Option<Reply> {
        let [outcome, index, wait, ref quotas @ ..] = *reply else {
            return None;
        };
        let (quotas, rest) = quotas.as_chunks::<2>();
        if quotas.len() != self.scopes.len() || !rest.is_empty() {
            return None;
        }
        for (quota, scope) in quotas.iter().zip(&self.scopes) {
            // Only Redis knows how many slots are left.
            let scope_remaining = ScopeRemaining::new(scope.rate_remaining(*quota)?, None);
            remaining.set(scope.scope, scope_remaining);
        }
        let wait = Duration::from_micros(wait.try_into().ok()?);
        let refused_by = |exceeded: fn(LimitScope, Duration) -> LimitExceeded| {
            let index = usize::try_from(index).ok()?;
            let scope = self.scopes.get(index)?.scope;
            Some(Reply::Refused(Refusal {
                exceeded: exceeded(scope, wait),
                scope,
            }))
        };
        match outcome {
            0 => Some(Reply::Granted),
            1 => refused_by(LimitExceeded::rate),
            2 => refused_by(|scope, _| LimitExceeded::concurrency(scope)),
            3 => refused_by(|scope, wait| LimitExceeded::concurrency(scope).and_rate(wait)),
            _ => None,
        }
    }
}

impl EncodedScope {
    /// `None` if the reply is not valid, `Some(None)` without a rate.
    fn rate_remaining(&self, [left, full_after]: [i64; 2]) -> Option<Option<RateRemaining>> {
        if !self.has_rate {
            return Some(None);
        }
        let left = u64::try_from(left).ok()?;
        Some(Some(RateRemaining::new(
            u32::try_from(left).unwrap_or(u32::MAX),
            Duration::from_micros(full_after.try_into().ok()?),
        )))
    }
}

/// Reduces a fraction, because the script's numbers are exact only up to 2^53.
fn lowest_terms(a: u64, b: u64) -> (u64, u64) {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor.max(1), b / divisor.max(1))
}

/// A time in whole microseconds, the unit of the scripts.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
