//! Decides requests: asks Redis, and queues requests that may wait.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_local;
use tokio::time::{timeout, timeout_at};
use voxgate::rate_limit::{AcquireError, Granted, Lease, Remaining};

use crate::clock::now;
use crate::command::{EncodedCommand, Refusal, Reply};
use crate::connection::TIMEOUT;
use crate::engine::Engine;
use crate::lease::RedisLease;
use crate::lease_table::PendingRelease;
use crate::link::{AskError, Asked, Link};
use crate::message::{Outbox, Request};
use crate::redis_error::RedisError;
use crate::wait_queues::Waiter;

/// Decides requests on the connection thread.
pub(crate) struct Dispatcher {
    engine: Rc<Engine>,
    arrived: Cell<u64>,
}

/// The decision of Redis, after it has been applied.
enum Verdict {
    Granted(Granted),
    Refused(Refusal),
}

/// How to ask Redis.
struct Attempt {
    /// Whether to take from the limits, or only to check them.
    take: bool,
    deadline: Instant,
    /// Held until Redis has answered.
    _unanswered: Option<OwnedSemaphorePermit>,
}

impl Dispatcher {
    pub(crate) fn new(engine: Rc<Engine>) -> Self {
        Self {
            engine,
            arrived: Cell::new(0),
        }
    }

    /// Decides a request that arrives.
    pub(crate) async fn dispatch(self: Rc<Self>, request: Request) {
        if request.answer.is_closed() {
            return;
        }
        let number = self.arrived.get();
        self.arrived.set(number + 1);
        let until = request.wait.as_ref().map(|wait| wait.deadline());
        let waiter = Waiter {
            command: request.command,
            key: request.key,
            until: until.unwrap_or(request.asked),
            wait: request.wait,
            place: None,
            number,
            exceeded: None,
            answer: request.answer,
            outbox: request.outbox,
        };
        // A later request does not overtake waiting requests, even if it may not wait itself. It is
        // refused at once if a wait would not help.
        let engine = &self.engine;
        let in_demand = engine.queues.borrow().slots_in_demand(&waiter.command);
        let attempt = Attempt {
            take: in_demand.is_none(),
            deadline: request.asked + engine.config.deadline,
            _unanswered: Some(request.unanswered),
        };
        match (self.decide(&waiter, attempt).await, in_demand) {
            (Ok(Verdict::Granted(_)), Some(slots)) => {
                let refusal = waiter.command.refused_by(&slots);
                self.conclude(waiter, Ok(Verdict::Refused(refusal)), None);
                self.engine.queues.borrow().wake([&*slots].into_iter());
            }
            (verdict, _) => _ = self.conclude(waiter, verdict, None),
        }
    }

    /// Asks Redis, and waits for its answer until the deadline.
    async fn decide(
        self: &Rc<Self>,
        waiter: &Waiter,
        attempt: Attempt,
    ) -> Result<Verdict, AcquireError> {
        let deadline = attempt.deadline.into();
        let (tell, told) = oneshot::channel();
        let (command, outbox) = (Arc::clone(&waiter.command), waiter.outbox.clone());
        let asked = Asked::default();
        let this = Rc::clone(self);
        spawn_local(this.round_trip(command, outbox, attempt, asked.clone(), tell));
        let told = timeout_at(deadline, told).await.map_err(|_| {
            asked.fail(&self.engine, RedisError::Timeout);
            AcquireError::Unavailable
        })?;
        told.unwrap_or(Err(AcquireError::Unavailable))
    }

    /// One round trip, for as long as it takes. A grant that is too late is given back.
    async fn round_trip(
        self: Rc<Self>,
        command: Arc<EncodedCommand>,
        outbox: Outbox,
        attempt: Attempt,
        asked: Asked,
        tell: oneshot::Sender<Result<Verdict, AcquireError>>,
    ) {
        let engine = &self.engine;
        let lease = attempt
            .take
            .then(|| engine.leases.borrow_mut().next_lease());
        let link = engine.link(attempt.deadline, &asked);
        let mut remaining = Remaining::default();
        let reply = self.ask(&link, &command, lease, &mut remaining).await;
        let verdict = match reply {
            Ok(reply) => {
                if !tell.is_closed() {
                    asked.succeed();
                }
                Ok(match reply {
                    Reply::Granted => {
                        let lease = match lease {
                            Some(lease) if command.slots().next().is_some() => {
                                engine.leases.borrow_mut().hold(lease, command);
                                Lease::new(RedisLease::new(lease, outbox))
                            }
                            _ => Lease::empty(),
                        };
                        Verdict::Granted(Granted::new(lease, remaining))
                    }
                    Reply::Refused(refusal) => Verdict::Refused(refusal),
                })
            }
            Err(error) => {
                if !tell.is_closed() && !matches!(error, AskError::NotAsked) {
                    asked.fail(engine, error.to_redis_error());
                }
                Err(AcquireError::Unavailable)
            }
        };
        let _ = tell.send(verdict);
    }

