//! What a granted request holds.

use std::fmt;

/// What a request holds until it ends: its concurrency permits in one store. Dropping it gives
/// them back.
#[must_use = "its permits are given back when it is dropped"]
pub struct Lease(Option<Box<dyn Send + Sync>>);

impl Lease {
    /// A lease that ends when `guard` is dropped. That must not block.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// A lease of nothing: only rates limit the request.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.is_some()).finish()
    }
}
