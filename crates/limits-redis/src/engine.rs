//! The connection thread: its state, and the functions that its tasks share.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::pipe;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use voxgate::{ConfigError, Problem};

use crate::command::micros;
use crate::connection::TIMEOUT;
use crate::connection_task::ConnectionTask;
use crate::dispatcher::Dispatcher;
use crate::gauges::Gauges;
use crate::health::Health;
use crate::lease_table::{LeaseTable, PendingRelease};
use crate::message::Message;
use crate::options::Config;
use crate::quotas;
use crate::redis_error::RedisError;
use crate::script::Scripts;
use crate::wait_queues::WaitQueues;

/// Maximum number of leases that one command renews or releases. Redis is blocked meanwhile.
pub(crate) const BATCH: usize = 100;

/// The state of the connection thread. No borrow of it is held across an await.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) scripts: Scripts,
    pub(crate) health: Health,
    pub(crate) leases: RefCell<LeaseTable>,
    pub(crate) queues: RefCell<WaitQueues>,
    connection: RefCell<Option<MultiplexedConnection>>,
}

/// Starts the thread. It runs until all senders of messages are gone.
pub(crate) fn start(
    config: Config,
    gauges: Arc<Gauges>,
    inbox: mpsc::UnboundedReceiver<Message>,
) -> Result<(), ConfigError> {
    let failed = |what: &str, error: &dyn fmt::Display| {
        let message = format!("cannot start the {what} of the Redis connection: {error}");
        ConfigError::from(Problem::new("shared limits", message))
    };
    let instance = getrandom::u64().map_err(|error| failed("random identifier", &error))?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("runtime", &error))?;
    let scripts = Scripts::new(format!("{instance:016x}"), micros(config.lease));
    let make = move || {
        Rc::new(Engine {
            health: Health::new(config.address.clone(), gauges),
            config,
            scripts,
            leases: RefCell::default(),
            queues: RefCell::default(),
            connection: RefCell::default(),
        })
    };
    let thread = thread::Builder::new().name("voxgate-limits".to_owned());
    let started = thread.spawn(move || run(&make(), &runtime, inbox));
    started.map(drop).map_err(|error| failed("thread", &error))
}

fn run(engine: &Rc<Engine>, runtime: &Runtime, inbox: mpsc::UnboundedReceiver<Message>) {
    let _closed = CloseOnDrop(Arc::clone(engine.health.gauges()));
    LocalSet::new().block_on(runtime, async {
        let connection = spawn_local(ConnectionTask::new(Rc::clone(engine)).run());
        let _done = receive(engine, inbox).await;
        // A new task runs after those that still release leases.
        let deregister = spawn_local(Rc::clone(engine).deregister());
        let _ = timeout(TIMEOUT, deregister).await;
        connection.abort();
    });
}

/// Handles messages until there are no senders any more, or until a shutdown. The caller of the
/// shutdown goes on when the returned sender is dropped.
async fn receive(
    engine: &Rc<Engine>,
    mut inbox: mpsc::UnboundedReceiver<Message>,
) -> Option<std_mpsc::Sender<()>> {
    let dispatcher = Rc::new(Dispatcher::new(Rc::clone(engine)));
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Shutdown(done) => return Some(done),
            Message::Acquire(request) => {
                spawn_local(Rc::clone(&dispatcher).dispatch(request));
            }
            Message::Hold(lease, command) => {
                engine.leases.borrow_mut().hold_unsent(lease, command);
            }
            Message::Release(lease) => engine.release(lease),
            Message::Quota(request) => _ = spawn_local(quotas::decide(Rc::clone(engine), request)),
        }
    }
    None
}

/// Marks the store as unavailable when the thread ends, so that no request waits for it.
struct CloseOnDrop(Arc<Gauges>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.set_open(true);
    }
}

impl Engine {
    pub(crate) fn set_connection(&self, connection: Option<MultiplexedConnection>) {
        self.health.gauges().set_connected(connection.is_some());
        self.connection.replace(connection);
    }

    /// Waits for a connection. Returns `None` if the breaker is open.
    pub(crate) async fn connected(&self) -> Option<MultiplexedConnection> {
        loop {
            let changed = self.health.changed();
            if self.health.is_open() {
                return None;
            }
            if let Some(connection) = self.connection.borrow().clone() {
                return Some(connection);
            }
            changed.await;
        }
    }

    pub(crate) fn count_answer(&self, took: Duration) {
        self.health.gauges().count_answer(took);
        #[cfg(test)]
        if let Some(observe) = &self.config.on_round_trip {
            observe(took);
        }
    }

    /// Releases a lease in Redis as soon as possible.
    fn release(self: &Rc<Self>, lease: u64) {
        let Some(command) = self.leases.borrow_mut().release(lease) else {
            return;
        };
        let release = PendingRelease {
            lease,
            command,
            until: Instant::now() + self.config.lease,
            may_come_late: false,
        };
        let Some(mut connection) = self.connection.borrow().clone() else {
            self.leases.borrow_mut().add_pending(release);
            return;
        };
        let this = Rc::clone(self);
        spawn_local(async move {
            // The connection task handles failures of the connection.
            let _ = this.send_releases(&mut connection, vec![release]).await;
        });
    }

    /// Sends releases to Redis. Those that cannot be sent stay pending.
    pub(crate) async fn send_releases(
        &self,
        connection: &mut MultiplexedConnection,
        releases: Vec<PendingRelease>,
    ) -> Result<(), RedisError> {
        let mut sent = Ok(());
        let mut releases = releases.into_iter().peekable();
        while releases.peek().is_some() {
            let batch: Vec<PendingRelease> = releases.by_ref().take(BATCH).collect();
            if sent.is_ok() {
                sent = self.send_batch(connection, &batch).await;
            }
            for release in batch {
                if sent.is_ok() {
                    self.queues.borrow().wake(release.command.slots());
                }
                if sent.is_err() || release.may_come_late {
                    self.leases.borrow_mut().add_pending(release);
                }
            }
        }
        sent
    }

    async fn send_batch(
        &self,
        connection: &mut MultiplexedConnection,
        releases: &[PendingRelease],
    ) -> Result<(), RedisError> {
        let mut commands = pipe();
        for release in releases {
            for slots in release.command.slots() {
                commands.add_command(self.scripts.release(slots, release.lease));
            }
        }
        let sent = timeout(TIMEOUT, commands.query_async::<Vec<i64>>(connection)).await;
        let sent = sent.map_err(|_| RedisError::Timeout)?;
        sent.map(drop)
            .map_err(|error| RedisError::from_redis(&error))
    }

    /// Removes this gateway from the set of gateways, so that the others share its limits.
    async fn deregister(self: Rc<Self>) {
        let Some(mut connection) = self.connection.borrow().clone() else {
            return;
        };
        let pending = self.leases.borrow_mut().take_pending(Instant::now());
        let _ = self.send_releases(&mut connection, pending).await;
        let deregister = self.scripts.deregister(&self.config.keys.gateways());
        // If it fails, the others count this gateway until its lease has expired.
        let _ = deregister.exec_async(&mut connection).await;
    }
}
