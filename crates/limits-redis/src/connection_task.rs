//! The task that owns the connection to a server and renews the leases there.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cmd;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio::{join, select};

use crate::address::Servers;
use crate::clock::now;
use crate::connection::{Connection, TIMEOUT};
use crate::engine::{BATCH, Engine};
use crate::link::{AskError, Asked, Link};
use crate::node::Node;
use crate::redirect::Redirect;
use crate::redis_error::RedisError;
use crate::script::Slot;
use crate::sentinel;

/// A connection that is lost sooner counts as a failure.
const LASTING: Duration = Duration::from_secs(1);
/// How many batches of leases are renewed at once. In a cluster, each account is a batch.
const BATCHES: usize = 32;

/// Connects to a server, sends heartbeats, and connects again.
pub(crate) struct ConnectionTask {
    engine: Rc<Engine>,
    node: Rc<Node>,
}

impl ConnectionTask {
    pub(crate) fn new(engine: Rc<Engine>, node: Rc<Node>) -> Self {
        Self { engine, node }
    }

    /// Keeps a connection for as long as it is polled.
    pub(crate) async fn run(self) {
        let mut last = None;
        loop {
            match self.open().await {
                Ok(connection) => {
                    let primary = connection.endpoint.name();
                    let is_other = last.as_ref().is_some_and(|last| *last != primary);
                    if is_other {
                        self.engine.count_failovers([&*primary].into_iter());
                    }
                    last = Some(primary);
                    self.use_connection(connection).await;
                }
                Err(error) => self.node.health.trip(error),
            }
            self.node.set_connection(None);
            self.engine.outdated.notify_one();
            self.node.health.pause().await;
        }
    }

    async fn open(&self) -> Result<Connection, RedisError> {
        let address = &self.engine.config.address;
        match &self.node.endpoint {
            Some(endpoint) => Connection::open_at(address, endpoint).await,
            None => Connection::open(address).await,
        }
    }

