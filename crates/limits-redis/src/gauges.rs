//! State of the connection thread that other threads read.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use voxgate::rate_limit::StoreStatus;

/// The state of the connection thread, for all threads.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Whether every server answers.
    up: AtomicBool,
    /// Whether no server is asked.
    open: AtomicBool,
    failures: AtomicU64,
    replicas: AtomicU32,
    answers: AtomicU64,
    answer_micros: AtomicU64,
    unasked: AtomicU64,
    failovers: AtomicU64,
    restored: AtomicU64,
}

/// The first number of leases that were taken without asking Redis.
const UNASKED: u64 = 1 << 63;

impl Gauges {
    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_answer(&self, took: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answer_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn set_replicas(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    pub(crate) fn count_failovers(&self, failovers: usize) {
        let failovers = u64::try_from(failovers).unwrap_or(u64::MAX);
        self.failovers.fetch_add(failovers, Ordering::Relaxed);
    }

    pub(crate) fn count_restored(&self, slots: usize) {
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        self.restored.fetch_add(slots, Ordering::Relaxed);
    }

    /// Whether no server is asked.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(crate) fn next_unasked(&self) -> u64 {
        UNASKED | self.unasked.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn status(&self) -> StoreStatus {
        let mut status = StoreStatus::default();
        status.is_up = self.up.load(Ordering::Acquire) && !self.is_open();
        status.replicas = self.replicas.load(Ordering::Relaxed).max(1);
        status.failures = self.failures.load(Ordering::Relaxed);
        status.answers = self.answers.load(Ordering::Relaxed);
        status.answer_time = Duration::from_micros(self.answer_micros.load(Ordering::Relaxed));
        status.failovers = self.failovers.load(Ordering::Relaxed);
        status.restored = self.restored.load(Ordering::Relaxed);
        status
    }
}
