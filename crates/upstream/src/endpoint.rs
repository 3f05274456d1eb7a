//! One address of a server: its requests in flight, its health and its idle connections.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::http1::IdleConnections;
use crate::server::Server;
use crate::transport::{Address, Transport};

/// So many attempts to connect fail in a row until the address gets no more requests. An attempt that
/// was not answered in time counts for all of them.
const FAILURES: u32 = 3;

/// One address of a server. All workers share it, except for the idle connections.
///
/// Only failures to connect take it out, and failed health checks. A caller can cause any other
/// failure with what it sends, and could take the servers out for everyone.
pub(crate) struct Endpoint<B> {
    server: Arc<Server>,
    address: Address,
    /// It is used when no address of the server's first family can be (RFC 8305 §4): a name often has
    /// addresses of both families and a server that listens on one of them.
    is_fallback: AtomicBool,
    in_flight: AtomicUsize,
    connect_failures: AtomicU32,
    is_ejected: AtomicBool,
    failed_checks: AtomicU32,
    /// The name no longer resolves to it.
    is_removed: AtomicBool,
    /// Idle HTTP/1.1 connections, for each worker. Only that worker takes this lock.
    idle: Box<[Mutex<IdleConnections<B>>]>,
}

impl<B> Endpoint<B> {
    pub(crate) fn new(server: Arc<Server>, address: Address, workers: usize) -> Self {
        Self {
            server,
            address,
            is_fallback: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            connect_failures: AtomicU32::new(0),
            is_ejected: AtomicBool::new(false),
            failed_checks: AtomicU32::new(0),
            is_removed: AtomicBool::new(false),
            idle: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn is_available(&self) -> bool {
        !self.is_ejected.load(Ordering::Relaxed)
            && self.failed_checks.load(Ordering::Relaxed) < crate::health::FAILURES
    }

    pub(crate) fn is_fallback(&self) -> bool {
        self.is_fallback.load(Ordering::Relaxed)
    }

    pub(crate) fn set_fallback(&self, is_fallback: bool) {
        self.is_fallback.store(is_fallback, Ordering::Relaxed);
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// It gets no more requests. Those in flight end as they would.
    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// The idle connections of one worker.
    pub(crate) fn idle(&self, worker: usize) -> MutexGuard<'_, IdleConnections<B>> {
        let shard = &self.idle[worker % self.idle.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self) {
        self.server.counters.connects.increment();
        self.connect_failures.store(0, Ordering::Relaxed);
    }

    /// Counts a health check.
    pub(crate) fn checked(&self, failure: Option<&str>) {
        use crate::health::FAILURES;
        let (server, address) = (&self.server, &self.address);
        match failure {
            None => {
                if self.failed_checks.swap(0, Ordering::Relaxed) >= FAILURES {
                    tracing::info!(%server, %address, "the address passes its health check again");
                }
            }
            Some(reason) => {
                self.server.counters.failed_checks.increment();
                let failed = self.failed_checks.fetch_add(1, Ordering::Relaxed) + 1;
                if failed == FAILURES {
                    tracing::warn!(%server, %address, reason, "the address fails its health check; it gets no requests");
                }
            }
        }
    }
}

impl<B: Send + 'static> Endpoint<B> {
    /// An attempt to connect failed. After a few, the address is out until `probe_every` later a
    /// connection succeeds.
    pub(crate) fn connect_failed(self: &Arc<Self>, error: &io::Error, limit: Duration) {
        self.server.counters.connect_failures.increment();
        let by = match error.kind() {
            io::ErrorKind::TimedOut => FAILURES,
            _ => 1,
        };
        let failures = self.connect_failures.fetch_add(by, Ordering::Relaxed) + by;
        if failures < FAILURES || self.is_ejected.swap(true, Ordering::Relaxed) {
            return;
        }
        self.server.counters.ejections.increment();
        let (server, address) = (&self.server, &self.address);
        tracing::warn!(%server, %address, %error, "connections to the address fail; it gets no requests until one succeeds");
        tokio::spawn(probe(Arc::downgrade(self), limit));
    }

    fn readmit(&self) {
        self.connect_failures.store(0, Ordering::Relaxed);
        self.is_ejected.store(false, Ordering::Relaxed);
        let (server, address) = (&self.server, &self.address);
        tracing::info!(%server, %address, "the address accepts connections again");
    }
}

/// Connects every second until it succeeds, so that no request has to try.
async fn probe<B: Send + 'static>(endpoint: std::sync::Weak<Endpoint<B>>, limit: Duration) {
    let mut every = interval(crate::upstream::PROBE_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        let Some((address, server)) = endpoint
            .upgrade()
            .filter(|endpoint| !endpoint.is_removed())
            .map(|endpoint| (endpoint.address.clone(), Arc::clone(&endpoint.server)))
        else {
            return;
        };
        let connecting = Transport::open(&address, &server, server.alpn(false, false));
        if let Ok(Ok(_)) = tokio::time::timeout(limit, connecting).await {
            if let Some(endpoint) = endpoint.upgrade() {
                endpoint.readmit();
            }
            return;
        }
    }
}

impl<B> fmt::Debug for Endpoint<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A request or tunnel in flight. It counts until it is dropped.
pub struct InFlight<B> {
    endpoint: Arc<Endpoint<B>>,
}

impl<B> InFlight<B> {
    pub(crate) fn new(endpoint: Arc<Endpoint<B>>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint<B>> {
        &self.endpoint
    }
}

impl<B> Drop for InFlight<B> {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<B> fmt::Debug for InFlight<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

/// When a connection was opened, and how old it may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    until: Option<Instant>,
}

impl Age {
    /// Ends some connections up to a tenth earlier, so that those that were opened together do not end
    /// together.
    pub(crate) fn new(longest: Option<Duration>) -> Self {
        let until = longest.map(|longest| {
            let earlier = longest.mul_f64(0.1 * fastrand::f64());
            Instant::now() + (longest - earlier)
        });
        Self { until }
    }

    /// Whether the connection takes no more requests.
    pub(crate) fn is_over(self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}
