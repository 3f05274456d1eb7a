//! The thread that enforces the deadlines of waiting requests.

use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use super::{Queue, Shared};
use crate::audit::receipt::NotRecorded;

const CHECK_INTERVAL: Duration = Duration::from_millis(10);

impl Shared {
    /// Settles every request that has waited past its deadline, with an error.
    pub(super) fn run_deadlines(&self) {
        loop {
            let idle = |queue: &mut Queue| queue.waiters.is_empty() && !queue.ended;
            let waiting = self.waited.wait_while(self.queue(), idle);
            let mut queue = waiting.unwrap_or_else(PoisonError::into_inner);
            if queue.ended && queue.waiters.is_empty() {
                return;
            }
            let now = Instant::now();
            queue.waiters.retain(|waiter| {
                if waiter.is_overdue(now) {
                    waiter.settle(Err(NotRecorded));
                }
                !waiter.is_settled()
            });
            drop(queue);
            thread::sleep(CHECK_INTERVAL);
        }
    }
}
