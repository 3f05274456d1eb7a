//! Tests against a real server.

mod certificates;
mod cluster;
mod deciding;
mod failing;
mod failover;
mod fake;
mod late;
mod leases;
mod logins;
mod logs;
mod proxy;
mod quotas;
mod revoking;
mod sentinel;
mod server;
mod spending;
mod waiting;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use voxgate::rate_limit::Limit;
use voxgate::rate_limit::{LimitExceeded, LimitScope, RateRemaining, WaitPlace};
use voxgate::{Limits, Rate, Secret};

use super::*;

use self::server::Server;

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any answer takes.
const DEADLINE: Duration = Duration::from_secs(10);

fn options(server: &Server) -> RedisOptions {
    RedisOptions {
        deadline: DEADLINE,
        ..RedisOptions::new(Secret::new(&server.url()).expect("a URL"))
    }
}

/// Permission to wait until this time. A place is always available.
fn until_then(until: Instant) -> WaitPermission {
    WaitPermission::new(until, || Some(WaitPlace::new(())))
}

/// A store on this server that is available.
fn started(server: &Server) -> RedisStore {
    started_with(options(server))
}

fn started_with(options: RedisOptions) -> RedisStore {
    let limits = RedisStore::start(options).expect("started");
    until("it is up", || limits.is_up());
    limits
}

/// Waits for a condition.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks on a future without a runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Runs a future that may start tasks of its own.
fn local<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Whether the answer is available already.
fn is_ready(asking: &mut AcquireFuture) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(asking).poll(&mut context).is_ready()
}

fn rate(text: &str) -> Limits {
    Limits {
        rate: Some(Rate::parse(text).expect("a rate")),
        ..Limits::default()
    }
}

fn concurrency(most: u32) -> Limits {
    Limits {
        concurrency: NonZeroU32::new(most),
        ..Limits::default()
    }
}

fn key(id: &str, limits: Limits) -> AcquireRequest {
    AcquireRequest::new(id, limits)
}

fn account(id: &str, limits: Limits) -> AcquireRequest {
    key("some-key", Limits::default()).with_account(id, limits)
}

/// A request of a key without limits of its own.
fn upstream(most: u32) -> AcquireRequest {
    upstream_of("some-key", most)
}

fn upstream_of(id: &str, most: u32) -> AcquireRequest {
    of_all(key(id, Limits::default()), most)
}

/// The same request, and a limit of all callers together.
fn of_all(request: AcquireRequest, most: u32) -> AcquireRequest {
    request.with_upstream_concurrency(NonZeroU32::new(most).expect("a limit"))
}

/// The remaining rate.
fn rate_of(granted: &Granted, scope: LimitScope) -> RateRemaining {
    let remaining = granted.remaining.get(scope).expect("a scope");
    remaining.rate.expect("a rate")
}

/// The limit that refused a request.
#[track_caller]
fn refused(result: Result<Granted, AcquireError>) -> LimitExceeded {
    match result {
        Err(AcquireError::Exceeded(exceeded)) => exceeded,
        other => panic!("not refused: {other:?}"),
    }
}

impl RedisStore {
    fn ask(&self, request: &AcquireRequest, wait: Option<WaitPermission>) -> AcquireFuture {
        self.acquire(request, wait)
    }

    fn is_up(&self) -> bool {
        self.status().is_up
    }

    fn replicas(&self) -> u32 {
        self.status().replicas
    }

    fn failures(&self) -> u64 {
        self.status().failures
    }

    /// Acquires, and waits for the answer of Redis.
    #[track_caller]
    fn decide(&self, request: &AcquireRequest) -> Result<Granted, LimitExceeded> {
        match block_on(self.acquire(request, None)).result {
            Ok(granted) => Ok(granted),
            Err(AcquireError::Exceeded(exceeded)) => Err(exceeded),
            Err(error) => panic!("no answer: {error:?}"),
        }
    }

    /// Returns how many of `count` concurrent requests are granted. Releases all of them.
    fn grants(&self, count: usize, request: &AcquireRequest) -> usize {
        let asked: Vec<_> = (0..count).map(|_| self.acquire(request, None)).collect();
        let told: Vec<_> = asked
            .into_iter()
            .map(|asking| block_on(asking).result)
            .collect();
        let no_answer = |it: &Result<_, _>| matches!(it, Err(AcquireError::Unavailable));
        assert!(!told.iter().any(no_answer), "an answer");
        told.iter().filter(|told| told.is_ok()).count()
    }
}