    /// Asks about the parts of a request in their order: in a cluster first the key and its
    /// account, then the upstream. What earlier parts took is given back if a later one refuses or
    /// fails.
    async fn ask(
        &self,
        link: &Link,
        command: &Arc<EncodedCommand>,
        lease: Option<u64>,
        remaining: &mut Remaining,
    ) -> Result<Reply, AskError> {
        let engine = &self.engine;
        for (index, part) in command.parts().iter().enumerate() {
            let begun = now();
            let reply = engine.scripts.admit(link, part, lease).await;
            let reply =
                reply.and_then(|reply| part.parse(&reply, remaining).ok_or(AskError::Unexpected));
            if reply.is_ok() {
                engine.count_answer(now() - begun);
            }
            if let Ok(Reply::Granted) = reply {
                continue;
            }
            if let Some(lease) = lease {
                for taken in 0..index {
                    let command = Arc::clone(command);
                    spawn_local(give_back(Rc::clone(engine), command, taken, lease));
                }
                if let Err(error) = &reply
                    && error.may_have_taken()
                {
                    self.release_later(command, index, lease);
                }
            }
            return reply;
        }
        Ok(Reply::Granted)
    }

    /// Releases the slots that a part may have taken, or may take later.
    fn release_later(&self, command: &Arc<EncodedCommand>, part: usize, lease: u64) {
        let engine = &self.engine;
        engine.leases.borrow_mut().add_pending(PendingRelease {
            lease,
            command: Arc::clone(command),
            part,
            until: now() + engine.config.lease,
            may_come_late: true,
        });
    }

    /// Answers a request, or queues it if it may wait. `from` is its previous queue;
    /// returns whether it is back in that queue.
    fn conclude(
        self: &Rc<Self>,
        mut waiter: Waiter,
        verdict: Result<Verdict, AcquireError>,
        from: Option<&str>,
    ) -> bool {
        let answer = match verdict {
            Ok(Verdict::Granted(granted)) => Ok(granted),
            Ok(Verdict::Refused(Refusal { exceeded, scope })) => {
                let slots = waiter.command.slots_of(scope).map(str::to_owned);
                if let Some(slots) = slots.filter(|_| exceeded.can_wait())
                    && waiter.until > now()
                {
                    waiter.exceeded = Some(exceeded);
                    return self.wait(&slots, waiter, from);
                }
                Err(exceeded.into())
            }
            Err(unavailable) => Err(unavailable),
        };
        // If the future was dropped, the lease is given back by being dropped.
        let _ = waiter.answer.send(answer);
        false
    }

    /// Lets a request wait for these slots, if there is a place. Returns whether it is back in its
    /// previous queue.
    fn wait(self: &Rc<Self>, slots: &str, mut waiter: Waiter, from: Option<&str>) -> bool {
        if let Some(wait) = waiter.wait.take() {
            waiter.place = wait.reserve();
            if waiter.place.is_none() {
                waiter.refuse();
                return false;
            }
        }
        let mut queues = self.engine.queues.borrow_mut();
        if from == Some(slots) {
            queues.put_back(slots, waiter);
            return true;
        }
        if let Some(wake) = queues.insert(slots, waiter) {
            spawn_local(Rc::clone(self).serve_queue(slots.to_owned(), wake));
        }
        false
    }

    /// Asks again for the first request of a queue, until the queue is empty. If the first is
    /// refused, all others are refused as well.
    async fn serve_queue(self: Rc<Self>, slots: String, wake: Rc<Notify>) {
        loop {
            let pause = self.engine.queues.borrow_mut().sweep(&slots, now());
            let Some(pause) = pause else {
                return;
            };
            let _ = timeout(pause, wake.notified()).await;
            while let Some(waiter) = self.pop(&slots) {
                let attempt = Attempt {
                    take: true,
                    deadline: now() + self.engine.config.deadline,
                    _unanswered: None,
                };
                let verdict = self.decide(&waiter, attempt).await;
                if self.conclude(waiter, verdict, Some(&slots)) {
                    break;
                }
            }
        }
    }

    fn pop(&self, slots: &str) -> Option<Waiter> {
        let mut queues = self.engine.queues.borrow_mut();
        queues.pop(slots, now())
    }
}

/// Gives back what a part of a request has taken. If that fails, its slots are released later, and
/// its rates stay used: that is the safe side.
async fn give_back(engine: Rc<Engine>, command: Arc<EncodedCommand>, part: usize, lease: u64) {
    let link = engine.link(now() + TIMEOUT, &Asked::default());
    let given = timeout(
        TIMEOUT,
        engine
            .scripts
            .give_back(&link, &command.parts()[part], lease),
    );
    match given.await {
        Ok(Ok(())) => engine.queues.borrow().wake(command.parts()[part].slots()),
        _ => engine.leases.borrow_mut().add_pending(PendingRelease {
            lease,
            until: now() + engine.config.lease,
            part,
            command,
            may_come_late: false,
        }),
    }
}
