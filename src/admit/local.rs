//! Limits within one process.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
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
    /// Tells the thread that watches the time whom to send away, and when.
    overdue: Sender<(Instant, u64)>,
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
        let (overdue, told) = channel();
        let wait = Patience { longest, overdue };
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
        // The thread lives as long as this does.
        let _ = wait.overdue.send((Instant::now() + wait.longest, id));
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

    /// Leave to wait elsewhere, in a place of the waiting room here, for as long as a request may
    /// that has waited so long already; `None` where nobody waits.
    #[cfg(feature = "redis")]
    pub(super) fn leave_to_wait(&self, waited: Duration) -> Option<Wait> {
        let longest = self.0.wait.as_ref()?.longest;
        let local = self.clone();
        Some(Wait {
            until: Instant::now() + longest.saturating_sub(waited),
            enter: Box::new(move || {
                let entered = local.0.state().room.enter_elsewhere();
                entered.then(|| Box::new(Place(local)) as Box<dyn Send>)
            }),
        })
    }

    /// How many requests are in flight that the upstream's limit counts, and how many wait.
    pub(super) fn usage(&self) -> (u32, usize) {
        let state = self.0.state();
        (state.book.upstream_in_flight(), state.room.waiting())
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

/// Sends those away who have waited too long. All wait equally long, so that the first to come is
/// the first to go.
fn watch(told: &Receiver<(Instant, u64)>, shared: &Weak<Shared>) {
    while let Ok((deadline, id)) = told.recv() {
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = shared.now();
        Local(shared).change(|state, wake| state.room.settle(id, None, now, wake));
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
