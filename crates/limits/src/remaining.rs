//! What is left of the limits of a request.

use std::time::Duration;

use super::request::LimitScope;

/// What is left of each scope's limits, once a request has started. `RateLimit` header fields tell
/// callers; a scope that the store does not report has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining([Option<ScopeRemaining>; 3]);

/// What is left of one scope's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScopeRemaining {
    /// What is left of the rate; `None` without a rate.
    pub rate: Option<RateRemaining>,
    /// How many more requests may be in flight; `None` without a limit, or if it is not known.
    pub concurrency: Option<u32>,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateRemaining {
    /// How many requests may start at once.
    pub requests: u32,
    /// When all of the burst is available again.
    pub full_after: Duration,
}

impl Remaining {
    /// What is left of this scope's limits, if the store reports it.
    #[must_use]
    pub fn get(&self, scope: LimitScope) -> Option<ScopeRemaining> {
        self.0[scope as usize]
    }

    /// Reports a scope.
    pub fn set(&mut self, scope: LimitScope, remaining: ScopeRemaining) {
        self.0[scope as usize] = Some(remaining);
    }
}

impl ScopeRemaining {
    /// What is left of the rate and of the concurrency limit.
    #[must_use]
    pub fn new(rate: Option<RateRemaining>, concurrency: Option<u32>) -> Self {
        Self { rate, concurrency }
    }
}

impl RateRemaining {
    /// So many requests at once, and the burst is full after this time.
    #[must_use]
    pub fn new(requests: u32, full_after: Duration) -> Self {
        Self {
            requests,
            full_after,
        }
    }
}
