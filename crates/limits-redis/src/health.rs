//! Tracks and logs whether Redis is available.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::sleep_until;

use crate::breaker::Breaker;
use crate::clock::now;
use crate::gauges::Gauges;
use crate::jitter::random;
use crate::redis_error::RedisError;

/// The state of all servers together.
pub(crate) struct Overall {
    gauges: Arc<Gauges>,
    /// A breaker, a connection or the servers have changed.
    changed: Notify,
    servers: Cell<usize>,
    open: Cell<usize>,
    connected: Cell<usize>,
    /// Whether no server is known, because none that could name them answers.
    is_unreachable: Cell<bool>,
}

impl Overall {
    pub(crate) fn new(gauges: Arc<Gauges>) -> Rc<Self> {
        Rc::new(Self {
            gauges,
            changed: Notify::new(),
            servers: Cell::default(),
            open: Cell::default(),
            connected: Cell::default(),
            is_unreachable: Cell::default(),
        })
    }

    pub(crate) fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// Completes at the next change.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.is_unreachable.get()
    }

    pub(crate) fn set_unreachable(&self, is_unreachable: bool) {
        self.is_unreachable.set(is_unreachable);
        self.publish();
    }

    /// Whether every server answers.
    pub(crate) fn is_up(&self) -> bool {
        self.servers.get() > 0 && self.open.get() == 0 && self.connected.get() == self.servers.get()
    }

    pub(crate) fn publish(&self) {
        self.gauges.set_up(self.is_up());
        self.gauges.set_open(match self.servers.get() {
            0 => self.is_unreachable.get(),
            servers => self.open.get() == servers,
        });
        self.changed.notify_waiters();
    }
}

/// The breaker of one server with its effects: gauges, log lines and the tasks that wait for a
/// change.
pub(crate) struct Health {
    /// Where the server is, without its password.
    redis: String,
    overall: Rc<Overall>,
    breaker: RefCell<Breaker>,
    is_open: Cell<bool>,
    is_connected: Cell<bool>,
    /// The error that was logged last.
    logged: RefCell<Option<RedisError>>,
}

impl Health {
    pub(crate) fn new(redis: String, overall: Rc<Overall>) -> Self {
        overall.servers.update(|servers| servers + 1);
        overall.publish();
        Self {
            redis,
            overall,
            breaker: RefCell::new(Breaker::new()),
            is_open: Cell::default(),
            is_connected: Cell::default(),
            logged: RefCell::default(),
        }
    }

    pub(crate) fn redis(&self) -> &str {
        &self.redis
    }

    /// Completes at the next change of any server.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.overall.changed()
    }

    /// Whether the breaker is open, so that this server is not asked.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    pub(crate) fn set_connected(&self, is_connected: bool) {
        set(&self.is_connected, is_connected, &self.overall.connected);
        self.overall.publish();
    }

    fn set_open(&self, is_open: bool) {
        set(&self.is_open, is_open, &self.overall.open);
        self.overall.publish();
    }

    /// A command was answered in time.
    pub(crate) fn succeed(&self) {
        self.breaker.borrow_mut().succeed();
    }

    /// A command failed.
    pub(crate) fn fail(&self, error: RedisError) {
        self.overall.gauges.count_failure();
        let opens = self.breaker.borrow_mut().fail(now(), random());
        if opens {
            self.open(error);
        }
    }

    /// Redis is unavailable for now.
    pub(crate) fn trip(&self, error: RedisError) {
        self.overall.gauges.count_failure();
        self.breaker.borrow_mut().trip(now(), random());
        self.open(error);
    }

    fn open(&self, error: RedisError) {
        self.set_open(true);
        if self.logged.borrow().as_ref() != Some(&error) {
            let redis = &*self.redis;
            tracing::warn!(
                redis,
                "Redis is unavailable, so limits are not shared: {error}"
            );
            self.logged.replace(Some(error));
        }
    }

    /// Redis answers.
    pub(crate) fn close(&self) {
        self.breaker.borrow_mut().close();
        self.set_open(false);
    }

    /// Redis has been available for a while. The log line is written only now, so that an unstable
    /// Redis does not fill the log.
    pub(crate) fn settle(&self) {
        self.breaker.borrow_mut().settle();
        if self.logged.take().is_some() {
            let redis = &*self.redis;
            tracing::info!(redis, "Redis is available again, and limits are shared");
        }
    }

    /// Waits until the breaker has opened.
    pub(crate) async fn opened(&self) {
        loop {
            let changed = self.overall.changed();
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
            self.breaker.borrow_mut().begin_probe(now());
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.overall.servers.update(|servers| servers - 1);
        set(&self.is_open, false, &self.overall.open);
        set(&self.is_connected, false, &self.overall.connected);
        self.overall.publish();
    }
}

/// Sets a flag, and counts it among those of all servers.
fn set(flag: &Cell<bool>, value: bool, count: &Cell<usize>) {
    match (flag.replace(value), value) {
        (false, true) => count.update(|count| count + 1),
        (true, false) => count.update(|count| count - 1),
        _ => {}
    }
}
