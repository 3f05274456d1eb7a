//! Against a real server.

mod deciding;
mod failing;
mod late;
mod leases;
mod logs;
mod server;
mod waiting;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::*;
use crate::limit::Rate;
use crate::secret::Secret;

use self::server::Server;

/// More than any test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any answer takes.
const DEADLINE: Duration = Duration::from_secs(10);

fn options(server: &Server) -> SharedOptions {
    SharedOptions {
        deadline: DEADLINE,
        ..SharedOptions::new(Secret::new(&server.url()).expect("a URL"))
    }
}

/// Leave to wait until then. There is always a place.
fn until_then(until: Instant) -> Wait {
    in_lane("", until)
}

fn in_lane(lane: &str, until: Instant) -> Wait {
    Wait {
        until,
        lane: lane.into(),
        enter: Box::new(|| Some(Box::new(()))),
    }
}

/// Limits on this server, in use.
fn started(server: &Server) -> SharedLimits {
    started_with(options(server))
}

fn started_with(options: SharedOptions) -> SharedLimits {
    let limits = SharedLimits::start(options).expect("started");
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

/// No runtime at all.
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

/// Whether it has its answer already.
fn is_ready(asking: &mut Asking) -> bool {
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

fn key(id: &str, limits: Limits) -> Demand<'_> {
    Demand {
        holder: Holder::Key(id),
        limits,
    }
}

fn account(id: &str, limits: Limits) -> Demand<'_> {
    Demand {
        holder: Holder::Account(id),
        limits,
    }
}

fn upstream(limits: Limits) -> Demand<'static> {
    Demand {
        holder: Holder::Upstream,
        limits,
    }
}

impl SharedLimits {
    /// Asks, and waits for an answer of Redis.
    #[track_caller]
    fn decide(&self, demands: &[Demand<'_>]) -> Result<Lease, Hit> {
        block_on(self.ask(demands, None)).expect("an answer")
    }

    /// How many of so many questions at once are granted. Nothing stays held.
    fn grants(&self, count: usize, demands: &[Demand<'_>]) -> usize {
        let asked: Vec<_> = (0..count).map(|_| self.ask(demands, None)).collect();
        let told: Vec<_> = asked
            .into_iter()
            .map(|asking| block_on(asking).expect("an answer"))
            .collect();
        told.iter().filter(|told| told.is_ok()).count()
    }
}
