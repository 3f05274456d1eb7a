//! Limits of one process.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::counters::{Counters, Share};
use super::decision::{AcquireFuture, Decision, Granted, LimitExceeded};
use super::lease::Lease;
use super::local_queue::{Abandoned, Answer, LocalQueue};
use super::remaining::Remaining;
use super::request::AcquireRequest;
use super::store::{LimitStore, StoreStatus};
use super::wait::{WaitPermission, WaitPlace};

/// Longer than the lifetime of any process, and short enough for calculations without overflow.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The counters and the wait queue of a process. Cloning shares them.
///
/// One lock guards both. It is held for a few look-ups, never across an await, and not taken for a
/// request without limits.
#[derive(Clone)]
pub struct LocalStore(Arc<Shared>);

struct Shared {
    clock: fn() -> Instant,
    /// All times are measured from here.
    epoch: Instant,
    state: Mutex<State>,
    waits: Option<Waits>,
    /// Whether rates are taken here, and not in a shared store.
    takes_rates: bool,
}

struct State {
    counters: Counters,
    queue: LocalQueue,
}

/// How long a request may wait.
struct Waits {
    longest: Duration,
    /// Tells the timer thread that a request waits. One message at a time is enough.
    arrived: SyncSender<()>,
}

/// The answer to a request that is not refused at once.
pub(crate) enum Begun {
    Now(InFlight, Remaining),
    Waits(Waiting),
}

impl LocalStore {
    /// A store without a wait queue. `takes_rates` is false if a shared store takes from the rates.
    #[must_use]
    pub fn new(takes_rates: bool) -> Self {
        let queue = LocalQueue::new(0);
        Self(Arc::new(Shared::new(
            takes_rates,
            queue,
            None,
            Instant::now,
        )))
    }

    /// A store in which at most `places` requests wait, each for at most `longest`.
    ///
    /// # Errors
    ///
    /// When the timer thread cannot be started.
    pub fn with_queue(takes_rates: bool, places: usize, longest: Duration) -> io::Result<Self> {
        let (arrived, arrivals) = sync_channel(1);
        let longest = longest.min(CENTURY);
        let waits = Waits { longest, arrived };
        let queue = LocalQueue::new(places);
        let shared = Arc::new(Shared::new(takes_rates, queue, Some(waits), Instant::now));
        let watched = Arc::downgrade(&shared);
        thread::Builder::new()
            .name("voxgate-queue".to_owned())
            .spawn(move || time_out(&arrivals, &watched))?;
        Ok(Self(shared))
    }

    /// A store of a simulation: it runs by this clock, and has no timer thread. The simulation calls
    /// [`time_out`](Self::time_out) in its place.
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(
        takes_rates: bool,
        queue: Option<(usize, Duration)>,
        clock: fn() -> Instant,
    ) -> Self {
        let places = queue.map_or(0, |(places, _)| places);
        let waits = queue.map(|(_, longest)| Waits {
            longest: longest.min(CENTURY),
            arrived: sync_channel(1).0,
        });
        let queue = LocalQueue::new(places);
        Self(Arc::new(Shared::new(takes_rates, queue, waits, clock)))
    }

    /// Starts a request, or puts it into the wait queue, or returns the limit that refuses it.
    pub(crate) fn begin(&self, request: &AcquireRequest) -> Result<Begun, LimitExceeded> {
        let now = self.0.now();
        let mut state = self.0.state();
        let State { counters, queue } = &mut *state;
        // A request never overtakes those of its own key.
        let exceeded = match queue.exceeded_by_key_of(request) {
            Some(exceeded) => exceeded,
            None => match self.0.begin(counters, request, now) {
                Ok(remaining) => return Ok(Begun::Now(self.in_flight(request), remaining)),
                Err(exceeded) => exceeded,
            },
        };
        let Some(waits) = self.0.waits.as_ref().filter(|_| exceeded.can_wait()) else {
            return Err(exceeded);
        };
        // The request would exceed its rate even with a permit.
        if self.0.takes_rates
            && let Some(exceeded) = counters.exceeded_rate(request, now)
        {
            return Err(exceeded);
        }
        let mut wake = Vec::new();
        let entered = queue.enter(request.clone(), exceeded, now, &mut wake);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        let number = entered.ok_or(exceeded)?;
        // If the thread is not listening yet, it finds the message later.
        let _ = waits.arrived.try_send(());
        Ok(Begun::Waits(Waiting {
            store: self.clone(),
            request: request.clone(),
            number,
        }))
    }

    /// Checks a request that is in flight here against the share of one of `replicas` replicas.
    /// Takes from the rates if they allow it.
    ///
    /// # Errors
    ///
    /// The limit that the request exceeds.
    pub fn confirm(
        &self,
        request: &AcquireRequest,
        replicas: u32,
    ) -> Result<Remaining, LimitExceeded> {
        let now = self.0.now();
        let share = Share::one_of(replicas);
        self.0.state().counters.confirm(request, share, now)
    }

    /// Permission to wait in a shared store, in a place of the wait queue here, for the rest of the
    /// time that a request may wait. A request that has waited here keeps its place. `None` without
    /// a wait queue.
    #[must_use]
    pub fn wait_elsewhere(&self, waited: Option<Duration>) -> Option<WaitPermission> {
        let longest = self.0.waits.as_ref()?.longest;
        let deadline = (self.0.clock)() + longest.saturating_sub(waited.unwrap_or_default());
        let store = self.clone();
        Some(WaitPermission::new(deadline, move || {
            let reserved = store.0.state().queue.reserve_elsewhere(waited.is_some());
            reserved.then(|| WaitPlace::new(PlaceElsewhere(store)))
        }))
    }

