//! Limits of rate and concurrency, without a runtime.
//!
//! An [`AcquireRequest`] names a key, its account and the upstream, each a [`LimitScope`] with its
//! [`Limits`]. A [`LimitStore`] answers with a [`Decision`]: a [`Lease`] to hold until the request
//! has ended, or the limit that refuses it. Concurrency limits are checked before rates, and a
//! refused request uses up nothing.
//!
//! [`LocalStore`] counts within this process, and has a wait queue. The crate
//! `voxgate-limits-redis` has a store that replicas share. The layer of the crate `voxgate` asks
//! them.
//!
//! ```
//! use std::num::NonZeroU32;
//! use voxgate_limits::{AcquireRequest, Limits, LocalStore, LimitStore as _};
//!
//! let store = LocalStore::new(true);
//! let one = Limits { concurrency: NonZeroU32::new(1), ..Limits::default() };
//! let request = AcquireRequest::new("ivr-prod", one);
//! let first = store.acquire(&request, None).take_ready().ok_or("it waits")?;
//! let second = store.acquire(&request, None).take_ready().ok_or("it waits")?;
//! assert!(first.result.is_ok() && second.result.is_err());
//! drop(first);
//! let third = store.acquire(&request, None).take_ready().ok_or("it waits")?;
//! assert!(third.result.is_ok());
//! # Ok::<(), &str>(())
//! ```

mod counters;
mod decision;
mod gcra;
mod lease;
mod limit;
mod local_queue;
mod local_store;
mod quota;
mod remaining;
mod request;
mod store;
mod wait;
mod wait_queue;

pub use self::decision::{AcquireError, AcquireFuture, Decision, Granted, LimitExceeded};
pub use self::lease::Lease;
pub use self::limit::{Limit, Limits, Rate};
pub use self::local_store::LocalStore;
pub use self::quota::{
    Amounts, InvalidQuota, Quota, QuotaAnswer, QuotaCommand, QuotaCounter, QuotaFuture,
    QuotaPeriod, QuotaStore, QuotaUnit,
};
pub use self::remaining::{RateRemaining, Remaining, ScopeRemaining};
pub use self::request::{AcquireRequest, LimitScope};
pub use self::store::{LimitStore, StoreStatus};
pub use self::wait::{WaitPermission, WaitPlace};
pub use self::wait_queue::WaitQueue;
