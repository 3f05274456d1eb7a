//! May this request begin now?
//!
//! The step between the policy and the record: it takes a permit, which the request holds until its
//! answer or tunnel has ended. Concurrency is asked before rates, and nothing is used up by a
//! request that is refused. `book` counts, `room` is where requests wait for a slot, `local` puts a
//! lock around both; `fields` is what callers are told.

mod ask;
mod book;
mod bucket;
mod failures;
mod fields;
mod limiter;
mod local;
mod permit;
mod room;
#[cfg(feature = "redis")]
mod shared;

pub(crate) use self::limiter::{Admission, Admitted};
pub use self::limiter::{Limiter, Usage};
pub(crate) use self::permit::{Permit, Refused};
