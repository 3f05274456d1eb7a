//! The remaining limits of a request.

use std::time::Duration;

use super::request::LimitScope;

/// The remaining limits of each scope after a request has started. The `RateLimit` header fields
/// report them to callers. A scope that the store does not report has no field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining([Option<ScopeRemaining>; 3]);

/// The remaining limits of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScopeRemaining {
    /// The remaining rate. `None` without a rate.
    pub rate: Option<RateRemaining>,
    /// How many more requests may be in flight; `None` without a limit, or if it is not known.
    pub concurrency: Option<u32>,
}

/// The remaining requests of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateRemaining {
    /// How many requests may start at once.
    pub requests: u32,
    /// How long until all of the burst is available again.
    pub full_after: Duration,
}

impl Remaining {
    /// The remaining limits of this scope, if the store reports them.
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
    /// The remaining rate and concurrency.
    #[must_use]
    pub fn new(rate: Option<RateRemaining>, concurrency: Option<u32>) -> Self {
        Self { rate, concurrency }
    }
}

impl RateRemaining {
    /// `requests` may start at once, and the burst is full again after `full_after`.
    #[must_use]
    pub fn new(requests: u32, full_after: Duration) -> Self {
        Self {
            requests,
            full_after,
        }
    }
}
