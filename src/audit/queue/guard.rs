//! The handle that stops the queue.

use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::AuditQueue;

/// Owns the threads of an [`AuditQueue`]. Call [`finish`](Self::finish) at the end of the process.
#[must_use = "call `finish`, which writes the records that are still queued"]
pub struct AuditQueueGuard {
    pub(super) queue: AuditQueue,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl AuditQueueGuard {
    /// Writes the records that are still queued, and returns how many records were lost in total.
    /// Records that cannot be written within `limit` are lost.
    pub fn finish(self, limit: Duration) -> u64 {
        let shared = &*self.queue.0;
        shared.queue().ended = true;
        shared.filled.notify_all();
        shared.waited.notify_all();
        let deadline = Instant::now() + limit;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let queue = shared.queue();
        shared.lost.load(Ordering::Relaxed)
            + (queue.batch.entries.len() + queue.overflow.len()) as u64
    }
}
