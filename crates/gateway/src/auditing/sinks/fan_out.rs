//! The primary output and the sinks as one output.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voxgate::audit::{DeliveryGuarantee, Output};

use super::chunk::Chunk;
use super::queue::{Delivery, SinkQueue};

/// How long one sync waits for required sinks. It is shorter than the time that a request waits, so
/// that the audit queue's own clock decides when a request is refused.
const DELIVERED_WITHIN: Duration = Duration::from_millis(200);
/// How long closing waits for sinks. The process waits a little longer.
const END_WITHIN: Duration = Duration::from_secs(3);

/// An output whose lines go to sinks as well. It never waits for a best-effort sink.
pub(crate) struct FanOut<O> {
    primary: O,
    guarantee: DeliveryGuarantee,
    sinks: Vec<FanOutSink>,
    /// The primary output failed to write the current lines, and the sinks already have them.
    is_offered: bool,
}

struct FanOutSink {
    queue: Arc<SinkQueue>,
    /// Lines that did not fit into the queue of a required sink yet.
    backlog: VecDeque<Chunk>,
}

impl<O: Output> FanOut<O> {
    pub(super) fn new(primary: O, guarantee: DeliveryGuarantee, queues: &[Arc<SinkQueue>]) -> Self {
        let sink = |queue: &Arc<SinkQueue>| FanOutSink {
            queue: Arc::clone(queue),
            backlog: VecDeque::new(),
        };
        Self {
            primary,
            guarantee,
            sinks: queues.iter().map(sink).collect(),
            is_offered: false,
        }
    }
}

impl<O: Output> Output for FanOut<O> {
    /// Sinks come first, so that they do not wait for a disk that hangs. A full queue is reported by
    /// [`tick`](Output::tick) after these lines have been written: the audit queue then counts them
    /// as written and does not send them again.
    fn write(&mut self, lines: &str) -> io::Result<()> {
        if !self.is_offered && !self.sinks.is_empty() {
            for chunk in Chunk::split(lines) {
                for sink in &mut self.sinks {
                    sink.offer(&chunk);
                }
            }
            self.is_offered = true;
        }
        self.primary.write(lines)?;
        self.is_offered = false;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.primary.sync()?;
        if self.guarantee != DeliveryGuarantee::Durable {
            return Ok(());
        }
        let deadline = Instant::now() + DELIVERED_WITHIN;
        let late = self
            .sinks
            .iter()
            .find(|sink| sink.is_required() && !sink.queue.wait_until_delivered(deadline));
        late.map_or(Ok(()), |late| {
            Err(late.error("did not take the records in time"))
        })
    }

    fn give_up(&mut self) {
        self.is_offered = false;
        self.primary.give_up();
    }

    fn tick(&mut self) -> io::Result<()> {
        self.primary.tick()?;
        let mut result = Ok(());
        for sink in &mut self.sinks {
            if !sink.offer_backlog() {
                result = Err(sink.error("has a full queue"));
            }
        }
        result
    }

    fn close(&mut self) -> io::Result<()> {
        let closed = self.primary.close();
        for sink in &mut self.sinks {
            for chunk in sink.backlog.drain(..) {
                sink.queue.offer_or_lose(&chunk);
            }
        }
        // All sinks share one deadline.
        for sink in &self.sinks {
            sink.queue.close();
        }
        let deadline = Instant::now() + END_WITHIN;
        for sink in &self.sinks {
            sink.queue.drain(deadline);
        }
        closed
    }
}

impl FanOutSink {
    fn is_required(&self) -> bool {
        self.queue.delivery == Delivery::Required
    }

    fn offer(&mut self, chunk: &Chunk) {
        if !self.is_required() {
            self.queue.offer_or_lose(chunk);
        } else if !self.backlog.is_empty() || !self.queue.offer(chunk) {
            self.backlog.push_back(chunk.clone());
        }
    }

    /// Puts the backlog into the queue. Returns whether all of it fits.
    fn offer_backlog(&mut self) -> bool {
        while let Some(chunk) = self.backlog.front() {
            if !self.queue.offer(chunk) {
                return false;
            }
            self.backlog.pop_front();
        }
        true
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("the audit sink `{}` {what}", self.queue.name))
    }
}
