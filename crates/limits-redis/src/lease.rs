//! A lease that Redis has granted.

use crate::message::{Message, Outbox};

/// The slots of a request in Redis. Dropping it gives them back and does not block.
pub(crate) struct RedisLease {
    number: u64,
    outbox: Outbox,
}

impl RedisLease {
    pub(crate) fn new(number: u64, outbox: Outbox) -> Self {
        Self { number, outbox }
    }
}

impl Drop for RedisLease {
    fn drop(&mut self) {
        // Without the thread no heartbeat renews the lease, and it expires.
        let _ = self.outbox.send(Message::Release(self.number));
    }
}
