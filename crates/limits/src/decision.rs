//! The answers of a store.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::limit::Limit;

use super::lease::Lease;
use super::remaining::Remaining;
use super::request::LimitScope;

/// The limit that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The limit.
    pub limit: Limit,
    /// How long until the rates allow the request. `None` if only a concurrency limit refused it: a
    /// permit becomes free when another request ends, and a store does not know when that is.
    pub retry_after: Option<Duration>,
}

impl LimitExceeded {
    /// The rate of this scope is used up. It allows the request after `retry_after`.
    #[must_use]
    pub fn rate(scope: LimitScope, retry_after: Duration) -> Self {
        Self {
            limit: scope.rate().unwrap_or(scope.concurrency()),
            retry_after: Some(retry_after),
        }
    }

    /// All concurrency permits of this scope are taken.
    #[must_use]
    pub fn concurrency(scope: LimitScope) -> Self {
        Self {
            limit: scope.concurrency(),
            retry_after: None,
        }
    }

    /// A rate would refuse the request as well, for this long.
    #[must_use]
    pub fn and_rate(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Whether the request may wait, because only a concurrency permit is missing.
    #[must_use]
    pub fn can_wait(self) -> bool {
        self.retry_after.is_none()
    }
}

/// Why a store did not grant a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// A limit is exceeded.
    Exceeded(LimitExceeded),
    /// The store did not answer in time, or its answer was not valid.
    Unavailable,
}

impl From<LimitExceeded> for AcquireError {
    fn from(exceeded: LimitExceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// The lease of a request that may start, and its remaining limits.
#[derive(Debug)]
#[non_exhaustive]
pub struct Granted {
    /// The permits that the request holds until it ends.
    pub lease: Lease,
    /// The remaining limits.
    pub remaining: Remaining,
}

impl Granted {
    /// A lease, and the remaining limits.
    #[must_use]
    pub fn new(lease: Lease, remaining: Remaining) -> Self {
        Self { lease, remaining }
    }
}

/// The decision of a store about one request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request may start.
    pub result: Result<Granted, AcquireError>,
    /// How long the request waited for a concurrency permit; `None` if it did not wait.
    pub waited: Option<Duration>,
}

impl Decision {
    /// A decision without a wait.
    #[must_use]
    pub fn new(result: Result<Granted, AcquireError>) -> Self {
        Self {
            result,
            waited: None,
        }
    }

    /// The same decision, after a wait.
    #[must_use]
    pub fn after(mut self, waited: Option<Duration>) -> Self {
        self.waited = waited;
        self
    }
}

/// A [`Decision`], now or later. It needs no runtime.
///
/// # Cancel safety
///
/// It may be dropped at any time. A store gives back what it grants to a dropped future.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireFuture(State);

enum State {
    Ready(Option<Decision>),
    Pending(Pin<Box<dyn Future<Output = Decision> + Send>>),
}

impl AcquireFuture {
    /// The decision is known already.
    pub fn ready(decision: Decision) -> Self {
        Self(State::Ready(Some(decision)))
    }

    /// The decision comes later.
    pub fn pending(decision: impl Future<Output = Decision> + Send + 'static) -> Self {
        Self(State::Pending(Box::pin(decision)))
    }

    /// Takes the decision if it is known already. The future never completes afterwards.
    #[must_use]
    pub fn take_ready(&mut self) -> Option<Decision> {
        match &mut self.0 {
            State::Ready(decision) => decision.take(),
            State::Pending(_) => None,
        }
    }
}

impl Future for AcquireFuture {
    type Output = Decision;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decision> {
        match &mut self.0 {
            // Polled again after its end, it never completes.
            State::Ready(decision) => decision.take().map_or(Poll::Pending, Poll::Ready),
            State::Pending(decision) => decision.as_mut().poll(context),
        }
    }
}

impl fmt::Debug for AcquireFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(decision) => f.debug_tuple("Ready").field(decision).finish(),
            State::Pending(_) => f.write_str("Pending"),
        }
    }
}
