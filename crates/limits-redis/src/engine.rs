//! The connection thread: its state, and the functions that its tasks share.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::pipe;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use voxgate::{ConfigError, Problem};

use crate::address::{Endpoint, Servers};
use crate::clock::now;
use crate::command::micros;
use crate::connection::TIMEOUT;
use crate::connection_task::ConnectionTask;
use crate::dispatcher::Dispatcher;
use crate::gauges::Gauges;
use crate::health::Overall;
use crate::lease_table::{LeaseTable, PendingRelease};
use crate::link::{AskError, Asked, Link, Routed};
use crate::message::Message;
use crate::node::Node;
use crate::options::Config;
use crate::quotas;
use crate::redirect::Redirect;
use crate::redis_error::RedisError;
use crate::script::Scripts;
use crate::slot_map::SlotMap;
use crate::topology_task;
use crate::wait_queues::WaitQueues;

/// Maximum number of leases that one command renews or releases. Redis is blocked meanwhile.
pub(crate) const BATCH: usize = 100;

/// The state of the connection thread. No borrow of it is held across an await.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) scripts: Scripts,
    pub(crate) overall: Rc<Overall>,
    pub(crate) leases: RefCell<LeaseTable>,
    pub(crate) queues: RefCell<WaitQueues>,
    /// The nodes of a cluster by `host:port`, or the one server.
    nodes: RefCell<BTreeMap<String, Rc<Node>>>,
    /// Which node of a cluster has which hash slot.
    slots: RefCell<SlotMap>,
    /// Notified when the map of the cluster may be out of date.
    pub(crate) outdated: Notify,
}

/// The name of the server that is no node of a cluster.
const ONLY: &str = "";
/// How long a node that has no hash slots any more may answer earlier commands.
const LINGER: Duration = Duration::from_secs(1);

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
    let thread = thread::Builder::new().name("voxgate-limits".to_owned());
    let started = thread.spawn(move || {
        LocalSet::new().block_on(&runtime, run(config, instance, gauges, inbox));
    });
    started.map(drop).map_err(|error| failed("thread", &error))
}

/// Serves messages on a `LocalSet`. The name of the instance is unique among gateways.
pub(crate) async fn run(
    config: Config,
    instance: u64,
    gauges: Arc<Gauges>,
    inbox: mpsc::UnboundedReceiver<Message>,
) {
    let scripts = Scripts::new(format!("{instance:016x}"), micros(config.lease));
    let engine = Rc::new(Engine {
        overall: Overall::new(gauges),
        config,
        scripts,
        leases: RefCell::default(),
        queues: RefCell::default(),
        nodes: RefCell::default(),
        slots: RefCell::default(),
        outdated: Notify::new(),
    });
    serve(&engine, inbox).await;
}