    /// Uses a connection until it is lost or fails.
    async fn use_connection(&self, mut connection: Connection) {
        let (engine, node, health) = (&self.engine, &self.node, &self.node.health);
        let since = now();
        let pipeline = connection.pipeline.clone();
        if let Err(error) = self.restore(&pipeline).await {
            health.trip(error);
            return;
        }
        health.close();
        let mut heartbeat = interval(engine.config.lease / 3);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            let beaten = select! {
                biased;
                () = connection.lost() => {
                    match now() - since < LASTING {
                        true => health.trip(RedisError::Lost),
                        false => health.fail(RedisError::Lost),
                    }
                    return;
                }
                _ = heartbeat.tick() => {
                    // Sentinels that do not answer do not keep leases from being renewed.
                    let is_primary = self.is_still_primary(&connection);
                    let (is_primary, beaten) = join!(is_primary, self.beat(&pipeline));
                    let beaten = beaten.and(match is_primary {
                        true => Ok(()),
                        false => Err(RedisError::FailedOver),
                    });
                    if beaten.is_ok() {
                        health.settle();
                    }
                    beaten
                }
                () = node.restoring() => {
                    let restored = self.restore(&pipeline).await;
                    heartbeat.reset();
                    restored
                }
                () = health.opened() => {
                    select! {
                        biased;
                        () = connection.lost() => return,
                        () = health.pause() => {}
                    }
                    let probed = self.restore(&pipeline).await;
                    if probed.is_ok() {
                        health.close();
                        heartbeat.reset();
                    }
                    probed
                }
            };
            if let Err(error) = beaten {
                health.trip(error);
                return;
            }
        }
    }

    /// Whether the Sentinels still name this server: it may be cut off from them, and still answer.
    /// If no Sentinel answers in time, it stays.
    async fn is_still_primary(&self, connection: &Connection) -> bool {
        let Servers::Sentinel(sentinels) = &self.engine.config.address.servers else {
            return true;
        };
        let within = TIMEOUT.min(self.engine.config.lease / 3);
        match timeout(within, sentinel::primary(sentinels)).await {
            Ok(Ok(named)) => named.name() == connection.endpoint.name(),
            Ok(Err(_)) | Err(_) => true,
        }
    }

    /// Restores the leases before any other command is sent on this connection.
    async fn restore(&self, connection: &MultiplexedConnection) -> Result<(), RedisError> {
        let node = &self.node;
        loop {
            node.take_must_restore();
            self.probe(connection).await?;
            // Meanwhile, the node may have got further hash slots.
            if !node.take_must_restore() {
                break;
            }
        }
        node.set_connection(Some(connection.clone()));
        Ok(())
    }

    /// A heartbeat that must be answered as fast as a request.
    async fn probe(&self, connection: &MultiplexedConnection) -> Result<(), RedisError> {
        let took = self.beat(connection).await?;
        if took > self.engine.config.deadline {
            return Err(RedisError::Timeout);
        }
        Ok(())
    }

    /// Registers this gateway as alive, renews its leases, puts back those that Redis has lost, and
    /// sends pending releases. Returns how long the first of these took. In a cluster, each node
    /// has the leases of its hash slots, and one node the gateways.
    ///
    /// A lease is held when it is renewed, and a later release on the same connection arrives
    /// later: no released lease is put back. A renewal that arrives late, from a lost connection,
    /// finds nothing to renew; a lease that it puts back expires.
    async fn beat(&self, connection: &MultiplexedConnection) -> Result<Duration, RedisError> {
        let (engine, node) = (&self.engine, &self.node);
        let begun = now();
        self.register(connection).await?;
        let took = now() - begun;
        let is_in = |slot| engine.is_owner(node, slot);
        let leases = engine.leases.borrow().leases_in(is_in);
        let batches = leases.into_iter().flat_map(|(slot, leases)| {
            let batches: Vec<_> = leases.chunks(BATCH).map(<[u64]>::to_vec).collect();
            batches.into_iter().map(move |batch| (slot, batch))
        });
        let mut renewals = JoinSet::new();
        let mut restored = 0;
        for (slot, batch) in batches {
            if renewals.len() >= BATCHES
                && let Some(done) = renewals.join_next().await
            {
                restored += done.unwrap_or(Err(RedisError::Lost))?;
            }
            let (engine, node) = (Rc::clone(engine), Rc::clone(node));
            let connection = connection.clone();
            renewals.spawn_local(renew(engine, node, connection, slot, batch));
        }
        while let Some(done) = renewals.join_next().await {
            restored += done.unwrap_or(Err(RedisError::Lost))?;
        }
        engine.count_restored(node.health.redis(), restored);
        let pending = engine.leases.borrow_mut().take_pending(now(), is_in);
        engine
            .send_releases(node, connection.clone(), pending)
            .await?;
        Ok(took)
    }

    /// Registers this gateway, or only asks the node for an answer if it does not have the key.
    async fn register(&self, connection: &MultiplexedConnection) -> Result<(), RedisError> {
        let (engine, node) = (&self.engine, &self.node);
        let keys = &engine.config.keys;
        let link = Link::Direct(connection.clone());
        if !engine.is_owner(node, keys.slot(&keys.gateways())) {
            return answered(link.ask::<String>(0, &cmd("PING")))
                .await
                .map(drop);
        }
        let registered = timeout(TIMEOUT, engine.scripts.register(&link, keys)).await;
        let registered = match registered.map_err(|_| RedisError::Timeout)? {
            Err(error) if redirected(engine, node, &error) => {
                // If that fails, it is not the failure of this node.
                spawn_local(register_elsewhere(Rc::clone(engine)));
                return Ok(());
            }
            registered => registered.map_err(|error| error.to_redis_error())?,
        };
        registered_with(engine, &registered)
    }
}

/// Registers this gateway with the node that the key has moved to. If that fails, the next heartbeat
/// of that node does it.
async fn register_elsewhere(engine: Rc<Engine>) {
    let link = engine.link(now() + TIMEOUT, &Asked::default());
    let registered = engine.scripts.register(&link, &engine.config.keys);
    if let Ok(registered) = answered(registered).await {
        let _ = registered_with(&engine, &registered);
    }
}

