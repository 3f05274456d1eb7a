//! The answer of the limiter to a request.

use std::future::Future;
use std::pin::Pin;

use super::permit::{Permit, Refused};

/// The answer of the limiter, available now or later.
pub(crate) enum Admission {
    Ready(Admitted),
    Pending(Pin<Box<dyn Future<Output = Admitted> + Send>>),
}

pub(crate) type Admitted = Result<Permit, Box<Refused>>;
