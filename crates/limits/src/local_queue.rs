//! The wait queue of one process: its places, and the wakers of waiting requests.

use std::collections::HashMap;
use std::mem;
use std::task::Waker;
use std::time::Duration;

use crate::limit::Limit;

use super::decision::LimitExceeded;
use super::remaining::Remaining;
use super::request::AcquireRequest;
use super::wait_queue::WaitQueue;

/// The decision about a request that waited.
pub(crate) type Answer = Result<Remaining, LimitExceeded>;

/// Requests that wait for a concurrency permit of this process, and the places of requests that
/// wait in a shared store.
pub(crate) struct LocalQueue {
    places: usize,
    waiting: WaitQueue<Waiter>,
    /// Requests whose future has not fetched the answer yet.
    answered: HashMap<u64, Answered>,
    /// How many places are taken by requests that wait in a shared store.
    elsewhere: usize,
    next: u64,
}

struct Waiter {
    request: AcquireRequest,
    /// The limit that the request exceeded when it arrived.
    exceeded: LimitExceeded,
    since: Duration,
    waker: Option<Waker>,
}

struct Answered {
    request: AcquireRequest,
    answer: Answer,
    waited: Duration,
}

/// The resources of a request whose future was dropped.
#[derive(Default)]
pub(crate) struct Abandoned {
    /// The request, if it is counted as in flight.
    pub(crate) begun: Option<AcquireRequest>,
    /// The caller drops this without the lock.
    pub(crate) _waker: Option<Waker>,
}

impl LocalQueue {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            waiting: WaitQueue::default(),
            answered: HashMap::new(),
            elsewhere: 0,
            next: 0,
        }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.elsewhere
    }

    /// Takes a place for a request that waits in a shared store, if there is one. A request that
    /// has waited here keeps its place, even if another request has taken it: there are at most as
    /// many such requests as concurrency permits.
    pub(crate) fn reserve_elsewhere(&mut self, has_waited: bool) -> bool {
        let is_free = has_waited || self.len() < self.places;
        self.elsewhere += usize::from(is_free);
        is_free
    }

    pub(crate) fn release_elsewhere(&mut self) {
        self.elsewhere -= 1;
    }

    /// Returns the limit that the last request of this key waits for, if one waits.
    pub(crate) fn exceeded_by_key_of(&self, request: &AcquireRequest) -> Option<LimitExceeded> {
        self.waiting.last_of(request.key()).map(|it| it.exceeded)
    }

    /// Takes a place; `None` if the queue is full. When it is full, the key with the most requests
    /// gives its last place to a key that then still has fewer.
    pub(crate) fn enter(
        &mut self,
        request: AcquireRequest,
        exceeded: LimitExceeded,
        now: Duration,
        wake: &mut Vec<Waker>,
    ) -> Option<u64> {
        if self.len() >= self.places {
            let (length, last) = self.waiting.longest()?;
            if length <= self.waiting.len_of(request.key()) + 1 {
                return None;
            }
            self.refuse(last, now, wake);
        }
        let number = self.next;
        self.next += 1;
        let key = request.key().to_owned();
        let waiter = Waiter {
            request,
            exceeded,
            since: now,
            waker: None,
        };
        self.waiting.insert(number, &key, waiter);
        Some(number)
    }

    /// Tries to start the first request of each key in turn.
    pub(crate) fn serve(
        &mut self,
        now: Duration,
        mut begin: impl FnMut(&AcquireRequest) -> Answer,
        wake: &mut Vec<Waker>,
    ) {
        let mut skipped = 0;
        while let Some((number, waiter)) = self.waiting.peek(skipped) {
            match begin(&waiter.request) {
                // No other request can start either.
                Err(exceeded) if exceeded.limit == Limit::UpstreamConcurrency => return,
                Err(exceeded) if exceeded.can_wait() => skipped += 1,
                answer => {
                    if let Some(waiter) = self.waiting.serve(number) {
                        self.answer(number, waiter, answer, now, wake);
                    }
                }
            }
        }
    }

    /// Returns the request that has waited longest, and the start of its wait.
    pub(crate) fn oldest(&self) -> Option<(u64, Duration)> {
        let (number, waiter) = self.waiting.iter().next()?;
        Some((number, waiter.since))
    }

    /// Ends a wait, unless it has ended. The request is refused by the limit that it exceeded when
    /// it arrived.
    pub(crate) fn refuse(&mut self, number: u64, now: Duration, wake: &mut Vec<Waker>) {
        if let Some(waiter) = self.waiting.remove(number) {
            let answer = Err(waiter.exceeded);
            self.answer(number, waiter, answer, now, wake);
        }
    }

    /// The answer and how long the request waited, if there is an answer. Otherwise `waker` is
    /// stored, and the waker that it replaces is returned in its place.
    pub(crate) fn poll(
        &mut self,
        number: u64,
        waker: &mut Option<Waker>,
    ) -> Option<(Answer, Duration)> {
        if let Some(waiter) = self.waiting.get_mut(number) {
            mem::swap(&mut waiter.waker, waker);
            return None;
        }
        let answered = self.answered.remove(&number)?;
        Some((answered.answer, answered.waited))
    }

    /// Removes a request whose future was dropped.
    pub(crate) fn leave(&mut self, number: u64) -> Abandoned {
        if let Some(waiter) = self.waiting.remove(number) {
            return Abandoned {
                begun: None,
                _waker: waiter.waker,
            };
        }
        let answered = self.answered.remove(&number);
        let begun = answered.filter(|answered| answered.answer.is_ok());
        Abandoned {
            begun: begun.map(|answered| answered.request),
            _waker: None,
        }
    }

    fn answer(
        &mut self,
        number: u64,
        waiter: Waiter,
        answer: Answer,
        now: Duration,
        wake: &mut Vec<Waker>,
    ) {
        wake.extend(waiter.waker);
        let answered = Answered {
            request: waiter.request,
            answer,
            waited: now.saturating_sub(waiter.since),
        };
        self.answered.insert(number, answered);
    }
}
