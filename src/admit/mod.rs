//! May this request begin now?
//!
//! The step between the policy and the record: it takes a permit, which the request holds until its
//! answer or tunnel has ended. Concurrency is asked before rates, and nothing is used up by a
//! request that is refused. `book` counts, `room` is where requests wait for a slot, `local` puts a
//! lock around both; `fields` is what callers are told. With the feature `redis`, `shared` asks for
//! all replicas what `local` asks for this process, and `sharing` puts one behind the other.

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
#[cfg(feature = "redis")]
mod sharing;
mod step;

pub use self::limiter::{Limiter, Usage};
pub(crate) use self::permit::{Permit, Refused};
#[cfg(feature = "redis")]
pub use self::shared::SharedOptions;
#[cfg(feature = "redis")]
pub use self::sharing::{OnFailure, SharingState};
pub(crate) use self::step::{Admission, Admitted};
