//! Tracks and logs whether Redis is available.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::sleep_until;

use crate::address::Address;
use crate::breaker::Breaker;
use crate::gauges::Gauges;
use crate::jitter::random;
use crate::redis_error::RedisError;

/// The breaker with its effects: gauges, log lines and the tasks that wait for a change.
pub(crate) struct Health {
    address: Address,
    gauges: Arc<Gauges>,
    breaker: RefCell<Breaker>,
    /// The breaker or the connection has changed.
    changed: Notify,
    /// The error that was logged last.
    logged: RefCell<Option<RedisError>>,
}

impl Health {
    pub(crate) fn new(address: Address, gauges: Arc<Gauges>) -> Self {
        Self {
            address,
            gauges,
            breaker: RefCell::new(Breaker::new()),
            changed: Notify::new(),
            logged: RefCell::default(),
        }
    }

    pub(crate) fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// Whether the breaker is open, so that Redis is not asked.
    pub(crate) fn is_open(&self) -> bool {
        self.gauges.is_open()
    }

    /// Completes at the next change.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// A command was answered in time.
    pub(crate) fn succeed(&self) {
        self.breaker.borrow_mut().succeed();
    }

    /// A command failed.
    pub(crate) fn fail(&self, error: RedisError) {
        self.gauges.count_failure();
        let opens = self.breaker.borrow_mut().fail(Instant::now(), random());
        if opens {
            self.open(error);
        }
    }

    /// Redis is unavailable for now.
    pub(crate) fn trip(&self, error: RedisError) {
        self.gauges.count_failure();
        self.breaker.borrow_mut().trip(Instant::now(), random());
        self.open(error);
    }

    fn open(&self, error: RedisError) {
        self.gauges.set_open(true);
        self.changed.notify_waiters();
        if self.logged.borrow().as_ref() != Some(&error) {
            let redis = &self.address;
            tracing::warn!(
                ?redis,
                "Redis is unavailable, so limits are not shared: {error}"
            );
            self.logged.replace(Some(error));
        }
    }

    /// Redis answers.
    pub(crate) fn close(&self) {
        self.breaker.borrow_mut().close();
        self.gauges.set_open(false);
        self.changed.notify_waiters();
    }

    /// Redis has been available for a while. The log line is written only now, so that an unstable
    /// Redis does not fill the log.
    pub(crate) fn settle(&self) {
        self.breaker.borrow_mut().settle();
        if self.logged.take().is_some() {
            let redis = &self.address;
            tracing::info!(?redis, "Redis is available again, and limits are shared");
        }
    }

    /// Waits until the breaker has opened.
    pub(crate) async fn opened(&self) {
        loop {
            let changed = self.changed();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a probe is due. Returns at once while the breaker is closed.
    pub(crate) async fn pause(&self) {
        loop {
            let Some(at) = self.breaker.borrow().probe_at() else {
                return;
            };
            sleep_until(at.into()).await;
            self.breaker.borrow_mut().begin_probe(Instant::now());
        }
    }
}
