//! The stages of a request, as types that the compiler orders:
//! [`Validated`] → [`Authenticated`] → [`Authorized`] → [`Admitted`] → [`Recorded`].
//!
//! Fields are private to each stage's file, so only the stage before can make the next one. Each
//! stage either becomes the next, or [`Denied`]; two of them may have to wait.

mod admitted;
mod authenticated;
mod authorized;
mod context;
mod denied;
mod recorded;
mod validated;

pub(super) use self::admitted::Admitted;
pub(super) use self::authenticated::Authenticated;
pub(super) use self::authorized::{Admission, Authorized, PendingAdmission};
pub(super) use self::context::DecisionContext;
pub(super) use self::denied::Denied;
pub use self::recorded::CloseConnection;
pub(super) use self::recorded::{Recorded, Refusal};
pub(super) use self::validated::{Authentication, PendingAuthentication, Validated};
