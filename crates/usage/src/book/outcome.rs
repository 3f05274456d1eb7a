//! The answers of a book to a request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use voxgate::Denial;
use voxgate::rate_limit::{LimitScope, Quota};

use crate::calendar::Today;

/// A quota that does not allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// Whether it is the quota of the key or of its account.
    pub scope: LimitScope,
    /// The quota.
    pub quota: Quota,
    /// How long until its next period begins.
    pub resets_after: Duration,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Exhausted(Exhausted),
    /// The store is unavailable, and the failure mode is to refuse.
    Unavailable,
}

/// The answer of the book: at once, or after that of the shared store.
#[derive(Debug)]
pub enum Taken {
    /// Whether the quotas allow it.
    Now(Result<(), Denial>),
    /// The answer comes later.
    Later(PendingTake),
}

/// An answer that waits for the shared store.
pub struct PendingTake(pub(super) Pin<Box<dyn Future<Output = Result<(), Denial>> + Send>>);

impl Future for PendingTake {
    type Output = Result<(), Denial>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for PendingTake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingTake")
    }
}

pub(super) fn exhausted(
    scope: LimitScope,
    quota: Quota,
    today: Today,
    now: SystemTime,
) -> NotTaken {
    let resets_after = today.ends(quota.period()).duration_since(now);
    NotTaken::Exhausted(Exhausted {
        scope,
        quota,
        resets_after: resets_after.unwrap_or_default(),
    })
}
