//! The thread that asks Redis.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{timeout, timeout_at};

use crate::error::{ConfigError, Problem};

use super::Unavailable;
use super::breaker::Breaker;
use super::call::{Call, Decision, Refusal, micros};
use super::connection::PATIENCE;
use super::gauges::Gauges;
use super::held::{Held, Release};
use super::lease::Lease;
use super::options::Settings;
use super::question::{Ask, Message, Outbox, Question, Verdict};
use super::script::Scripts;
use super::trouble::Trouble;
use super::waiting::{Rooms, Waiter};

/// The state of the thread. Nothing of it is borrowed across an await.
pub(super) struct Engine {
    pub(super) settings: Settings,
    pub(super) scripts: Scripts,
    pub(super) gauges: Arc<Gauges>,
    pub(super) breaker: RefCell<Breaker>,
    pub(super) connection: RefCell<Option<MultiplexedConnection>>,
    /// The breaker, or the connection, is another.
    pub(super) changed: Notify,
    /// What was complained of last.
    pub(super) complaint: RefCell<Option<Trouble>>,
    pub(super) held: RefCell<Held>,
    pub(super) rooms: RefCell<Rooms>,
    arrived: Cell<u64>,
}

impl Engine {
    /// Starts the thread. It goes on until nobody can tell it anything any more.
    pub(super) fn start(
        settings: Settings,
        gauges: Arc<Gauges>,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Result<(), ConfigError> {
        let none = |what: &str, error: &dyn std::fmt::Display| {
            ConfigError::from(Problem::new(
                "shared limits",
                format!("no {what} to be had: {error}"),
            ))
        };
        let instance = getrandom::u64().map_err(|error| none("randomness", &error))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| none("runtime", &error))?;
        let scripts = Scripts::new(format!("{instance:016x}"), micros(settings.lease));
        let make = move || {
            Rc::new(Self {
                settings,
                scripts,
                gauges,
                breaker: RefCell::new(Breaker::new()),
                connection: RefCell::default(),
                changed: Notify::new(),
                complaint: RefCell::default(),
                held: RefCell::default(),
                rooms: RefCell::default(),
                arrived: Cell::new(0),
            })
        };
        let thread = thread::Builder::new().name("voxgate-limits".to_owned());
        let started: io::Result<_> = thread.spawn(move || run(&make(), &runtime, inbox));
        started.map(drop).map_err(|error| none("thread", &error))
    }

