//! Permission to wait.

use std::fmt;
use std::time::Instant;

/// Permission for a request to wait in a shared store, for a concurrency permit of other replicas.
pub struct WaitPermission {
    deadline: Instant,
    reserve: Box<dyn FnOnce() -> Option<WaitPlace> + Send>,
}

/// A place in the limiter's wait queue. Dropping it frees the place for another request.
pub struct WaitPlace(#[expect(dead_code, reason = "it is dropped")] Box<dyn Send>);

impl WaitPermission {
    /// The request may wait until `deadline` if `reserve` has a place for it.
    pub fn new(
        deadline: Instant,
        reserve: impl FnOnce() -> Option<WaitPlace> + Send + 'static,
    ) -> Self {
        Self {
            deadline,
            reserve: Box::new(reserve),
        }
    }

    /// When the wait must end.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes a place in the wait queue; `None` if the queue is full. A store calls it only when the
    /// request has to wait, and keeps the place until the wait ends.
    #[must_use]
    pub fn reserve(self) -> Option<WaitPlace> {
        (self.reserve)()
    }
}

impl WaitPlace {
    /// A place that is free again when `guard` is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for WaitPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitPermission")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WaitPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitPlace")
    }
}
