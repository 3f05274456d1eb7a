//! Requests that wait for slots.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use voxgate::rate_limit::{AcquireError, LimitExceeded, WaitPermission, WaitPlace, WaitQueue};

use crate::command::EncodedCommand;
use crate::jitter::between;
use crate::message::{Answer, Outbox};

/// How often the first request of a queue is sent again. Redis does not notify when another gateway
/// releases a slot.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_millis(100);
/// How many queues are served that often. With more, each is served less often, so that one gateway
/// asks Redis at most 80 times in a second, however many keys wait, and when it has released a slot
/// itself. Otherwise, requests that wait on many gateways would keep Redis from answering in time.
const OFTEN: usize = 4;

/// A request that may have to wait.
pub(crate) struct Waiter {
    pub(crate) command: Arc<EncodedCommand>,
    pub(crate) key: Box<str>,
    pub(crate) until: Instant,
    /// Permission to wait, until it is used.
    pub(crate) wait: Option<WaitPermission>,
    /// The place in the limiter's wait queue, while the request waits.
    pub(crate) place: Option<WaitPlace>,
    /// The order of arrival.
    pub(crate) number: u64,
    /// The limit that refused it last.
    pub(crate) exceeded: Option<LimitExceeded>,
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) outbox: Outbox,
}

impl Waiter {
    /// Whether the wait has timed out, or its future was dropped.
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now || self.answer.is_closed()
    }

    /// Answers with the limit that refused the request.
    pub(crate) fn refuse(self) {
        let refused = self.exceeded.map_or(AcquireError::Unavailable, Into::into);
        let _ = self.answer.send(Err(refused));
    }
}

/// One queue for each scope whose slots are all taken, by the slots' key in Redis.
#[derive(Default)]
pub(crate) struct WaitQueues(HashMap<String, Queue>);

#[derive(Default)]
struct Queue {
    waiting: WaitQueue<Waiter>,
    /// Notified when this process has released a slot.
    wake: Rc<Notify>,
}

impl WaitQueues {
    /// The slots of this command for which other requests wait already.
    pub(crate) fn slots_in_demand(&self, command: &EncodedCommand) -> Option<String> {
        let slots = command.slots().find(|slots| self.0.contains_key(*slots));
        slots.map(str::to_owned)
    }

    /// Wakes the queues of these slots, which this process has released.
    pub(crate) fn wake<'a>(&self, slots: impl Iterator<Item = &'a str>) {
        for slots in slots {
            if let Some(queue) = self.0.get(slots) {
                queue.wake.notify_one();
            }
        }
    }

    /// Adds a request. Returns the queue's notification if the queue is new.
    pub(crate) fn insert(&mut self, slots: &str, waiter: Waiter) -> Option<Rc<Notify>> {
        let is_new = !self.0.contains_key(slots);
        let queue = self.0.entry(slots.to_owned()).or_default();
        let (number, key) = (waiter.number, waiter.key.clone());
        queue.waiting.insert(number, &key, waiter);
        is_new.then(|| Rc::clone(&queue.wake))
    }

    /// Puts back a request that was refused again. It stays first.
    pub(crate) fn put_back(&mut self, slots: &str, waiter: Waiter) {
        if let Some(queue) = self.0.get_mut(slots) {
            let (number, key) = (waiter.number, waiter.key.clone());
            queue.waiting.put_back(number, &key, waiter);
        }
    }

    /// Takes the first request that has not timed out. The queue remains, even if it is empty:
    /// requests that arrive meanwhile must not overtake the first.
    pub(crate) fn pop(&mut self, slots: &str, now: Instant) -> Option<Waiter> {
        let waiting = &mut self.0.get_mut(slots)?.waiting;
        loop {
            let (number, first) = waiting.peek(0)?;
            if !first.is_over(now) {
                return waiting.serve(number);
            }
            if let Some(over) = waiting.remove(number) {
                over.refuse();
            }
        }
    }

    /// Refuses requests that have timed out. Returns when to ask Redis again, or `None` if the
    /// queue is empty and was removed.
    pub(crate) fn sweep(&mut self, slots: &str, now: Instant) -> Option<Duration> {
        let queues = self.0.len();
        let waiting = &mut self.0.get_mut(slots)?.waiting;
        let over = waiting.iter().filter(|(_, waiter)| waiter.is_over(now));
        for number in over.map(|(number, _)| number).collect::<Vec<_>>() {
            if let Some(waiter) = waiting.remove(number) {
                waiter.refuse();
            }
        }
        match waiting.iter().map(|(_, waiter)| waiter.until).min() {
            Some(next) => {
                let turns = u32::try_from(queues.div_ceil(OFTEN)).unwrap_or(u32::MAX);
                let pause = between(SOONEST, LATEST).saturating_mul(turns);
                Some(pause.min(next - now))
            }
            None => {
                self.0.remove(slots);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use voxgate::Limits;
    use voxgate::rate_limit::AcquireRequest;

    use super::*;
    use crate::keys::Keys;

    #[test]
    fn many_queues_do_not_ask_redis_more_often() {
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        let request = AcquireRequest::new("k", Limits::default());
        let command = Arc::new(EncodedCommand::new(&Keys::new("n", false), &request));
        let (outbox, _inbox) = mpsc::unbounded_channel();
        let mut answers = Vec::new();
        let mut queues = WaitQueues::default();
        for number in 0..100_u32 {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            let waiter = Waiter {
                command: Arc::clone(&command),
                key: "k".into(),
                until,
                wait: None,
                place: None,
                number: number.into(),
                exceeded: None,
                answer,
                outbox: outbox.clone(),
            };
            queues.insert(&format!("slots-{number}"), waiter);
            let pause = queues.sweep("slots-0", now).expect("it waits");
            let a_second = f64::from(number + 1) / pause.as_secs_f64();
            assert!(a_second <= 80.0, "{a_second} questions of {number} queues");
            assert!(
                number >= 4 || pause <= LATEST,
                "few queues are served often"
            );
        }
        let pause = queues.sweep("slots-0", until - SOONEST / 2);
        assert_eq!(pause, Some(SOONEST / 2), "a wait ends in time");
    }
}
