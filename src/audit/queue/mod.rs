//! A bounded queue of records before whatever keeps them.
//!
//! A request copies its record into the queue, which takes a lock for the time of the copy and
//! allocates nothing. One thread makes lines of the records, writes them, and settles what
//! requests wait for. Another watches the time.

#[cfg(feature = "audit-log")]
mod log_output;
mod output;
mod waiter;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::line::LineWriter;
use super::receipt::{NotRecorded, Receipt};
use super::{AuditRecord, AuditSink};

#[cfg(feature = "audit-log")]
pub use self::log_output::LogOutput;
pub use self::output::{Output, StreamOutput};
pub(super) use self::waiter::Waiter;
use self::writer::Writer;

/// How many records may wait, and how many bytes of their texts.
const RECORDS: usize = 16 * 1024;
const TEXT_BYTES: usize = 8 * 1024 * 1024;
/// The texts of one record are never longer.
const MAX_TEXT: usize = 2048;
/// How long a request waits for its record to be durable, or for a place in the queue.
const DURABLE_WITHIN: Duration = Duration::from_millis(250);
const PLACE_WITHIN: Duration = Duration::from_millis(50);
const LOOK_AT_THE_CLOCK_EVERY: Duration = Duration::from_millis(10);

/// What is promised of a decision's record before the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is on the disk: neither goes a request upstream nor an answer out before its decision
    /// would survive a loss of power. When it is not there within 250 ms, the answer is 503.
    Durable,
    /// It has a place in the queue, and is written soon: nothing goes upstream without one. A queue
    /// that stays full for 50 ms makes the answer a 503.
    Blocking,
    /// Nothing: no request waits, and a record that finds no place is lost. Each loss is counted,
    /// and is itself on record.
    Counted,
}

impl Promise {
    /// The name in settings and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Blocking => "blocking",
            Self::Counted => "counted",
        }
    }

    fn within(self) -> Duration {
        match self {
            Self::Durable => DURABLE_WITHIN,
            Self::Blocking | Self::Counted => PLACE_WITHIN,
        }
    }
}

/// Keeps records, with a [`Promise`]. Cloning shares it.
#[derive(Clone)]
pub struct AuditQueue(Arc<Shared>);

/// Keeps the queue's threads.
#[must_use = "what still waits is written when this is told to finish"]
pub struct AuditThreads {
    queue: AuditQueue,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    promise: Promise,
    queue: Mutex<Queue>,
    /// Something is to be written, or everything has ended.
    filled: Condvar,
    /// Somebody waits for the time, or everything has ended.
    waited: Condvar,
    written: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
}

struct Queue {
    batch: Batch,
    next_seq: u64,
    /// Decisions that found no place, in their order.
    overflow: VecDeque<(Arc<Waiter>, Entry, Vec<u8>)>,
    /// Those whose decision is not yet on the disk.
    waiters: Vec<Arc<Waiter>>,
    ended: bool,
}

/// Records that are written together.
struct Batch {
    entries: Vec<Entry>,
    text: Vec<u8>,
    /// Who waits for which of them.
    waiters: Vec<(u64, Arc<Waiter>)>,
}

