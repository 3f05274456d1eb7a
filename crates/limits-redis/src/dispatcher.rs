//! Decides requests: asks Redis, and queues requests that may wait.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_local;
use tokio::time::{timeout, timeout_at};
use voxgate::rate_limit::{AcquireError, Granted, Lease};

use crate::command::{EncodedCommand, Refusal, Reply};
use crate::engine::Engine;
use crate::lease::RedisLease;
use crate::lease_table::PendingRelease;
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
        let timed_out = |_| {
            self.engine.health.fail(RedisError::Timeout);
            AcquireError::Unavailable
        };
        let connection = timeout_at(deadline, self.engine.connected()).await;
        let connection = connection
            .map_err(timed_out)?
            .ok_or(AcquireError::Unavailable)?;
        let (tell, told) = oneshot::channel();
        let (command, outbox) = (Arc::clone(&waiter.command), waiter.outbox.clone());
        let round_trip = Rc::clone(self).round_trip(connection, command, outbox, attempt, tell);
        spawn_local(round_trip);
        let told = timeout_at(deadline, told).await.map_err(timed_out)?;
        told.unwrap_or(Err(AcquireError::Unavailable))
    }

    /// One round trip, for as long as it takes. A grant that is too late is given back.
    async fn round_trip(
        self: Rc<Self>,
        mut connection: MultiplexedConnection,
        command: Arc<EncodedCommand>,
        outbox: Outbox,
        attempt: Attempt,
        tell: oneshot::Sender<Result<Verdict, AcquireError>>,
    ) {
        let engine = &self.engine;
        let lease = attempt
            .take
            .then(|| engine.leases.borrow_mut().next_lease());
        let begun = Instant::now();
        let reply = engine.scripts.admit(&mut connection, &command, lease).await;
        let reply = reply
            .map_err(|error| RedisError::from_redis(&error))
            .and_then(|reply| command.parse(&reply).ok_or(RedisError::Unexpected));
        let verdict = match reply {
            Ok(reply) => {
                engine.count_answer(begun.elapsed());
                if !tell.is_closed() {
                    engine.health.succeed();
                }
                Ok(match reply {
                    Reply::Granted(remaining) => {
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
                // A command that Redis refuses takes nothing.
                let lease = lease.filter(|_| !matches!(error, RedisError::Server(_)));
                if let Some(lease) = lease {
                    engine.leases.borrow_mut().add_pending(PendingRelease {
                        lease,
                        command,
                        until: Instant::now() + engine.config.lease,
                        may_come_late: true,
                    });
                }
                if !tell.is_closed() {
                    engine.health.fail(error);
                }
                Err(AcquireError::Unavailable)
            }
        };
        let _ = tell.send(verdict);
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
                    && waiter.until > Instant::now()
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
            let pause = self
                .engine
                .queues
                .borrow_mut()
                .sweep(&slots, Instant::now());
            let Some(pause) = pause else {
                return;
            };
            let _ = timeout(pause, wake.notified()).await;
            while let Some(waiter) = self.pop(&slots) {
                let attempt = Attempt {
                    take: true,
                    deadline: Instant::now() + self.engine.config.deadline,
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
        queues.pop(slots, Instant::now())
    }
}
