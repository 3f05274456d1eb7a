//! The time of the connection thread.

use std::time::Instant;

/// Now, by the clock of the runtime: the same as [`Instant::now`], unless a test or a simulation
/// has paused that clock.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