fn registered_with(engine: &Engine, reply: &[i64]) -> Result<(), RedisError> {
    let &[replicas] = reply else {
        return Err(RedisError::Unexpected);
    };
    let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
    engine.overall.gauges().set_replicas(replicas);
    Ok(())
}

/// Renews these leases in a hash slot, and puts back missing ones. Returns how many those were.
async fn renew(
    engine: Rc<Engine>,
    node: Rc<Node>,
    connection: MultiplexedConnection,
    hash_slot: u16,
    leases: Vec<u64>,
) -> Result<usize, RedisError> {
    let slots = engine.leases.borrow_mut().slots_to_send(hash_slot, &leases);
    if slots.is_empty() {
        return Ok(0);
    }
    let link = Link::Direct(connection);
    let scripts = &engine.scripts;
    let renewed = timeout(TIMEOUT, scripts.renew(&link, hash_slot, &slots, false)).await;
    let missing = match renewed.map_err(|_| RedisError::Timeout)? {
        Err(error) if redirected(&engine, &node, &error) => {
            spawn_local(renew_elsewhere(Rc::clone(&engine), node, hash_slot, slots));
            return Ok(0);
        }
        missing => missing.map_err(|error| error.to_redis_error())?,
    };
    let lost = engine.leases.borrow().still_held(slots, &missing);
    if lost.is_empty() {
        return Ok(0);
    }
    answered(scripts.renew(&link, hash_slot, &lost, true)).await?;
    Ok(lost.len())
}

/// Renews slots whose hash slot is moving, one by one: a script with several keys would have to
/// wait until all of them have moved. What fails is tried again with the next heartbeat.
async fn renew_elsewhere(engine: Rc<Engine>, from: Rc<Node>, hash_slot: u16, slots: Vec<Slot>) {
    let mut restored = 0;
    for slot in slots {
        match renew_one(&engine, hash_slot, slot).await {
            Ok(count) => restored += count,
            Err(_) => break,
        }
    }
    engine.count_restored(from.health.redis(), restored);
}

/// Renews a slot wherever it is, and puts it back if it is missing. Returns how often it did.
async fn renew_one(engine: &Rc<Engine>, hash_slot: u16, slot: Slot) -> Result<usize, RedisError> {
    let link = engine.link(now() + TIMEOUT, &Asked::default());
    let scripts = &engine.scripts;
    let is_lost = |missing: &[i64]| {
        let held = engine
            .leases
            .borrow()
            .still_held(vec![slot.clone()], missing);
        !held.is_empty()
    };
    let one = std::slice::from_ref(&slot);
    let missing = answered(scripts.renew(&link, hash_slot, one, false)).await?;
    if !is_lost(&missing) {
        return Ok(0);
    }
    answered(scripts.renew(&link, hash_slot, one, true)).await?;
    // On two connections, the release may have come before.
    if is_lost(&[0]) {
        return Ok(1);
    }
    let release = scripts.release(&slot.key, slot.lease);
    answered(link.ask::<i64>(hash_slot, &release)).await?;
    Ok(0)
}

/// Whether a node of the cluster says that another one has the keys.
fn redirected(engine: &Rc<Engine>, node: &Node, error: &AskError) -> bool {
    let AskError::Failed(error) = error else {
        return false;
    };
    let redirect = Redirect::of(error, node.host()).filter(|_| engine.is_cluster());
    if let Some(Redirect::Moved(slot, name)) = &redirect {
        engine.moved(*slot, name);
    }
    redirect.is_some()
}

async fn answered<T>(asked: impl Future<Output = Result<T, AskError>>) -> Result<T, RedisError> {
    let answer = timeout(TIMEOUT, asked).await;
    let answer = answer.map_err(|_| RedisError::Timeout)?;
    answer.map_err(|error| error.to_redis_error())
}
