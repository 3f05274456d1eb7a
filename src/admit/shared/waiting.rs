//! Those who wait for a slot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::call::Call;
use super::dice::between;
use super::engine::Engine;
use super::question::{Answer, Ask, Enter, Outbox, Seat, Verdict};
use super::{Hit, Unavailable};

/// How often the first of a room asks again. What another gateway gives back is not told.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_millis(100);

/// A question that may wait.
pub(super) struct Waiter {
    pub(super) call: Arc<Call>,
    pub(super) until: Instant,
    pub(super) lane: Box<str>,
    /// Gives it a place, unless it has one.
    pub(super) enter: Option<Enter>,
    /// Its place, for as long as it is there.
    pub(super) seat: Option<Seat>,
    /// Who came earlier has a smaller one.
    pub(super) order: u64,
    /// What it was refused by last.
    pub(super) hit: Option<Hit>,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) outbox: Outbox,
}

/// A room for each holder whose slots are all taken.
#[derive(Default)]
pub(super) struct Rooms(HashMap<String, Room>);

///
/// Those of one lane are served in the order in which they came, and lanes take turns.
#[derive(Default)]
struct Room {
    waiting: BTreeMap<u64, Waiter>,
    /// How many of all were served when a lane was last; of lanes that wait.
    turns: HashMap<Box<str>, u64>,
    served: u64,
    /// A slot was given back here.
    wake: Rc<Notify>,
}

impl Rooms {
    /// The slots for which others wait already.
    pub(super) fn one_of(&self, call: &Call) -> Option<String> {
        let slots = call.slots().find(|slots| self.0.contains_key(*slots));
        slots.map(str::to_owned)
    }

    /// These slots were given back.
    pub(super) fn wake<'a>(&self, slots: impl Iterator<Item = &'a str>) {
        for slots in slots {
            if let Some(room) = self.0.get(slots) {
                room.wake.notify_one();
            }
        }
    }
}

impl Room {
    /// Sends those away who are not to wait any more. Says when to look again.
    fn sweep(&mut self, now: Instant) -> Option<Duration> {
        let waiting = self.waiting.iter();
        let over = waiting.filter(|(_, waiter)| waiter.is_over(now));
        for order in over.map(|(order, _)| *order).collect::<Vec<_>>() {
            if let Some(waiter) = self.waiting.remove(&order) {
                waiter.send_away();
            }
        }
        let next = self.waiting.values().map(|waiter| waiter.until).min()?;
        Some(between(SOONEST, LATEST).min(next - now))
    }

    /// Takes the first out: of the lane that was served longest ago, who came first.
    fn first(&mut self, now: Instant) -> Option<Waiter> {
        loop {
            let turn = |waiter: &Waiter| self.turns.get(&waiter.lane).copied();
            let next = self
                .waiting
                .iter()
                .min_by_key(|(order, it)| (turn(it), **order));
            let order = next.map(|(order, _)| *order)?;
            let first = self.waiting.remove(&order)?;
            if !first.is_over(now) {
                return Some(first);
            }
            first.send_away();
        }
    }

    /// One of this lane is served.
    fn serve(&mut self, lane: Box<str>) {
        self.served += 1;
        self.turns.insert(lane, self.served);
        if self.turns.len() > 2 * self.waiting.len() + 8 {
            let waits: HashSet<&str> = self.waiting.values().map(|it| &*it.lane).collect();
            self.turns.retain(|lane, _| waits.contains(&**lane));
        }
    }
}

impl Waiter {
    /// Its time is over, or it went by itself.
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now || self.answer.is_closed()
    }

    /// Tells it why it was refused.
    fn send_away(self) {
        let refused = self.hit.map(Err).ok_or(Unavailable);
        let _ = self.answer.send(refused);
    }
}

impl Engine {
    /// Answers, or lets wait what may wait.
    pub(super) fn conclude(
        self: &Rc<Self>,
        mut waiter: Waiter,
        verdict: Result<Verdict, Unavailable>,
    ) {
        let answer = match verdict {
            Ok(Verdict::Granted(lease)) => Ok(Ok(lease)),
            Ok(Verdict::Refused(refusal)) => {
                let slots = waiter.call.slots_of(refusal.hit.demand);
                if let Some(slots) = slots.filter(|_| refusal.for_a_slot)
                    && waiter.until > Instant::now()
                {
                    let slots = slots.to_owned();
                    waiter.hit = Some(refusal.hit);
                    self.wait(slots, waiter);
                    return;
                }
                Ok(Err(refusal.hit))
            }
            Err(unavailable) => Err(unavailable),
        };
        // If nobody is there any more, a lease is given back by being dropped.
        let _ = waiter.answer.send(answer);
    }

    /// Lets it wait for one of these slots, if there is a place.
    fn wait(self: &Rc<Self>, slots: String, mut waiter: Waiter) {
        if let Some(enter) = waiter.enter.take() {
            waiter.seat = enter();
            if waiter.seat.is_none() {
                waiter.send_away();
                return;
            }
        }
        let mut rooms = self.rooms.borrow_mut();
        if let Some(room) = rooms.0.get_mut(&slots) {
            room.waiting.insert(waiter.order, waiter);
            return;
        }
        let mut room = Room::default();
        room.waiting.insert(waiter.order, waiter);
        let wake = Rc::clone(&room.wake);
        rooms.0.insert(slots.clone(), room);
        spawn_local(Rc::clone(self).usher(slots, wake));
    }

    /// Asks again for the first of a room, until the room is empty: if the first is refused, so
    /// would be all others.
    async fn usher(self: Rc<Self>, slots: String, wake: Rc<Notify>) {
        while let Some(pause) = self.sweep(&slots) {
            let _ = timeout(pause, wake.notified()).await;
            while let Some(waiter) = self.first(&slots) {
                let (order, lane) = (waiter.order, waiter.lane.clone());
                let ask = Ask {
                    take: true,
                    deadline: Instant::now() + self.settings.deadline,
                    _place: None,
                };
                let verdict = self.decide(&waiter, ask).await;
                self.conclude(waiter, verdict);
                match self.rooms.borrow_mut().0.get_mut(&slots) {
                    Some(room) if room.waiting.contains_key(&order) => break,
                    Some(room) => room.serve(lane),
                    None => {}
                }
            }
        }
    }

    /// `None` if nobody is left, and the room is closed.
    fn sweep(&self, slots: &str) -> Option<Duration> {
        let mut rooms = self.rooms.borrow_mut();
        let pause = rooms.0.get_mut(slots)?.sweep(Instant::now());
        if pause.is_none() {
            rooms.0.remove(slots);
        }
        pause
    }

    /// Takes the first out of a room. The room stays: who comes meanwhile is not the first.
    fn first(&self, slots: &str) -> Option<Waiter> {
        self.rooms
            .borrow_mut()
            .0
            .get_mut(slots)?
            .first(Instant::now())
    }
}
