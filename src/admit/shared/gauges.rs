//! What can be read of the thread from outside.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How the thread does.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    connected: AtomicBool,
    open: AtomicBool,
    failures: AtomicU64,
    replicas: AtomicU32,
    unasked: AtomicU64,
}

/// Leases that nobody was asked for have numbers from here on.
const UNASKED: u64 = 1 << 63;

impl Gauges {
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    /// Whether there is no point in asking.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn is_up(&self) -> bool {
        self.connected.load(Ordering::Acquire) && !self.is_open()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn next_unasked(&self) -> u64 {
        UNASKED | self.unasked.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed).max(1)
    }
}
