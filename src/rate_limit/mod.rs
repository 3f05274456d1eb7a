//! Limits of rate and concurrency for keys, accounts and the upstream.
//!
//! After a request is authorized and before it is recorded, the [`Limiter`] acquires a permit for
//! it, which the request holds until its response or tunnel has ended. Concurrency limits are
//! checked before rates, and a refused request uses up nothing.
//!
//! The limiter asks a local store, which counts within this process and has the wait queue. If the
//! limiter has a shared store as well ([`LimiterBuilder::with_store`]), it then asks that one, so
//! that all replicas share the limits; rates are taken there only. The crate
//! `voxgate-limits-redis` has a shared store for Redis and Valkey. [`OnFailure`] sets the behaviour
//! while the shared store is unavailable.
//!
//! # Implement a store
//!
//! Implement [`LimitStore`]. An [`AcquireRequest`] names each [`LimitScope`] with its limits; the
//! store answers with a [`Decision`]. [`WaitQueue`] schedules requests that wait. The other types
//! are parameters and results.

mod admission;
mod auth_failures;
mod builder;
mod delay;
mod header_fields;
mod limiter;
mod load_report;
mod on_failure;
mod permit;
mod request;

pub use voxgate_limits::{
    AcquireError, AcquireFuture, AcquireRequest, Amounts, Decision, Granted, InvalidQuota, Lease,
    Limit, LimitExceeded, LimitScope, LimitStore, Limits, Quota, QuotaAnswer, QuotaCommand,
    QuotaCounter, QuotaFuture, QuotaPeriod, QuotaStore, QuotaUnit, Rate, RateRemaining, Remaining,
    ScopeRemaining, StoreStatus, WaitPermission, WaitPlace, WaitQueue,
};

pub(crate) use self::admission::{Admission, Admitted};
pub(crate) use self::auth_failures::SlowDown;
pub use self::builder::LimiterBuilder;
pub(crate) use self::delay::Delay;
pub use self::header_fields::QuotaFields;
pub use self::limiter::{Limiter, Usage};
pub use self::on_failure::OnFailure;
pub(crate) use self::permit::{Permit, Refused};
