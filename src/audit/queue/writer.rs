//! The thread that formats records and writes them.

use std::mem;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::output::Output;
use super::{AuditQueue, Batch, DeliveryGuarantee, Queue};
use crate::audit::entry::Facts;
use crate::audit::line::LineWriter;
use crate::audit::receipt::NotRecorded;

/// How long the writer collects records before it writes, when no request waits for them.
const GATHER: Duration = Duration::from_millis(2);
/// How long to wait after an error.
const RETRY_AFTER: Duration = Duration::from_millis(50);
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often an output without records is asked to do what is due: it should notice within a second
/// that its files are gone.
const TICK_EVERY: Duration = Duration::from_millis(500);
const SYNC_AFTER_LINES: u64 = 1000;

pub(super) struct Writer<O> {
    queue: AuditQueue,
    output: O,
    lines: LineWriter,
    /// The number of the next record, if none is lost.
    expected: u64,
    unsynced: u64,
    synced: Instant,
}

impl<O: Output> Writer<O> {
    pub(super) fn new(queue: AuditQueue, output: O, lines: LineWriter) -> Self {
        Self {
            queue,
            output,
            lines,
            expected: 1,
            unsynced: 0,
            synced: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        let mut batch = Batch::new();
        let mut text = String::new();
        loop {
            let ended = self.next(&mut batch);
            if batch.entries.is_empty() && ended {
                if let Err(error) = self.output.close() {
                    tracing::error!(%error, "cannot close the audit log; check the free space and permissions of its directory");
                }
                return;
            }
            text.clear();
            let important = self.format(&mut text, &batch);
            let kept = self.keep(&text, &batch, important);
            let count = batch.entries.len() as u64;
            let shared = &self.queue.0;
            if kept {
                self.expected = batch
                    .entries
                    .last()
                    .map_or(self.expected, |last| last.seq + 1);
                shared.written.fetch_add(count, Ordering::Relaxed);
            } else {
                shared.lost.fetch_add(count, Ordering::Relaxed);
            }
            let result = if kept { Ok(()) } else { Err(NotRecorded) };
            for (_, waiter) in &batch.waiters {
                waiter.settle(result);
            }
        }
    }

    /// Takes the next records into `batch`. Returns `true` when these are the last.
    fn next(&self, batch: &mut Batch) -> bool {
        let shared = &*self.queue.0;
        let idle = |queue: &mut Queue| {
            queue.batch.entries.is_empty() && queue.overflow.is_empty() && !queue.ended
        };
        let waiting = shared
            .filled
            .wait_timeout_while(shared.queue(), TICK_EVERY, idle);
        let (mut queue, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        if shared.guarantee != DeliveryGuarantee::Durable
            && !queue.ended
            && !queue.batch.entries.is_empty()
        {
            drop(queue);
            thread::sleep(GATHER);
            queue = shared.queue();
        }
        batch.clear();
        mem::swap(batch, &mut queue.batch);
        shared.take_overflow(&mut queue);
        queue.ended && queue.batch.entries.is_empty()
    }

    /// Formats records as lines. Returns whether one of them should be synced at once.
    fn format(&self, text: &mut String, batch: &Batch) -> bool {
        let mut expected = self.expected;
        let mut important = false;
        for entry in &batch.entries {
            if entry.seq > expected {
                self.lines
                    .write_gap(text, SystemTime::now(), expected..=entry.seq - 1);
                text.push('\n');
            }
            expected = entry.seq + 1;
            self.lines.write(text, entry, &batch.text);
            text.push('\n');
            important |= match &entry.facts {
                Facts::Start(_) | Facts::Stop(_) | Facts::Keys(_) | Facts::Key(_) => true,
                Facts::Token(_) | Facts::PolicyChanged(_) => true,
                Facts::Decision(decision) => decision.denial.is_some(),
                Facts::Completion(_) | Facts::Rejected(_) => false,
            };
        }
        important
    }

    /// Writes lines, and syncs them as the guarantee needs. Returns whether they were written.
    fn keep(&mut self, text: &str, batch: &Batch, important: bool) -> bool {
        let gives_up = self.queue.0.guarantee == DeliveryGuarantee::Counted;
        let mut is_written = false;
        loop {
            let attempt = match is_written || text.is_empty() {
                true => Ok(()),
                false => self.output.write(text),
            };
            let attempt = attempt.and_then(|()| {
                if !is_written {
                    is_written = true;
                    self.unsynced += batch.entries.len() as u64;
                }
                self.settle_sync(important)
            });
            let failing = attempt.is_err();
            if self.queue.0.failing.swap(failing, Ordering::Relaxed) != failing {
                match &attempt {
                    Ok(()) => tracing::info!("audit records are written again"),
                    Err(error) => tracing::error!(%error, "audit records cannot be written"),
                }
            }
            if !failing {
                return true;
            }
            if gives_up || self.queue.0.queue().ended {
                if !is_written {
                    self.output.give_up();
                }
                return is_written;
            }
            // The deadline thread settles the requests that wait for these records.
            thread::sleep(RETRY_AFTER);
        }
    }

    fn settle_sync(&mut self, important: bool) -> std::io::Result<()> {
        self.output.tick()?;
        let due = match self.queue.0.guarantee {
            DeliveryGuarantee::Durable => true,
            DeliveryGuarantee::Blocking => {
                important
                    || self.unsynced >= SYNC_AFTER_LINES
                    || self.synced.elapsed() >= SYNC_EVERY
            }
            DeliveryGuarantee::Counted => self.synced.elapsed() >= SYNC_EVERY,
        };
        if due && self.unsynced > 0 {
            self.output.sync()?;
            self.unsynced = 0;
            self.synced = Instant::now();
        }
        Ok(())
    }
}
