//! Limits within one process.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::ask::{Ask, Hit};
#[cfg(feature = "redis")]
use super::book::Share;
use super::book::{Book, Quotas};
use super::room::{Answer, Room, Ticket};
#[cfg(feature = "redis")]
use super::shared::Wait;

/// As good as for ever, and a time that can be reckoned with.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The counts of a process, and who waits. Cloning shares them.
///
/// One lock guards both. It is held for a few look-ups, never across an await, and not taken at all
/// for a request that nothing limits.
#[derive(Clone)]
pub(super) struct Local(Arc<Shared>);

struct Shared {
    /// All times are since then.
    epoch: Instant,
    state: Mutex<State>,
    wait: Option<Patience>,
    /// Whether rates are asked here, and not elsewhere.
    rated: bool,
}

struct State {
    book: Book,
    room: Room,
}

/// How long a place in the waiting room is kept.
struct Patience {
    longest: Duration,
    /// Tells the thread that watches the time that somebody waits. It has room for saying so once,
    /// however many come and leave.
    arrived: SyncSender<()>,
}

/// What a request is told at once.
pub(super) enum Begun {
    Now(Slot, Quotas),
    Waits(Waiting),
}

impl Local {
    pub(super) fn new(rated: bool) -> Self {
        Self(Arc::new(Shared::new(rated, Room::new(0), None)))
    }