    /// Until nobody can tell it anything any more, or somebody tells it to finish, who is told when
    /// what this gives is dropped.
    async fn listen(
        self: &Rc<Self>,
        mut inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Option<std::sync::mpsc::Sender<()>> {
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Finish(told) => return Some(told),
                Message::Ask(question) => _ = spawn_local(Rc::clone(self).answer(question)),
                Message::Hold(lease, call) => self.held.borrow_mut().hold_untold(lease, call),
                Message::Release(lease) => self.release(lease),
            }
        }
        None
    }

    async fn answer(self: Rc<Self>, question: Question) {
        let Question {
            call,
            asked,
            wait,
            answer,
            outbox,
            place,
        } = question;
        if answer.is_closed() {
            return;
        }
        let order = self.arrived.get();
        self.arrived.set(order + 1);
        let waiter = Waiter {
            call,
            until: wait.as_ref().map_or(asked, |wait| wait.until),
            lane: wait
                .as_ref()
                .map_or_else(Box::default, |wait| wait.lane.clone()),
            enter: wait.map(|wait| wait.enter),
            seat: None,
            order,
            hit: None,
            answer,
            outbox,
        };
        // Who comes later does not go first, not even who may not wait; but is told at once if
        // waiting would not help.
        let room = self.rooms.borrow().one_of(&waiter.call);
        let ask = Ask {
            take: room.is_none(),
            deadline: asked + self.settings.deadline,
            _place: Some(place),
        };
        match (self.decide(&waiter, ask).await, room) {
            (Ok(Verdict::Granted(free)), Some(slots)) => {
                let refusal = Refusal {
                    hit: waiter.call.hit_of(&slots, free.quotas()),
                    for_a_slot: true,
                };
                self.conclude(waiter, Ok(Verdict::Refused(refusal)));
                self.rooms.borrow().wake([&*slots].into_iter());
            }
            (verdict, _) => self.conclude(waiter, verdict),
        }
    }

    /// Asks Redis, and waits for its answer until the deadline.
    pub(super) async fn decide(
        self: &Rc<Self>,
        waiter: &Waiter,
        ask: Ask,
    ) -> Result<Verdict, Unavailable> {
        let deadline = ask.deadline.into();
        let silent = |_| {
            self.fail(Trouble::Silent);
            Unavailable
        };
        let connection = timeout_at(deadline, self.connected()).await;
        let connection = connection.map_err(silent)?.ok_or(Unavailable)?;
        let (tell, told) = oneshot::channel();
        let call = Arc::clone(&waiter.call);
        let exchange = Rc::clone(self).exchange(connection, call, waiter.outbox.clone(), ask, tell);
        spawn_local(exchange);
        let told = timeout_at(deadline, told).await.map_err(silent)?;
        told.unwrap_or(Err(Unavailable))
    }

    /// One round trip, for as long as it takes. If nobody waits for it any more, what was granted is
    /// given back.
    async fn exchange(
        self: Rc<Self>,
        mut connection: MultiplexedConnection,
        call: Arc<Call>,
        outbox: Outbox,
        ask: Ask,
        tell: oneshot::Sender<Result<Verdict, Unavailable>>,
    ) {
        let lease = ask.take.then(|| self.held.borrow_mut().next_lease());
        let begun = Instant::now();
        let answer = self.scripts.admit(&mut connection, &call, lease).await;
        let decision = answer
            .map_err(|error| Trouble::of(&error))
            .and_then(|answer| call.read(&answer).ok_or(Trouble::Nonsense));
        let verdict = match decision {
            Ok(decision) => {
                if let Some(observe) = &self.settings.on_round_trip {
                    observe(begun.elapsed());
                }
                if !tell.is_closed() {
                    self.breaker.borrow_mut().succeed();
                }
                Ok(match decision {
                    Decision::Granted(quotas) => Verdict::Granted(match lease {
                        Some(lease) if call.slots().next().is_some() => {
                            self.held.borrow_mut().hold(lease, call);
                            Lease::of(lease, outbox, quotas)
                        }
                        _ => Lease::of_nothing(quotas),
                    }),
                    Decision::Refused(refusal) => Verdict::Refused(refusal),
                })
            }
            Err(trouble) => {
                // What Redis says no to has taken nothing.
                let lease = lease.filter(|_| !matches!(trouble, Trouble::Server(_)));
                if let Some(lease) = lease {
                    self.held.borrow_mut().owe(Release {
                        lease,
                        call,
                        until: Instant::now() + self.settings.lease,
                        may_come_late: true,
                    });
                }
                if !tell.is_closed() {
                    self.fail(trouble);
                }
                Err(Unavailable)
            }
        };
        let _ = tell.send(verdict);
    }

    /// The connection, as soon as there is one. `None` if there is no point in waiting for it.
    async fn connected(&self) -> Option<MultiplexedConnection> {
        loop {
            let changed = self.changed.notified();
            if self.gauges.is_open() {
                return None;
            }
            if let Some(connection) = self.connection.borrow().clone() {
                return Some(connection);
            }
            changed.await;
        }
    }

    /// Gives a lease back as soon as that can be told.
    fn release(self: &Rc<Self>, lease: u64) {
        let Some(call) = self.held.borrow_mut().let_go(lease) else {
            return;
        };
        let release = Release {
            lease,
            call,
            until: Instant::now() + self.settings.lease,
            may_come_late: false,
        };
        let Some(mut connection) = self.connection.borrow().clone() else {
            self.held.borrow_mut().owe(release);
            return;
        };
        let this = Rc::clone(self);
        spawn_local(async move {
            // Whoever sees to the connection sees to its failures.
            let _ = this.give_back(&mut connection, vec![release]).await;
        });
    }
}

fn run(engine: &Rc<Engine>, runtime: &Runtime, inbox: mpsc::UnboundedReceiver<Message>) {
    let _closed = Closed(Arc::clone(&engine.gauges));
    LocalSet::new().block_on(runtime, async {
        let keeper = spawn_local(Rc::clone(engine).keep());
        let _told = engine.listen(inbox).await;
        // A task of its own comes after those that still give leases back.
        let farewell = spawn_local(Rc::clone(engine).leave());
        let _ = timeout(PATIENCE, farewell).await;
        keeper.abort();
    });
}

/// However the thread ends, nobody waits for it.
struct Closed(Arc<Gauges>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.set_open(true);
    }
}
