//! The primary output and its copies as one output.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voxgate::audit::{DeliveryGuarantee, Output};

use super::chunk::Chunk;
use super::copy::{Bound, Copy};

/// How long one sync waits for copies. Less than a request waits, so that it is the queue's own
/// clock that refuses it.
const DELIVERED_WITHIN: Duration = Duration::from_millis(200);
/// How long the end waits for copies. The process waits a little longer.
const END_WITHIN: Duration = Duration::from_secs(3);

/// An output whose lines go to copies as well. A copy that the promise does not bind never holds it
/// up.
pub(crate) struct FanOut<O> {
    primary: O,
    promise: DeliveryGuarantee,
    copies: Vec<Receiver>,
    /// Whether the copies have the lines that the primary output could not write.
    is_offered: bool,
}

struct Receiver {
    copy: Arc<Copy>,
    /// What found no place yet, of a copy that the promise binds.
    held: VecDeque<Chunk>,
}

impl<O: Output> FanOut<O> {
    pub(super) fn new(primary: O, promise: DeliveryGuarantee, copies: &[Arc<Copy>]) -> Self {
        let receiver = |copy: &Arc<Copy>| Receiver {
            copy: Arc::clone(copy),
            held: VecDeque::new(),
        };
        Self {
            primary,
            promise,
            copies: copies.iter().map(receiver).collect(),
            is_offered: false,
        }
    }
}

impl<O: Output> Output for FanOut<O> {
    /// Copies come first: they do not wait for a disk that hangs. That one of them is full is said
    /// by [`tick`](Output::tick), when these lines are written: so the queue counts them as written,
    /// and they do not come again.
    fn write(&mut self, lines: &str) -> io::Result<()> {
        if !self.is_offered && !self.copies.is_empty() {
            for chunk in Chunk::split(lines) {
                for receiver in &mut self.copies {
                    receiver.offer(&chunk);
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
        if self.promise != DeliveryGuarantee::Durable {
            return Ok(());
        }
        let deadline = Instant::now() + DELIVERED_WITHIN;
        let late = self
            .copies
            .iter()
            .find(|receiver| receiver.is_bound() && !receiver.copy.wait_until_delivered(deadline));
        late.map_or(Ok(()), |late| Err(late.error("is not delivered in time")))
    }

    fn give_up(&mut self) {
        self.is_offered = false;
        self.primary.give_up();
    }

    fn tick(&mut self) -> io::Result<()> {
        self.primary.tick()?;
        let mut result = Ok(());
        for receiver in &mut self.copies {
            if !receiver.offer_held() {
                result = Err(receiver.error("has no place left in its queue"));
            }
        }
        result
    }

    fn close(&mut self) -> io::Result<()> {
        let closed = self.primary.close();
        for receiver in &mut self.copies {
            for chunk in receiver.held.drain(..) {
                receiver.copy.offer_or_lose(&chunk);
            }
        }
        // All of them at once, whatever each of them needs.
        for receiver in &self.copies {
            receiver.copy.tell_the_end();
        }
        let deadline = Instant::now() + END_WITHIN;
        for receiver in &self.copies {
            receiver.copy.end(deadline);
        }
        closed
    }
}

impl Receiver {
    fn is_bound(&self) -> bool {
        self.copy.bound == Bound::Promised
    }

    fn offer(&mut self, chunk: &Chunk) {
        if !self.is_bound() {
            self.copy.offer_or_lose(chunk);
        } else if !self.held.is_empty() || !self.copy.offer(chunk) {
            self.held.push_back(chunk.clone());
        }
    }

    /// Whether nothing is left over.
    fn offer_held(&mut self) -> bool {
        while let Some(chunk) = self.held.front() {
            if !self.copy.offer(chunk) {
                return false;
            }
            self.held.pop_front();
        }
        true
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("the copy `{}` {what}", self.copy.name))
    }
}