    /// With so many places for those who wait.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(super) fn with_room(rated: bool, places: usize, longest: Duration) -> io::Result<Self> {
        let (arrived, told) = sync_channel(1);
        let longest = longest.min(CENTURY);
        let wait = Patience { longest, arrived };
        let shared = Arc::new(Shared::new(rated, Room::new(places), Some(wait)));
        let watched = Arc::downgrade(&shared);
        thread::Builder::new()
            .name("voxgate-queue".to_owned())
            .spawn(move || watch(&told, &watched))?;
        Ok(Self(shared))
    }

    /// Begins a request, or has it wait for a slot, or says which limit was hit.
    pub(super) fn begin(&self, ask: &Ask) -> Result<Begun, Hit> {
        let now = self.0.now();
        let mut state = self.0.state();
        let State { book, room } = &mut *state;
        // Nobody overtakes those of their own key.
        let hit = match room.hit_by(ask) {
            Some(hit) => hit,
            None => match self.0.begin(book, ask, now) {
                Ok(quotas) => return Ok(Begun::Now(self.slot(ask), quotas)),
                Err(hit) => hit,
            },
        };
        let Some(wait) = self.0.wait.as_ref().filter(|_| hit.is_for_a_slot()) else {
            return Err(hit);
        };
        // A slot would not help it.
        if let Some(hit) = book.hit_by_rate(ask, now).filter(|_| self.0.rated) {
            return Err(hit);
        }
        let mut wake = Vec::new();
        let place = room.enter(ask.clone(), hit, now, &mut wake);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        let id = place.ok_or(hit)?;
        // The thread lives as long as this does. If it has not listened yet, it will.
        let _ = wait.arrived.try_send(());
        Ok(Begun::Waits(Waiting {
            local: self.clone(),
            ask: ask.clone(),
            id,
        }))
    }

    /// Holds a request that is in flight to this share of the limits, rates included.
    #[cfg(feature = "redis")]
    pub(super) fn confirm(&self, slot: &Slot, share: Share) -> Result<Quotas, Hit> {
        let now = self.0.now();
        self.0.state().book.confirm(&slot.ask, share, now)
    }

    /// Leave to wait elsewhere, in a place of the waiting room here, which whoever has waited here
    /// still has; for as long as a request may that has waited so long. `None` where nobody waits.
    #[cfg(feature = "redis")]
    pub(super) fn leave_to_wait(&self, ask: &Ask, waited: Option<Duration>) -> Option<Wait> {
        let longest = self.0.wait.as_ref()?.longest;
        let local = self.clone();
        Some(Wait {
            lane: ask.key().into(),
            until: Instant::now() + longest.saturating_sub(waited.unwrap_or_default()),
            enter: Box::new(move || {
                let entered = local.0.state().room.enter_elsewhere(waited.is_some());
                entered.then(|| Box::new(Place(local)) as Box<dyn Send>)
            }),
        })
    }

    /// How many requests are in flight that the upstream's limit counts, and how many wait.
    pub(super) fn usage(&self) -> (u32, usize) {
        let state = self.0.state();
        (state.book.upstream_in_flight(), state.room.waiting())
    }

    /// Sends those away who have waited too long. All wait equally long, so that the first to come
    /// is the first to go: says in how long that is, or `None` if nobody waits.
    fn send_away(&self) -> Option<Duration> {
        let longest = self.0.wait.as_ref()?.longest;
        let now = self.0.now();
        let mut next = None;
        self.change(|state, wake| {
            while let Some((id, since)) = state.room.oldest() {
                let until = since + longest;
                if until > now {
                    next = Some(until - now);
                    return;
                }
                state.room.settle(id, None, now, wake);
            }
        });
        next
    }

    fn slot(&self, ask: &Ask) -> Slot {
        Slot {
            local: self.clone(),
            ask: ask.clone(),
        }
    }

    /// Changes something, and lets those begin who may then.
    fn change(&self, change: impl FnOnce(&mut State, &mut Vec<Waker>)) {
        let mut wake = Vec::new();
        let mut state = self.0.state();
        change(&mut state, &mut wake);
        let State { book, room } = &mut *state;
        if room.waiting() > 0 {
            let now = self.0.now();
            room.serve(now, |ask| self.0.begin(book, ask, now), &mut wake);
        }
        drop(state);
        // Whoever is woken may come back at once, and take the lock.
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    fn new(rated: bool, room: Room, wait: Option<Patience>) -> Self {
        let book = Book::new();
        Self {
            epoch: Instant::now(),
            state: Mutex::new(State { book, room }),
            wait,
            rated,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn begin(&self, book: &mut Book, ask: &Ask, now: Duration) -> Answer {
        if self.rated {
            book.begin(ask, now)
        } else {
            book.begin_unrated(ask, now).map(|()| Quotas::default())
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after those who wait, whenever somebody does.
fn watch(told: &Receiver<()>, shared: &Weak<Shared>) {
    while told.recv().is_ok() {
        while let Some(next) = shared.upgrade().and_then(|it| Local(it).send_away()) {
            thread::sleep(next);
        }
    }
}

/// A request that is in flight, until it is dropped.
pub(super) struct Slot {
    local: Local,
    ask: Ask,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.local.change(|state, _| state.book.end(&self.ask));
    }
}

/// A place in the waiting room, until it is dropped.
#[cfg(feature = "redis")]
struct Place(Local);

#[cfg(feature = "redis")]
impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.state().room.leave_elsewhere();
    }
}

/// A request that waits for a slot. Resolves to it and to how long it took, or to the limit that
/// was hit.
///
/// # Cancel safety
///
/// Dropping it gives its place up, and the slot that it may have got meanwhile.
pub(super) struct Waiting {
    local: Local,
    ask: Ask,
    id: u64,
}

impl Future for Waiting {
    type Output = (Result<(Slot, Quotas), Hit>, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Wakers are other people's code: they are made and dropped without the lock.
        let mut waker = Some(cx.waker().clone());
        let polled = self.local.0.state().room.poll(self.id, &mut waker);
        let Some((answer, waited)) = polled else {
            return Poll::Pending;
        };
        let slot = answer.map(|quotas| (self.local.slot(&self.ask), quotas));
        Poll::Ready((slot, waited))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut ticket = None;
        self.local.change(|state, _| {
            ticket = state.room.leave(self.id);
            if let Some(begun) = ticket.as_ref().and_then(Ticket::begun) {
                state.book.end(begun);
            }
        });
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