    /// Returns how many requests in flight count towards the upstream's limit, and how many wait.
    #[must_use]
    pub fn usage(&self) -> (u32, usize) {
        let state = self.0.state();
        (state.counters.upstream_in_flight(), state.queue.len())
    }

    /// Refuses requests that have waited too long. All requests may wait equally long, so they time
    /// out in the order of their arrival. Returns the time until the next timeout, or `None` if no
    /// request waits.
    #[doc(hidden)]
    pub fn time_out(&self) -> Option<Duration> {
        let longest = self.0.waits.as_ref()?.longest;
        let now = self.0.now();
        let mut next = None;
        self.change(|state, wake| {
            while let Some((number, since)) = state.queue.oldest() {
                let until = since + longest;
                if until > now {
                    next = Some(until - now);
                    return;
                }
                state.queue.refuse(number, now, wake);
            }
        });
        next
    }

    fn in_flight(&self, request: &AcquireRequest) -> InFlight {
        InFlight {
            store: self.clone(),
            request: request.clone(),
        }
    }

    /// Changes the state, and starts the requests that may start then.
    fn change(&self, change: impl FnOnce(&mut State, &mut Vec<Waker>)) {
        let mut wake = Vec::new();
        let mut state = self.0.state();
        change(&mut state, &mut wake);
        let State { counters, queue } = &mut *state;
        if queue.len() > 0 {
            let now = self.0.now();
            queue.serve(
                now,
                |request| self.0.begin(counters, request, now),
                &mut wake,
            );
        }
        drop(state);
        // A task that is woken may come back at once and take the lock.
        wake.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore")
            .field("takes_rates", &self.0.takes_rates)
            .finish_non_exhaustive()
    }
}

impl LimitStore for LocalStore {
    /// Requests wait in this store's own queue, so `wait` is not used.
    fn acquire(&self, request: &AcquireRequest, _wait: Option<WaitPermission>) -> AcquireFuture {
        match self.begin(request) {
            Ok(Begun::Now(in_flight, remaining)) => {
                let granted = Granted::new(Lease::new(in_flight), remaining);
                AcquireFuture::ready(Decision::new(Ok(granted)))
            }
            Ok(Begun::Waits(waiting)) => AcquireFuture::pending(async {
                let (answer, waited) = waiting.await;
                let granted = answer
                    .map(|(in_flight, remaining)| Granted::new(Lease::new(in_flight), remaining));
                Decision::new(granted.map_err(Into::into)).after(Some(waited))
            }),
            Err(exceeded) => AcquireFuture::ready(Decision::new(Err(exceeded.into()))),
        }
    }

    fn hold(&self, request: &AcquireRequest) -> Lease {
        let now = self.0.now();
        self.0.state().counters.hold(request, now);
        Lease::new(self.in_flight(request))
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    fn shutdown(&self, _timeout: Duration) {}
}

impl Shared {
    fn new(
        takes_rates: bool,
        queue: LocalQueue,
        waits: Option<Waits>,
        clock: fn() -> Instant,
    ) -> Self {
        let counters = Counters::new();
        Self {
            clock,
            epoch: clock(),
            state: Mutex::new(State { counters, queue }),
            waits,
            takes_rates,
        }
    }

    fn now(&self) -> Duration {
        (self.clock)().saturating_duration_since(self.epoch)
    }

    fn begin(&self, counters: &mut Counters, request: &AcquireRequest, now: Duration) -> Answer {
        if self.takes_rates {
            counters.begin(request, now)
        } else {
            let begun = counters.begin_without_rates(request, now);
            begun.map(|()| Remaining::default())
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Code that holds the lock does not panic, so the state is always consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends waits that have timed out, for as long as the store exists.
fn time_out(arrivals: &Receiver<()>, shared: &Weak<Shared>) {
    while arrivals.recv().is_ok() {
        while let Some(next) = shared.upgrade().and_then(|it| LocalStore(it).time_out()) {
            thread::sleep(next);
        }
    }
}

/// A request that is in flight until this is dropped.
pub(crate) struct InFlight {
    store: LocalStore,
    request: AcquireRequest,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.store
            .change(|state, _| state.counters.end(&self.request));
    }
}

/// A place of the wait queue for a request that waits in a shared store, until it is dropped.
struct PlaceElsewhere(LocalStore);

impl Drop for PlaceElsewhere {
    fn drop(&mut self) {
        self.0.0.state().queue.release_elsewhere();
    }
}

/// A request that waits for a concurrency permit. Resolves to the decision, and to how long the
/// request waited.
///
/// # Cancel safety
///
/// Dropping it gives back its place, and the permit that it may have received meanwhile.
pub(crate) struct Waiting {
    store: LocalStore,
    request: AcquireRequest,
    number: u64,
}

impl Future for Waiting {
    type Output = (Result<(InFlight, Remaining), LimitExceeded>, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Wakers run foreign code, so they are cloned and dropped without the lock.
        let mut waker = Some(cx.waker().clone());
        let polled = self.store.0.state().queue.poll(self.number, &mut waker);
        let Some((answer, waited)) = polled else {
            return Poll::Pending;
        };
        let begun = answer.map(|remaining| (self.store.in_flight(&self.request), remaining));
        Poll::Ready((begun, waited))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut abandoned = Abandoned::default();
        self.store.change(|state, _| {
            abandoned = state.queue.leave(self.number);
            if let Some(begun) = &abandoned.begun {
                state.counters.end(begun);
            }
        });
    }
}

#[cfg(test)]
#[path = "local_store_tests.rs"]
mod tests;
