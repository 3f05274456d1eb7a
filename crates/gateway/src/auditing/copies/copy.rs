//! One copy of the trail: a bounded queue, and what became of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chunk::{CHUNK_BYTES, Chunk};

/// How much may wait for one receiver.
const RECORDS: u64 = 64 * 1024;
const BYTES: usize = 16 * 1024 * 1024;
/// An attempt that takes longer than this counts as a failure, even if it may still succeed.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Whether the promise binds a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Requests wait for it, as they do for the primary output.
    Promised,
    /// It never holds anybody up: what finds no place is lost, and counted.
    Counted,
}

/// The queue before one receiver. Its thread is [the courier's](super::courier).
#[derive(Debug)]
pub(crate) struct Copy {
    pub(super) name: &'static str,
    pub(super) bound: Bound,
    instance: String,
    state: Mutex<State>,
    /// Something was put in or taken out, or the end has come.
    changed: Condvar,
    delivered: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The first of them may be on their way.
    waiting: VecDeque<Chunk>,
    records: u64,
    bytes: usize,
    /// How many chunks were ever put in, and taken out.
    put: u64,
    taken: u64,
    /// The numbers of records that found no place.
    missing: Option<(u64, u64)>,
    failing: bool,
    attempt: Option<Instant>,
    ended: bool,
}

impl Copy {
    pub(super) fn new(name: &'static str, bound: Bound, instance: &str) -> Self {
        Self {
            name,
            bound,
            instance: instance.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// What it is called in settings and metrics.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How many records its receiver has taken.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many records its receiver will not get.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed, or has been going on for too long.
    pub(crate) fn is_failing(&self) -> bool {
        let state = self.state();
        let stuck = |begun: Instant| begun.elapsed() >= STUCK_AFTER;
        state.failing || state.attempt.is_some_and(stuck)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half-changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts lines in, and whether there was a place for them.
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

    /// Puts lines in, or counts them as lost. It is the newest that are lost: what waits is in its
    /// order, so that one `gap` tells all that is missing, in its place.
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

    /// Waits until all that was put in before is delivered; whether it is.
    pub(super) fn wait_until_delivered(&self, deadline: Instant) -> bool {
        let target = self.state().put;
        let state = self.wait(deadline, |state| state.taken < target);
        state.taken >= target
    }

    /// Waits for the last lines to be delivered. Those that are not by then are lost.
    pub(super) fn end(&self, deadline: Instant) {
        self.tell_the_end();
        let state = self.wait(deadline, |state| !state.waiting.is_empty());
        self.lost.fetch_add(state.records, Ordering::Relaxed);
    }

    /// Nothing more will come.
    pub(super) fn tell_the_end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn wait(
        &self,
        deadline: Instant,
        not_yet: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.state(), left, not_yet);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for lines, and begins an attempt with the first of them: how many chunks they are. They
    /// stay in the queue. `None` at the end.
    pub(super) fn next(&self, lines: &mut String) -> Option<usize> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
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

    /// An attempt begins.
    pub(super) fn begin(&self) {
        self.state().attempt = Some(Instant::now());
    }

    /// An attempt failed: whether the one before had not.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        state.attempt = None;
        !std::mem::replace(&mut state.failing, true)
    }

    /// The first chunks were delivered, except for some of their records: whether the attempt before
    /// had failed.
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

    /// Waits before the next attempt; at the end only for `at_the_end`.
    pub(super) fn pause(&self, time: Duration, at_the_end: Duration) {
        let begun = Instant::now();
        let ended = self.wait(begun + time, |state| !state.ended).ended;
        if ended && begun.elapsed() < at_the_end {
            std::thread::sleep(at_the_end.min(time));
        }
    }
}

impl State {
    fn put(&mut self, chunk: Chunk) {
        self.records += chunk.records;
        self.bytes += chunk.lines.len();
        self.put += 1;
        self.waiting.push_back(chunk);
    }
}
