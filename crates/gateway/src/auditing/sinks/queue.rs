//! The bounded queue of one sink, and its counters.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chunk::{CHUNK_BYTES, Chunk};

/// The capacity of a queue.
const RECORDS: u64 = 64 * 1024;
const BYTES: usize = 16 * 1024 * 1024;
/// An attempt that takes longer than this counts as a failure, even if it can still succeed.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The delivery guarantee of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Requests wait for this sink as they do for the primary output.
    Required,
    /// Requests never wait. Records that do not fit into the queue are lost and counted.
    BestEffort,
}

/// The queue of one sink. The [sink worker](super::worker) empties it.
#[derive(Debug)]
pub(crate) struct SinkQueue {
    pub(super) name: &'static str,
    pub(super) delivery: Delivery,
    instance: String,
    state: Mutex<QueueState>,
    /// Notified when lines are added or removed, and when the queue is closed.
    changed: Condvar,
    delivered: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    /// The worker may be delivering the first of them.
    waiting: VecDeque<Chunk>,
    records: u64,
    bytes: usize,
    /// How many chunks were ever added and removed.
    put: u64,
    taken: u64,
    /// The first and last number of the records that did not fit.
    missing: Option<(u64, u64)>,
    failing: bool,
    attempt: Option<Instant>,
    closed: bool,
}

impl SinkQueue {
    pub(super) fn new(name: &'static str, delivery: Delivery, instance: &str) -> Self {
        Self {
            name,
            delivery,
            instance: instance.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// The name in settings, metrics and log lines.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How many records the receiver has taken.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many records the receiver will not get.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed, or the current one takes too long.
    pub(crate) fn is_failing(&self) -> bool {
        let state = self.state();
        let stuck = |begun: Instant| begun.elapsed() >= STUCK_AFTER;
        state.failing || state.attempt.is_some_and(stuck)
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        // No code that holds the lock can panic between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds lines. Returns whether they fit.
    pub(super) fn offer(&self, chunk: &Chunk) -> bool {
        let mut state = self.state();
        let is_full =
            state.records + chunk.records > RECORDS || state.bytes + chunk.lines.len() > BYTES;
        if is_full && !state.waiting.is_empty() {
            return false;
        }
        if let Some((from, to)) = state.missing.take() {
            state.put(Chunk::gap(&self.instance, &(from..=to)));
        }
        state.put(chunk.clone());
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Adds lines, or counts them as lost. The newest lines are lost, not the oldest, so that one
    /// `gap` record at the right place names all missing records.
    pub(super) fn offer_or_lose(&self, chunk: &Chunk) {
        if !self.offer(chunk) {
            let mut state = self.state();
            if let Some((first, last)) = chunk.numbers {
                let from = state.missing.map_or(first, |(from, _)| from);
                state.missing = Some((from, last));
            }
            self.lost.fetch_add(chunk.records, Ordering::Relaxed);
        }
    }

    /// Waits until all lines that were added before are delivered. Returns whether they are.
    pub(super) fn wait_until_delivered(&self, deadline: Instant) -> bool {
        let target = self.state().put;
        let state = self.wait(deadline, |state| state.taken < target);
        state.taken >= target
    }

    /// Closes the queue and waits until it is empty. Lines that are left at the deadline are lost.
    pub(super) fn drain(&self, deadline: Instant) {
        self.close();
        let state = self.wait(deadline, |state| !state.waiting.is_empty());
        self.lost.fetch_add(state.records, Ordering::Relaxed);
    }

    /// Closes the queue: no more lines will be added.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn wait(
        &self,
        deadline: Instant,
        not_yet: impl FnMut(&mut QueueState) -> bool,
    ) -> MutexGuard<'_, QueueState> {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.state(), left, not_yet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for lines and copies the next batch of them. Returns the number of chunks in the batch.
    /// They stay in the queue until they are [settled](Self::settle). `None` when the queue is closed
    /// and empty.
    pub(super) fn next(&self, lines: &mut String) -> Option<usize> {
        let idle = |state: &mut QueueState| state.waiting.is_empty() && !state.closed;
        let waited = self.changed.wait_while(self.state(), idle);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        lines.clear();
        let mut chunks = 0;
        for chunk in &state.waiting {
            if chunks > 0 && lines.len() + chunk.lines.len() > CHUNK_BYTES {
                break;
            }
            lines.push_str(&chunk.lines);
            chunks += 1;
        }
        (chunks > 0).then_some(chunks)
    }

    /// Notes that an attempt begins.
    pub(super) fn begin(&self) {
        self.state().attempt = Some(Instant::now());
    }

    /// Notes that an attempt failed. Returns whether it is the first failure in a row.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        state.attempt = None;
        !std::mem::replace(&mut state.failing, true)
    }

    /// Removes the first chunks. The receiver took them, except for `refused` of their records.
    /// Returns whether the attempt before had failed.
    pub(super) fn settle(&self, chunks: usize, refused: u64) -> bool {
        let mut state = self.state();
        let settled: Vec<Chunk> = state.waiting.drain(..chunks).collect();
        let records: u64 = settled.iter().map(|chunk| chunk.records).sum();
        state.records -= records;
        state.bytes -= settled.iter().map(|chunk| chunk.lines.len()).sum::<usize>();
        state.taken += chunks as u64;
        state.attempt = None;
        let had_failed = std::mem::replace(&mut state.failing, false);
        drop(state);
        self.lost.fetch_add(refused, Ordering::Relaxed);
        self.delivered
            .fetch_add(records.saturating_sub(refused), Ordering::Relaxed);
        self.changed.notify_all();
        had_failed
    }

    /// Waits before the next attempt. Once the queue is closed, it waits only for `when_closed`.
    pub(super) fn pause(&self, time: Duration, when_closed: Duration) {
        let begun = Instant::now();
        let closed = self.wait(begun + time, |state| !state.closed).closed;
        if closed && begun.elapsed() < when_closed {
            std::thread::sleep(when_closed.min(time));
        }
    }
}

impl QueueState {
    fn put(&mut self, chunk: Chunk) {
        self.records += chunk.records;
        self.bytes += chunk.lines.len();
        self.put += 1;
        self.waiting.push_back(chunk);
    }
}
