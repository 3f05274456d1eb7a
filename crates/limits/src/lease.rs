//! The permits of a granted request.

use std::fmt;

/// The concurrency permits of a request in one store. The request holds the lease until it ends.
/// Dropping the lease gives the permits back.
#[must_use = "its permits are given back when it is dropped"]
pub struct Lease(Option<Box<dyn Send + Sync>>);

impl Lease {
    /// A lease that ends when `guard` is dropped. The drop must not block.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// A lease without permits, for a request that only rates limit.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.is_some()).finish()
    }
}
