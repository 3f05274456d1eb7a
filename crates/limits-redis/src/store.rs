//! The limit store for Redis and Valkey.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use voxgate::ConfigError;
use voxgate::rate_limit::{
    AcquireError, AcquireFuture, AcquireRequest, Decision, Granted, Lease, LimitStore, Remaining,
    StoreStatus, WaitPermission,
};

use crate::clock::now;
use crate::command::EncodedCommand;
use crate::engine;
use crate::gauges::Gauges;
use crate::keys::Keys;
use crate::lease::RedisLease;
use crate::message::{Message, Outbox, QuotaRequest, Request};
use crate::options::{Config, RedisOptions};

/// Maximum number of unanswered requests, without requests that wait for a slot.
const UNANSWERED: usize = 4096;

/// Limits that all replicas share, in Redis or Valkey. Clones are one store; its thread ends with
/// the last clone and the last lease.
///
/// One thread with a runtime of its own talks to Redis, on one connection. A request needs no
/// runtime: it is answered within the deadline of [`RedisOptions`], and at once while Redis is
/// known to be unavailable.
///
/// A concurrency permit is a lease in Redis: heartbeats renew it while the request holds it, the
/// store releases it when the request ends, and it expires if its process fails. If Redis loses its
/// data, the store puts its leases back before it sends any other command. Another replica may have
/// taken the slots before. Until those requests end, more requests may be in flight than the limit
/// allows.
///
/// ```no_run
/// use voxgate::{Limiter, Secret};
/// use voxgate_limits_redis::{RedisOptions, RedisStore};
///
/// let url = Secret::new("rediss://:password@redis.example:6379/0")?;
/// let store = RedisStore::start(RedisOptions::new(url))?;
/// let limiter = Limiter::builder().with_store(store).build()?;
/// # let _ = limiter;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    keys: Keys,
    outbox: Outbox,
    unanswered: Arc<Semaphore>,
    gauges: Arc<Gauges>,
    deadline: Duration,
    address: Arc<str>,
}

impl RedisStore {
    /// Starts the thread. Does not wait for a connection.
    ///
    /// # Errors
    ///
    /// All problems of the options, each with the name of its field, or a thread that cannot be
    /// started.
    pub fn start(options: RedisOptions) -> Result<Self, ConfigError> {
        let config = options.check()?;
        let (store, inbox) = Self::new(&config);
        engine::start(config, Arc::clone(&store.gauges), inbox)?;
        Ok(store)
    }
}

impl RedisStore {
    /// A store whose messages an engine must serve.
    pub(crate) fn new(config: &Config) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let store = Self {
            keys: config.keys.clone(),
            outbox,
            unanswered: Arc::new(Semaphore::new(UNANSWERED)),
            gauges: Arc::default(),
            deadline: config.deadline,
            address: format!("{:?}", config.address).into(),
        };
        (store, inbox)
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// Sends a change of quotas, unless Redis is known to be unavailable.
    pub(crate) fn send_quota(&self, request: QuotaRequest) -> bool {
        !self.gauges.is_open() && self.outbox.send(Message::Quota(request)).is_ok()
    }
}

impl LimitStore for RedisStore {
    fn acquire(&self, request: &AcquireRequest, wait: Option<WaitPermission>) -> AcquireFuture {
        let command = EncodedCommand::new(&self.keys, request);
        if command.is_empty() {
            let granted = Granted::new(Lease::empty(), Remaining::default());
            return AcquireFuture::ready(Decision::new(Ok(granted)));
        }
        let unavailable = || AcquireFuture::ready(Decision::new(Err(AcquireError::Unavailable)));
        let unanswered = Arc::clone(&self.unanswered).try_acquire_owned().ok();
        let Some(unanswered) = unanswered.filter(|_| !self.gauges.is_open()) else {
            return unavailable();
        };
        let (answer, answered) = oneshot::channel();
        let asked = now();
        let sent = self.outbox.send(Message::Acquire(Request {
            command: Arc::new(command),
            key: request.key().into(),
            asked,
            wait,
            answer,
            outbox: self.outbox.clone(),
            unanswered,
        }));
        if sent.is_err() {
            return unavailable();
        }
        let deadline = self.deadline;
        AcquireFuture::pending(async move {
            let result = answered.await.unwrap_or(Err(AcquireError::Unavailable));
            // A request that does not wait is answered within the deadline.
            let took = Some(now() - asked).filter(|took| *took > deadline);
            let is_unavailable = matches!(result, Err(AcquireError::Unavailable));
            Decision::new(result).after(took.filter(|_| !is_unavailable))
        })
    }

    fn hold(&self, request: &AcquireRequest) -> Lease {
        let command = EncodedCommand::new(&self.keys, request);
        if command.slots().next().is_none() {
            return Lease::empty();
        }
        let number = self.gauges.next_unasked();
        // The next heartbeat tells Redis. Without the thread there is no heartbeat.
        let _ = self.outbox.send(Message::Hold(number, Arc::new(command)));
        Lease::new(RedisLease::new(number, self.outbox.clone()))
    }

    fn status(&self) -> StoreStatus {
        self.gauges.status()
    }

    fn shutdown(&self, timeout: Duration) {
        let (done, is_done) = std::sync::mpsc::channel();
        if self.outbox.send(Message::Shutdown(done)).is_ok() {
            // The thread drops the sender when it has finished.
            let _ = is_done.recv_timeout(timeout);
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("redis", &self.address)
            .field("keys", &self.keys)
            .field("is_up", &self.status().is_up)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