impl Batch {
    fn new() -> Self {
        Self {
            entries: Vec::with_capacity(RECORDS),
            text: Vec::with_capacity(TEXT_BYTES),
            waiters: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= RECORDS || self.text.len() + MAX_TEXT > TEXT_BYTES
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.waiters.clear();
    }
}

impl AuditQueue {
    /// Starts the threads of a queue before `output`. `instance` names this start of the process in
    /// every record; it must be another one each time.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn start(
        output: impl Output + 'static,
        promise: Promise,
        instance: &str,
    ) -> io::Result<(Self, AuditThreads)> {
        let queue = Self(Arc::new(Shared {
            promise,
            queue: Mutex::new(Queue {
                batch: Batch::new(),
                next_seq: 1,
                overflow: VecDeque::new(),
                waiters: Vec::new(),
                ended: false,
            }),
            filled: Condvar::new(),
            waited: Condvar::new(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }));
        let writer = Writer::new(queue.clone(), output, LineWriter::new(instance.to_owned()));
        let clock = queue.clone();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let threads = vec![
            named("voxgate-audit").spawn(move || writer.run())?,
            named("voxgate-clock").spawn(move || clock.0.watch_the_time())?,
        ];
        let guard = AuditThreads {
            queue: queue.clone(),
            threads,
        };
        Ok((queue, guard))
    }

    /// What is promised.
    #[must_use]
    pub fn promise(&self) -> Promise {
        self.0.promise
    }

    /// How many records were written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// How many records were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to write failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }

    /// `within` is for how long the receipt is waited for, if it is.
    fn push(&self, record: &AuditRecord<'_>, within: Option<Duration>) -> Receipt {
        let shared = &*self.0;
        let mut queue = shared.queue();
        let within = within.filter(|_| shared.promise != Promise::Counted);
        if queue.batch.is_full() || queue.ended || !queue.overflow.is_empty() {
            let Some(within) = within.filter(|_| !queue.ended) else {
                queue.next_seq += 1;
                shared.lost.fetch_add(1, Ordering::Relaxed);
                return match within {
                    Some(_) => Receipt::pending(std::future::ready(Err(NotRecorded))),
                    None => Receipt::recorded(),
                };
            };
            let waiter = Arc::new(Waiter::new(Instant::now() + within));
            let mut text = Vec::new();
            let entry = Entry::copy(0, record, &mut text);
            queue.overflow.push_back((Arc::clone(&waiter), entry, text));
            queue.waiters.push(Arc::clone(&waiter));
            shared.waited.notify_one();
            return Receipt::waiting(waiter);
        }
        let seq = queue.next_seq;
        queue.next_seq += 1;
        let batch = &mut queue.batch;
        let is_first = batch.entries.is_empty();
        batch
            .entries
            .push(Entry::copy(seq, record, &mut batch.text));
        let synced = within.filter(|_| shared.promise == Promise::Durable);
        let receipt = if let Some(within) = synced {
            let waiter = Arc::new(Waiter::new(Instant::now() + within));
            batch.waiters.push((seq, Arc::clone(&waiter)));
            if queue.waiters.is_empty() {
                shared.waited.notify_one();
            }
            queue.waiters.push(Arc::clone(&waiter));
            Receipt::waiting(waiter)
        } else {
            Receipt::recorded()
        };
        drop(queue);
        if is_first {
            shared.filled.notify_one();
        }
        receipt
    }
}

impl AuditSink for AuditQueue {
    fn record(&self, record: &AuditRecord<'_>) {
        // Whoever does not wait for a receipt has nothing to be told.
        drop(self.push(record, None));
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.push(record, Some(self.0.promise.within()))
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here is left half-changed by a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits for a place into the empty batch.
    fn admit(&self, queue: &mut Queue) {
        while !queue.batch.is_full()
            && let Some((waiter, mut entry, text)) = queue.overflow.pop_front()
        {
            entry.seq = queue.next_seq;
            queue.next_seq += 1;
            if waiter.is_settled() {
                // It was given up, and is not in the log.
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            entry.shift_texts(queue.batch.text.len());
            queue.batch.text.extend_from_slice(&text);
            match self.promise {
                Promise::Durable => queue.batch.waiters.push((entry.seq, waiter)),
                Promise::Blocking | Promise::Counted => waiter.settle(Ok(())),
            }
            queue.batch.entries.push(entry);
        }
    }

    /// Refuses whoever has waited for too long.
    fn watch_the_time(&self) {
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
            thread::sleep(LOOK_AT_THE_CLOCK_EVERY);
        }
    }
}

impl AuditThreads {
    /// Writes out what waits, and says how many records were lost in all. What cannot be written
    /// within `limit` is lost.
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