/// Serves messages until there are no senders any more, or until a shutdown.
async fn serve(engine: &Rc<Engine>, inbox: mpsc::UnboundedReceiver<Message>) {
    let _closed = CloseOnDrop(Arc::clone(engine.overall.gauges()));
    let topology = match engine.is_cluster() {
        true => Some(spawn_local(topology_task::run(Rc::clone(engine)))),
        false => {
            engine.start_node(ONLY, None);
            None
        }
    };
    let _done = receive(engine, inbox).await;
    // A new task runs after those that still release leases.
    let deregister = spawn_local(Rc::clone(engine).deregister());
    let _ = timeout(TIMEOUT, deregister).await;
    if let Some(topology) = topology {
        topology.abort();
    }
    for node in engine.nodes.take().into_values() {
        node.close();
    }
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
    pub(crate) fn is_cluster(&self) -> bool {
        self.config.address.is_cluster()
    }

    /// The server that has this hash slot, as far as it is known.
    pub(crate) fn owner(&self, slot: u16) -> Option<Rc<Node>> {
        let nodes = self.nodes.borrow();
        match self.is_cluster() {
            true => nodes.get(self.slots.borrow().primary(slot)?).cloned(),
            false => nodes.get(ONLY).cloned(),
        }
    }

    /// Whether this server has this hash slot.
    pub(crate) fn is_owner(&self, node: &Rc<Node>, slot: u16) -> bool {
        self.owner(slot)
            .is_some_and(|owner| Rc::ptr_eq(&owner, node))
    }

    /// A node of the cluster. `None` if its name is not valid.
    pub(crate) fn node(self: &Rc<Self>, name: &str) -> Option<Rc<Node>> {
        if let Some(node) = self.nodes.borrow().get(name) {
            return Some(Rc::clone(node));
        }
        let Servers::Cluster(seeds) = &self.config.address.servers else {
            return None;
        };
        let (host, port) = name.rsplit_once(':')?;
        let endpoint = seeds.first()?.at(host, port.parse().ok()?)?;
        Some(self.start_node(name, Some(endpoint)))
    }

    fn start_node(self: &Rc<Self>, name: &str, endpoint: Option<Endpoint>) -> Rc<Node> {
        let redis = match &endpoint {
            Some(endpoint) => format!("{endpoint:?}"),
            None => format!("{:?}", self.config.address),
        };
        let node = Rc::new(Node::new(redis, endpoint, &self.overall));
        let task = spawn_local(ConnectionTask::new(Rc::clone(self), Rc::clone(&node)).run());
        node.set_task(task.abort_handle());
        self.nodes
            .borrow_mut()
            .insert(name.to_owned(), Rc::clone(&node));
        node
    }

    /// All servers that are connected.
    pub(crate) fn connected_nodes(&self) -> Vec<(Rc<Node>, MultiplexedConnection)> {
        let nodes = self.nodes.borrow();
        let connected = |node: &Rc<Node>| Some((Rc::clone(node), node.connection()?));
        nodes.values().filter_map(connected).collect()
    }

    /// Whether the map of the cluster was read.
    pub(crate) fn has_map(&self) -> bool {
        !self.slots.borrow().primaries().is_empty()
    }

    /// Whether each hash slot of the cluster has a node.
    pub(crate) fn has_all_slots(&self) -> bool {
        self.slots.borrow().is_complete()
    }

    /// A node said that another one has this hash slot. Returns whether that one can be asked.
    pub(crate) fn moved(self: &Rc<Self>, slot: u16, name: &str) -> bool {
        let is_node = self.node(name).is_some();
        if is_node {
            self.slots.borrow_mut().set_moved(slot, name.to_owned());
        }
        self.outdated.notify_one();
        is_node
    }

    /// Puts back the leases in a hash slot that another node has now. It is connected already, and may
    /// have taken over from one that had not replicated them. They are one command, so that no other
    /// command for these keys comes before: commands on one connection keep their order.
    pub(crate) async fn put_back(&self, slot: u16) {
        let connected = self.owner(slot);
        let connected = connected.and_then(|node| Some((node.connection()?, node)));
        let leases = self.leases.borrow().leases_in(|it| it == slot);
        let (Some((connection, node)), Some(leases)) = (connected, leases.get(&slot)) else {
            return;
        };
        let slots = self.leases.borrow_mut().slots_to_send(slot, leases);
        let link = Link::Direct(connection);
        let put_back = self.scripts.renew(&link, slot, &slots, true);
        // If it fails, the next heartbeat does it.
        if let Ok(Ok(missing)) = timeout(TIMEOUT, put_back).await {
            self.count_restored(node.health.redis(), missing.len());
        }
    }

    /// Reads the map of the cluster again if this error says that it may be out of date.
    pub(crate) fn look_again(&self, error: &redis::RedisError) {
        let is_refusal = matches!(RedisError::from_redis(error), RedisError::Server(code)
            if !matches!(&*code, "CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "LOADING"));
        if !is_refusal {
            self.outdated.notify_one();
        }
    }

    /// Uses this map of the cluster.
    pub(crate) fn use_map(self: &Rc<Self>, map: SlotMap) {
        let successors = map.successors(&self.slots.borrow());
        self.count_failovers(successors.iter().map(String::as_str));
        // Those that a redirection has named before were told of one hash slot only.
        for successor in &successors {
            if let Some(node) = self.nodes.borrow().get(successor) {
                node.restore();
            }
        }
        for name in map.primaries() {
            if self.node(name).is_none() {
                tracing::warn!(
                    node = name,
                    "the Redis cluster announces a node with a host or port that is not valid: \
                     correct cluster-announce-ip, -hostname or -port there"
                );
            }
        }
        let mut nodes = self.nodes.borrow_mut();
        let (kept, retired) = std::mem::take(&mut *nodes)
            .into_iter()
            .partition(|(name, _)| map.primaries().contains(&**name));
        *nodes = kept;
        drop(nodes);
        self.slots.replace(map);
        for node in retired.into_values() {
            spawn_local(async move {
                sleep(LINGER).await;
                node.close();
            });
        }
        self.overall.set_unreachable(false);
    }

    /// Counts slots of this process that a server had lost, and that were put back.
    pub(crate) fn count_restored(&self, redis: &str, restored: usize) {
        if restored == 0 {
            return;
        }
        self.overall.gauges().count_restored(restored);
        tracing::warn!(
            redis,
            restored,
            "Redis had lost slots of requests in flight, which are counted again. Until some of \
             these requests end, more may be in flight than the limits allow"
        );
    }

    pub(crate) fn count_failovers<'a>(&self, primaries: impl Iterator<Item = &'a str>) {
        let mut count = 0;
        for primary in primaries {
            count += 1;
            tracing::warn!(
                primary,
                "a replica of Redis has taken over: what was not replicated is lost. Requests in \
                 flight are counted again at once; rates and quotas may have let a little more \
                 through"
            );
        }
        self.overall.gauges().count_failovers(count);
    }

    /// A link that follows the map of the cluster.
    pub(crate) fn link(self: &Rc<Self>, deadline: Instant, asked: &Asked) -> Link {
        Link::Routed(Routed {
            engine: Rc::clone(self),
            deadline,
            asked: asked.clone(),
        })
    }

    pub(crate) fn count_answer(&self, took: Duration) {
        self.overall.gauges().count_answer(took);
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
        let releases = PendingRelease::all(lease, &command, now() + self.config.lease);
        for release in releases {
            let node = self.owner(release.part().slot());
            let connection = node.and_then(|node| Some((Rc::clone(&node), node.connection()?)));
            let Some((node, connection)) = connection else {
                self.leases.borrow_mut().add_pending(release);
                continue;
            };
            let this = Rc::clone(self);
            spawn_local(async move {
                // The connection task handles failures of the connection.
                let _ = this.send_releases(&node, connection, vec![release]).await;
            });
        }
    }

    /// Sends releases to a server. Those that cannot be sent stay pending; those whose keys have moved
    /// follow them.
    pub(crate) async fn send_releases(
        self: &Rc<Self>,
        node: &Rc<Node>,
        connection: MultiplexedConnection,
        releases: Vec<PendingRelease>,
    ) -> Result<(), RedisError> {
        let mut sent = Ok(());
        let mut releases = releases.into_iter().peekable();
        while releases.peek().is_some() {
            let batch: Vec<PendingRelease> = releases.by_ref().take(BATCH).collect();
            let mut moved = BTreeSet::new();
            if sent.is_ok() {
                let answer = self.send_batch(node, connection.clone(), &batch).await;
                sent = answer.map(|indices| moved = indices);
            }
            for (index, release) in batch.into_iter().enumerate() {
                if moved.contains(&index) {
                    // If that fails, it is not the failure of this server.
                    spawn_local(Rc::clone(self).release_elsewhere(release));
                    continue;
                }
                if sent.is_ok() {
                    self.queues.borrow().wake(release.part().slots());
                }
                if sent.is_err() || release.may_come_late {
                    self.leases.borrow_mut().add_pending(release);
                }
            }
        }
        sent
    }

    /// Returns the indices of those whose keys another node has.
    async fn send_batch(
        self: &Rc<Self>,
        node: &Rc<Node>,
        mut connection: MultiplexedConnection,
        releases: &[PendingRelease],
    ) -> Result<BTreeSet<usize>, RedisError> {
        let mut sent = Vec::new();
        let mut commands = pipe();
        for (index, release) in releases.iter().enumerate() {
            for slots in release.part().slots() {
                sent.push(index);
                commands.add_command(self.scripts.release(slots, release.lease));
            }
        }
        let replies = connection.send_packed_commands(&commands, 0, sent.len());
        let replies = timeout(TIMEOUT, replies).await;
        let replies = replies
            .map_err(|_| RedisError::Timeout)?
            .map_err(|error| RedisError::from_redis(&error))?;
        let mut moved = BTreeSet::new();
        for (index, reply) in sent.into_iter().zip(replies) {
            let Err(error) = reply.extract_error() else {
                continue;
            };
            if !self.is_cluster() || Redirect::of(&error, node.host()).is_none() {
                return Err(RedisError::from_redis(&error));
            }
            moved.insert(index);
        }
        Ok(moved)
    }

    /// Sends a release to the node that its keys have moved to. If that fails, it stays pending.
    async fn release_elsewhere(self: Rc<Self>, release: PendingRelease) {
        let link = self.link(now() + TIMEOUT, &Asked::default());
        let released = async {
            for slots in release.part().slots() {
                let command = self.scripts.release(slots, release.lease);
                link.ask::<i64>(release.part().slot(), &command).await?;
            }
            Ok::<_, AskError>(())
        };
        let is_released = matches!(timeout(TIMEOUT, released).await, Ok(Ok(())));
        if is_released {
            self.queues.borrow().wake(release.part().slots());
        }
        if !is_released || release.may_come_late {
            self.leases.borrow_mut().add_pending(release);
        }
    }

    /// Removes this gateway from the set of gateways, so that the others share its limits.
    async fn deregister(self: Rc<Self>) {
        for (node, connection) in self.connected_nodes() {
            let is_in = |slot| self.is_owner(&node, slot);
            let pending = self.leases.borrow_mut().take_pending(now(), is_in);
            let _ = self.send_releases(&node, connection, pending).await;
        }
        let gateways = self.config.keys.gateways();
        let slot = self.config.keys.slot(&gateways);
        // If it fails, the others count this gateway until its lease has expired.
        if self
            .owner(slot)
            .is_some_and(|node| node.connection().is_some())
        {
            let link = self.link(now() + TIMEOUT, &Asked::default());
            let deregister = self.scripts.deregister(&gateways);
            let _ = link.ask::<i64>(slot, &deregister).await;
        }
    }
}
