//! The trait that limit stores implement.

use std::time::Duration;

use super::decision::AcquireFuture;
use super::lease::Lease;
use super::request::AcquireRequest;
use super::wait::WaitPermission;

/// Where limits are counted: in this process, or in a server that all replicas share.
///
/// The limiter of the crate `voxgate` asks its local store first. If it has a second store, it then
/// asks that one, which alone takes from rates. The crate `voxgate-limits-redis` implements this
/// trait for Redis and Valkey.
pub trait LimitStore: Send + Sync + 'static {
    /// Decides whether a request may start. A store takes from all limits of the request or from
    /// none: a refused request uses up nothing.
    ///
    /// With `wait`, a request for which only a concurrency permit is missing may wait for one,
    /// until the deadline, in a place of the limiter's wait queue. Requests of one key are granted
    /// in the order of their arrival, and keys take turns; [`WaitQueue`](super::WaitQueue) does
    /// that. The local store is asked without `wait`, because it owns the wait queue.
    fn acquire(&self, request: &AcquireRequest, wait: Option<WaitPermission>) -> AcquireFuture;

    /// Counts a request as in flight without checking the limits. The limiter calls it for a
    /// request that starts although the store is [unavailable](super::AcquireError::Unavailable).
    /// The store counts the request as soon as it is available again.
    fn hold(&self, request: &AcquireRequest) -> Lease;

    /// The state of the store.
    fn status(&self) -> StoreStatus;

    /// Releases the permits that are no longer held, and tells other replicas that this one ends.
    /// Blocks for at most `timeout`. The store is unavailable afterwards.
    fn shutdown(&self, timeout: Duration);
}

/// The state of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Whether the store is available.
    pub is_up: bool,
    /// How many replicas share the store, as last seen; at least 1, for this one.
    pub replicas: u32,
    /// How often the store failed to answer.
    pub failures: u64,
    /// How often the store answered.
    pub answers: u64,
    /// The time from question to answer, summed over all answers.
    pub answer_time: Duration,
    /// How often a replica of the store's server took over from its primary, as seen here. What was
    /// not replicated before is lost.
    pub failovers: u64,
    /// How many slots of requests in flight the store had lost, and got back from this process.
    pub restored: u64,
}

impl Default for StoreStatus {
    /// A store that is available, has no other replica and has not been asked.
    fn default() -> Self {
        Self {
            is_up: true,
            replicas: 1,
            failures: 0,
            answers: 0,
            answer_time: Duration::ZERO,
            failovers: 0,
            restored: 0,
        }
    }
}
