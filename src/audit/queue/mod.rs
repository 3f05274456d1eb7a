//! The bounded queue between requests and the audit output.
//!
//! A request copies its record into the current [`Batch`]. It holds a lock for the time of the
//! copy and allocates nothing. The writer thread ([`writer`]) formats the batch, writes it, and
//! settles the receipts of waiting requests. A second thread ([`deadline`]) settles receipts that
//! are overdue, with an error.

mod batch;
mod deadline;
mod guarantee;
mod guard;
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
use std::thread;
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::line::LineWriter;
use super::receipt::{NotRecorded, Receipt};
use super::{AuditRecord, AuditSink};

use self::batch::Batch;
pub use self::guarantee::DeliveryGuarantee;
pub use self::guard::AuditQueueGuard;
#[cfg(feature = "audit-log")]
pub use self::log_output::LogOutput;
pub use self::output::{Output, StreamOutput};
pub(super) use self::waiter::Waiter;
use self::writer::Writer;

/// An [`AuditSink`] that writes records to an [`Output`], with a [`DeliveryGuarantee`]. Clones
/// share the queue.
#[derive(Clone)]
pub struct AuditQueue(Arc<Shared>);

struct Shared {
    guarantee: DeliveryGuarantee,
    queue: Mutex<Queue>,
    /// Signals the writer thread: a record was added, or the queue has ended.
    filled: Condvar,
    /// Signals the deadline thread: a request waits, or the queue has ended.
    waited: Condvar,
    written: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
}

struct Queue {
    batch: Batch,
    next_seq: u64,
    /// Decisions that wait for room in the batch, in order.
    overflow: VecDeque<(Arc<Waiter>, Entry, Vec<u8>)>,
    /// Requests whose receipt is not settled.
    waiters: Vec<Arc<Waiter>>,
    ended: bool,
}

impl AuditQueue {
    /// Starts a queue that writes to `output`. `instance` identifies this start of the process in
    /// every record; use a new value for each start.
    ///
    /// # Errors
    ///
    /// If the operating system cannot start a thread.
    pub fn start(
        output: impl Output + 'static,
        guarantee: DeliveryGuarantee,
        instance: &str,
    ) -> io::Result<(Self, AuditQueueGuard)> {
        let queue = Self(Arc::new(Shared {
            guarantee,
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
        let deadlines = queue.clone();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let threads = vec![
            named("voxgate-audit").spawn(move || writer.run())?,
            named("voxgate-clock").spawn(move || deadlines.0.run_deadlines())?,
        ];
        let guard = AuditQueueGuard {
            queue: queue.clone(),
            threads,
        };
        Ok((queue, guard))
    }

    /// The guarantee that this queue gives.
    #[must_use]
    pub fn delivery_guarantee(&self) -> DeliveryGuarantee {
        self.0.guarantee
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

    /// Adds a record. `within` limits how long the request waits for its receipt. `None` if it does
    /// not wait.
    fn push(&self, record: &AuditRecord<'_>, within: Option<Duration>) -> Receipt {
        let shared = &*self.0;
        let mut queue = shared.queue();
        let within = within.filter(|_| shared.guarantee != DeliveryGuarantee::Counted);
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
        let synced = within.filter(|_| shared.guarantee == DeliveryGuarantee::Durable);
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
        // The caller does not wait for a receipt.
        drop(self.push(record, None));
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.push(record, Some(self.0.guarantee.wait_limit()))
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic never leaves this state inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves waiting decisions into the empty batch.
    fn take_overflow(&self, queue: &mut Queue) {
        while !queue.batch.is_full()
            && let Some((waiter, mut entry, text)) = queue.overflow.pop_front()
        {
            entry.seq = queue.next_seq;
            queue.next_seq += 1;
            if waiter.is_settled() {
                // Its deadline has passed: the request was refused, and its record is lost.
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            entry.shift_texts(queue.batch.text.len());
            queue.batch.text.extend_from_slice(&text);
            match self.guarantee {
                DeliveryGuarantee::Durable => queue.batch.waiters.push((entry.seq, waiter)),
                DeliveryGuarantee::Blocking | DeliveryGuarantee::Counted => waiter.settle(Ok(())),
            }
            queue.batch.entries.push(entry);
        }
    }
}
