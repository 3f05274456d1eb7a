//! The waiting room: who waits for a slot, and whose turn it is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::task::Waker;
use std::time::Duration;

use crate::limit::Limit;

use super::ask::{Ask, Hit};
use super::book::Quotas;

/// What a request that waited is told.
pub(super) type Answer = Result<Quotas, Hit>;

/// Requests that wait. Those of one key are served in the order in which they came; among keys,
/// it is everybody's turn once in a round.
pub(super) struct Room {
    places: usize,
    lanes: HashMap<Box<str>, VecDeque<u64>>,
    /// The keys that have a lane, the next first.
    turns: VecDeque<Box<str>>,
    /// In the order in which they came.
    tickets: BTreeMap<u64, Ticket>,
    waiting: usize,
    /// How many places are for requests that wait elsewhere.
    elsewhere: usize,
    next: u64,
}

/// One request that waits, or has its answer and has not fetched it.
pub(super) struct Ticket {
    ask: Ask,
    /// The limit that was hit when it came.
    hit: Hit,
    since: Duration,
    waker: Option<Waker>,
    answer: Option<(Answer, Duration)>,
}

impl Ticket {
    /// What has begun by it, and is to be ended.
    pub(super) fn begun(&self) -> Option<&Ask> {
        matches!(self.answer, Some((Ok(_), _))).then_some(&self.ask)
    }
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            tickets: BTreeMap::new(),
            waiting: 0,
            elsewhere: 0,
            next: 0,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting + self.elsewhere
    }

    /// Takes a place for a request that waits elsewhere, if there is one. Whoever has waited here
    /// keeps the place, even if somebody has it by now: there are no more of those than of slots.
    #[cfg(feature = "redis")]
    pub(super) fn enter_elsewhere(&mut self, has_waited: bool) -> bool {
        let free = has_waited || self.waiting() < self.places;
        self.elsewhere += usize::from(free);
        free
    }

    #[cfg(feature = "redis")]
    pub(super) fn leave_elsewhere(&mut self) {
        self.elsewhere -= 1;
    }

    /// The limit that the last of this key waits for, if any do.
    pub(super) fn hit_by(&self, ask: &Ask) -> Option<Hit> {
        let last = self.lanes.get(ask.key())?.back()?;
        Some(self.tickets.get(last)?.hit)
    }

    /// Takes a place; `None` if there is none to be had. When the room is full, whoever came last
    /// of the key with the most places gives up one to a key that has fewer even with it.
    pub(super) fn enter(
        &mut self,
        ask: Ask,
        hit: Hit,
        now: Duration,
        wake: &mut Vec<Waker>,
    ) -> Option<u64> {
        if self.waiting() >= self.places {
            let own = self.lanes.get(ask.key()).map_or(0, VecDeque::len);
            let (length, last) = self.longest_lane()?;
            if length <= own + 1 {
                return None;
            }
            self.settle(last, None, now, wake);
        }
        let id = self.next;
        self.next += 1;
        let key = ask.key();
        match self.lanes.get_mut(key) {
            Some(lane) => lane.push_back(id),
            None => {
                self.lanes.insert(key.into(), VecDeque::from([id]));
                self.turns.push_back(key.into());
            }
        }
        self.waiting += 1;
        let ticket = Ticket {
            ask,
            hit,
            since: now,
            waker: None,
            answer: None,
        };
        self.tickets.insert(id, ticket);
        Some(id)
    }

    fn longest_lane(&self) -> Option<(usize, u64)> {
        let longest = self.lanes.values().max_by_key(|lane| lane.len())?;
        Some((longest.len(), *longest.back()?))
    }

    /// Asks for each key in turn whether its first may begin, until nobody may.
    pub(super) fn serve(
        &mut self,
        now: Duration,
        mut begin: impl FnMut(&Ask) -> Answer,
        wake: &mut Vec<Waker>,
    ) {
        let mut refused_in_a_row = 0;
        while refused_in_a_row < self.turns.len() {
            let Some(key) = self.turns.pop_front() else {
                return;
            };
            let first = self.lanes.get(&key).and_then(VecDeque::front).copied();
            self.turns.push_back(key);
            let Some((id, ticket)) = first.and_then(|id| Some((id, self.tickets.get(&id)?))) else {
                refused_in_a_row += 1;
                continue;
            };
            match begin(&ticket.ask) {
                // Nor may anybody else. Whoever was asked in vain keeps their turn.
                Err(hit) if hit.limit == Limit::UpstreamConcurrency => {
                    self.turns.rotate_right(refused_in_a_row + 1);
                    return;
                }
                Err(hit) if hit.is_for_a_slot() => refused_in_a_row += 1,
                answer => {
                    refused_in_a_row = 0;
                    self.settle(id, Some(answer), now, wake);
                }
            }
        }
    }

    /// Who has waited longest, and since when.
    pub(super) fn oldest(&self) -> Option<(u64, Duration)> {
        let mut waiting = self.tickets.iter().filter(|(_, it)| it.answer.is_none());
        waiting.next().map(|(id, ticket)| (*id, ticket.since))
    }

    /// Ends a wait, unless it has ended: with this answer, or with the limit that was hit.
    pub(super) fn settle(
        &mut self,
        id: u64,
        answer: Option<Answer>,
        now: Duration,
        wake: &mut Vec<Waker>,
    ) {
        let Some(ticket) = self.tickets.get_mut(&id) else {
            return;
        };
        if ticket.answer.is_some() {
            return;
        }
        let waited = now.saturating_sub(ticket.since);
        ticket.answer = Some((answer.unwrap_or(Err(ticket.hit)), waited));
        wake.extend(ticket.waker.take());
        let key: Box<str> = ticket.ask.key().into();
        self.leave_lane(&key, id);
    }

    /// The answer and how long it took, when it is there; otherwise `waker` is woken with it, and
    /// keeps the one that it takes the place of.
    pub(super) fn poll(
        &mut self,
        id: u64,
        waker: &mut Option<Waker>,
    ) -> Option<(Answer, Duration)> {
        let ticket = self.tickets.get_mut(&id)?;
        if ticket.answer.is_none() {
            mem::swap(&mut ticket.waker, waker);
            return None;
        }
        self.tickets.remove(&id)?.answer
    }

    /// Nobody waits with this ticket any more.
    pub(super) fn leave(&mut self, id: u64) -> Option<Ticket> {
        let ticket = self.tickets.remove(&id)?;
        if ticket.answer.is_none() {
            self.leave_lane(ticket.ask.key(), id);
        }
        Some(ticket)
    }

    fn leave_lane(&mut self, key: &str, id: u64) {
        self.waiting -= 1;
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        lane.retain(|other| *other != id);
        if lane.is_empty() {
            self.lanes.remove(key);
            self.turns.retain(|other| **other != *key);
        }
    }
}
