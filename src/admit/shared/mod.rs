//! Limits that hold across replicas, by way of Redis or Valkey.
//!
//! One thread of its own talks to Redis, on one connection, on which all questions are asked at
//! once. Whoever asks needs no runtime: an answer comes within the deadline whatever Redis does,
//! and at once while it is known not to answer.
//!
//! A slot that limits concurrency is a [`Lease`]: it is renewed while it is held, given back when
//! it is dropped, and expires by itself if its gateway is gone. Redis may lose its data: what is held
//! is put back then, before this gateway asks anything else. Other gateways may have been quicker;
//! for as long as they were, more may be in flight than the limit says.

mod address;
mod asking;
mod breaker;
mod call;
mod connection;
mod dice;
mod engine;
mod gauges;
mod health;
mod held;
mod keeper;
mod keys;
mod lease;
mod options;
mod question;
mod script;
mod tls;
mod trouble;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::ConfigError;
use crate::limit::Limits;

pub(crate) use self::asking::Asking;
pub(crate) use self::lease::Lease;
pub use self::options::SharedOptions;
pub(crate) use self::question::Wait;

use self::call::Call;
use self::engine::Engine;
use self::gauges::Gauges;
use self::keys::Keys;
use self::question::{Message, Outbox, Question};

/// Questions that may be unanswered at a time, those that wait for a slot not counted.
const UNANSWERED: usize = 4096;

/// Whom a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder<'a> {
    /// A key, by its id.
    Key(&'a str),
    /// An account, by its name.
    Account(&'a str),
    /// All requests to the upstream together.
    Upstream,
}

/// One request of a holder that is limited. A question holds at most one demand a holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    /// Whose request it is.
    pub(crate) holder: Holder<'a>,
    /// What it must keep to. Without a burst, as many requests as the rate has may begin at once.
    pub(crate) limits: Limits,
}

/// The limit that refused a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Which of the demands, by index.
    pub(crate) demand: usize,
    /// Which limit of it.
    pub(crate) what: What,
    /// When the rates would allow it. `None` if only a slot is missing: nobody knows when it comes.
    pub(crate) retry_after: Option<Duration>,
    /// How the rates stand, one for each demand that has one.
    pub(crate) quotas: Vec<Option<Quota>>,
}

/// A kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// How often a request may begin.
    Rate,
    /// How many may be in flight.
    Concurrency,
}

/// How a rate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How many requests it lets through at once when it is unused.
    pub(crate) limit: u64,
    /// How many of them are left.
    pub(crate) remaining: u64,
    /// When all of them are.
    pub(crate) full_in: Duration,
}

/// Redis did not answer in time, or as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared limits cannot be asked")
    }
}

impl std::error::Error for Unavailable {}

/// The limits that all replicas share. Clones are one; with the last of them, and the last lease,
/// their thread ends.
#[derive(Clone)]
pub(crate) struct SharedLimits {
    keys: Keys,
    outbox: Outbox,
    places: Arc<Semaphore>,
    gauges: Arc<Gauges>,
    shown: Arc<str>,
}

impl SharedLimits {
    /// Starts the thread. Does not wait for a connection.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, each by the field's name, or that there is no thread to be
    /// had.
    pub(crate) fn start(options: SharedOptions) -> Result<Self, ConfigError> {
        let settings = options.check()?;
        let shown = format!("{:?}", settings.address).into();
        let keys = settings.keys.clone();
        let gauges = Arc::new(Gauges::default());
        let (outbox, inbox) = mpsc::unbounded_channel();
        Engine::start(settings, Arc::clone(&gauges), inbox)?;
        Ok(Self {
            keys,
            outbox,
            places: Arc::new(Semaphore::new(UNANSWERED)),
            gauges,
            shown,
        })
    }

    /// Asks whether all of these demands can be met, and takes what they ask for if so: a slot of
    /// each concurrency, a request of each rate. Otherwise nothing is taken.
    ///
    /// With `wait` a question for which only a slot is missing waits for one, in its order among
    /// those who wait here for the same.
    ///
    /// The future may be dropped at any time: what was granted to it is given back then.
    pub(crate) fn ask(&self, demands: &[Demand<'_>], wait: Option<Wait>) -> Asking {
        let call = Call::new(&self.keys, demands);
        if call.is_empty() {
            return Asking::ready(Ok(Ok(Lease::of_nothing(call.no_quotas()))));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let Some(place) = place.filter(|_| !self.gauges.is_open()) else {
            return Asking::ready(Err(Unavailable));
        };
        let (answer, told) = oneshot::channel();
        let question = Question {
            call: Arc::new(call),
            asked: Instant::now(),
            wait,
            answer,
            outbox: self.outbox.clone(),
            place,
        };
        match self.outbox.send(Message::Ask(question)) {
            Ok(()) => Asking::told(told),
            Err(_) => Asking::ready(Err(Unavailable)),
        }
    }

    /// Takes the slots of these demands without asking: what is in flight already, whatever the
    /// limits say. Redis learns of it with the next heartbeat.
    pub(crate) fn hold(&self, demands: &[Demand<'_>]) -> Lease {
        let call = Call::new(&self.keys, demands);
        let quotas = call.no_quotas();
        if call.slots().next().is_none() {
            return Lease::of_nothing(quotas);
        }
        let lease = self.gauges.next_unasked();
        // Without the thread there is nobody to tell.
        let _ = self.outbox.send(Message::Hold(lease, Arc::new(call)));
        Lease::of(lease, self.outbox.clone(), quotas)
    }

    /// Gives back what is not held any more, and takes leave of the others; waits for so long at
    /// most. Nothing can be asked afterwards.
    pub(crate) fn finish(&self, patience: Duration) {
        let (told, done) = std::sync::mpsc::channel();
        if self.outbox.send(Message::Finish(told)).is_ok() {
            // Told by letting go of it.
            let _ = done.recv_timeout(patience);
        }
    }

    /// How many gateways share the limits: those heard of in the time of a lease, this one at
    /// least. While Redis is away, as many as there were.
    pub(crate) fn replicas(&self) -> u32 {
        self.gauges.replicas()
    }

    /// Whether questions are asked.
    pub(crate) fn is_up(&self) -> bool {
        self.gauges.is_up()
    }

    /// How often Redis failed: by question, by heartbeat, by connection.
    pub(crate) fn failures(&self) -> u64 {
        self.gauges.failures()
    }
}

impl fmt::Debug for SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimits")
            .field("redis", &self.shown)
            .field("keys", &self.keys)
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
