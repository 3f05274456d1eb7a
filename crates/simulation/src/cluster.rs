//! A simulated Redis Cluster: primaries, each with a replica, and what its nodes tell each other.
//!
//! The nodes exchange messages in intervals of [`Settings::tick`]. A primary that most primaries do
//! not reach for [`Settings::node_timeout`] is failed, and its replica takes over; a primary that
//! does not reach most primaries for as long refuses commands
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::hash_slot::hash_slot;
use crate::keyspace::Keyspace;
use crate::network::{Host, Network};
use crate::redis_server::{ClusterMap, Costs, Server, View};

const HASH_SLOTS: usize = 16384;

/// The settings of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many primaries there are. Each has one replica.
    pub primaries: usize,
    /// `cluster-node-timeout`.
    pub node_timeout: Duration,
    /// How long a write takes to reach the replica.
    pub replication: Duration,
    /// How often the nodes look.
    pub tick: Duration,
}

/// A cluster. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster(Rc<State>);

struct State {
    network: Network,
    settings: Settings,
    servers: Vec<Server>,
    nodes: RefCell<Vec<Node>>,
    random: RefCell<Rng>,
    lost: RefCell<usize>,
    failovers: RefCell<usize>,
}

struct Node {
    /// The primary that it replicates.
    replica_of: Option<usize>,
    /// When it reached most primaries last.
    with_most: Instant,
    /// When most primaries reached it last.
    seen_by_most: Instant,
    /// When it takes over, if it is a replica of a failed primary.
    election: Option<Instant>,
}

impl Cluster {
    /// Starts a cluster without data, in the current `LocalSet`. Its nodes are hosts from `first`.
    ///
    /// # Errors
    ///
    /// If Lua has no memory.
    pub fn start(
        network: &Network,
        first: Host,
        settings: Settings,
        costs: Costs,
        seed: u64,
    ) -> mlua::Result<Self> {
        let primaries = settings.primaries;
        let names: Vec<String> = (0..2 * primaries)
            .map(|node| format!("redis-{node}:6379"))
            .collect();
        let ranges = (0..primaries).map(|node| {
            let edge = |node: usize| slot(node * HASH_SLOTS / primaries);
            let last = slot((node + 1) * HASH_SLOTS / primaries - 1);
            (edge(node), last, node, vec![primaries + node])
        });
        let map = Rc::new(ClusterMap {
            epoch: 1,
            ranges: ranges.collect(),
            names: names.clone(),
        });
        let now = Instant::now();
        let mut servers = Vec::new();
        let mut nodes = Vec::new();
        for (own, name) in names.iter().enumerate() {
            let server = Server::start(network, first + own, name, costs)?;
            server.view().replace(Some(View {
                own,
                map: Rc::clone(&map),
                is_down: false,
                migrating: Default::default(),
                importing: Default::default(),
            }));
            let replica_of = own.checked_sub(primaries);
            if replica_of.is_none() {
                server.keyspace().replace(Keyspace::replicated());
            }
            servers.push(server);
            nodes.push(Node {
                replica_of,
                with_most: now,
                seen_by_most: now,
                election: None,
            });
        }
        let cluster = Self(Rc::new(State {
            network: network.clone(),
            settings,
            servers,
            nodes: RefCell::new(nodes),
            random: RefCell::new(Rng::with_seed(seed)),
            lost: RefCell::default(),
            failovers: RefCell::default(),
        }));
        let bus = Rc::clone(&cluster.0);
        spawn_local(async move {
            loop {
                sleep(bus.settings.tick).await;
                bus.tick(Instant::now());
            }
        });
        Ok(cluster)
    }

    /// All nodes: the first primaries, then their replicas.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.0.servers
    }

    /// Writes that were confirmed and lost in failovers.
    #[must_use]
    pub fn lost_writes(&self) -> usize {
        *self.0.lost.borrow()
    }

    /// How often a replica has taken over.
    #[must_use]
    pub fn failovers(&self) -> usize {
        *self.0.failovers.borrow()
    }

    /// Moves all hash slots of a primary to another one, a part of them every `pause`, as
    /// `redis-cli --cluster reshard` does. Between the two steps of a part, its keys are on both.
    pub async fn move_slots(&self, from: usize, to: usize, parts: u16, pause: Duration) {
        let (source, target) = (&self.0.servers[from], &self.0.servers[to]);
        let map = self.0.map(from);
        let ranges = map.ranges.iter().filter(|(_, _, owner, _)| *owner == from);
        let slots: Vec<u16> = ranges
            .flat_map(|(first, last, ..)| *first..=*last)
            .collect();
        for part in slots.chunks(slots.len().div_ceil(parts.into()).max(1)) {
            let moving: BTreeSet<u16> = part.iter().copied().collect();
            change(target, |view| view.importing.extend(&moving));
            change(source, |view| {
                view.migrating.extend(moving.iter().map(|slot| (*slot, to)));
            });
            for odd in [0, 1] {
                sleep(pause / 2).await;
                let (mut there, mut here) = (
                    target.keyspace().borrow_mut(),
                    source.keyspace().borrow_mut(),
                );
                here.move_to(&mut there, |key| {
                    let is_first = key.len() % 2 == odd;
                    moving.contains(&hash_slot(key)) && (is_first || odd == 1)
                });
            }
            let mut map = (*self.0.map(from)).clone();
            map.epoch = self.0.newest() + 1;
            map.give(&moving, to);
            let map = Rc::new(map);
            for server in [source, target] {
                change(server, |view| {
                    view.map = Rc::clone(&map);
                    view.importing.clear();
                    view.migrating.clear();
                });
            }
        }
    }
}

impl ClusterMap {
    fn give(&mut self, slots: &BTreeSet<u16>, to: usize) {
        let replicas = |ranges: &[(u16, u16, usize, Vec<usize>)], node: usize| {
            let range = ranges.iter().find(|(_, _, owner, _)| *owner == node);
            range.map(|range| range.3.clone()).unwrap_or_default()
        };
        let old = std::mem::take(&mut self.ranges);
        for (first, last, owner, _) in &old {
            for slot in *first..=*last {
                let owner = if slots.contains(&slot) { to } else { *owner };
                match self.ranges.last_mut() {
                    Some((_, last, before, _)) if *before == owner && *last + 1 == slot => {
                        *last = slot;
                    }
                    _ => self.ranges.push((slot, slot, owner, replicas(&old, owner))),
                }
            }
        }
    }
}

impl State {
    fn map(&self, node: usize) -> Rc<ClusterMap> {
        let view = self.servers[node].view().borrow();
        view.as_ref()
            .map(|view| Rc::clone(&view.map))
            .unwrap_or_default()
    }

    fn newest(&self) -> u64 {
        let epochs = (0..self.servers.len()).map(|node| self.map(node).epoch);
        epochs.max().unwrap_or_default()
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let [from, to] = [from, to].map(|node| self.servers[node].host());
        self.network.reaches(from, to)
    }

    fn tick(&self, now: Instant) {
        self.replicate();
        self.gossip();
        self.watch(now);
        self.elect(now);
    }

    /// Writes reach the replicas.
    fn replicate(&self) {
        for (node, state) in self.nodes.borrow().iter().enumerate() {
            let Some(primary) = state
                .replica_of
                .filter(|primary| self.reaches(*primary, node))
            else {
                continue;
            };
            let lag = u64::try_from(self.settings.replication.as_micros()).unwrap_or(u64::MAX);
            let until = self.servers[primary].now().saturating_sub(lag);
            let mut replica = self.servers[node].keyspace().borrow_mut();
            let mut primary = self.servers[primary].keyspace().borrow_mut();
            primary.replicate_until(until, &mut replica);
        }
    }

    /// A node takes the newest map of the nodes that it reaches. A primary that has no hash slots in
    /// it becomes a replica of its successor, and takes over its data.
    fn gossip(&self) {
        let mut nodes = self.nodes.borrow_mut();
        for node in 0..self.servers.len() {
            let others = (0..self.servers.len()).filter(|other| self.reaches(node, *other));
            let newest = others
                .map(|other| self.map(other))
                .max_by_key(|map| map.epoch);
            let Some(newest) = newest.filter(|map| map.epoch > self.map(node).epoch) else {
                continue;
            };
            let owns = newest.ranges.iter().any(|(_, _, owner, _)| *owner == node);
            if nodes[node].replica_of.is_none() && !owns {
                let mut ranges = newest.ranges.iter();
                let successor = ranges.find(|(_, _, _, replicas)| replicas.contains(&node));
                if let Some((_, _, successor, _)) = successor {
                    nodes[node].replica_of = Some(*successor);
                    let lost = self.servers[node].keyspace().borrow_mut().forget_log();
                    *self.lost.borrow_mut() += lost;
                    let mut data = self.servers[*successor].keyspace().borrow().clone();
                    data.become_replica();
                    self.servers[node].keyspace().replace(data);
                }
            }
            change(&self.servers[node], |view| view.map = Rc::clone(&newest));
        }
    }

    /// Each node notices whether it reaches most primaries, and whether they reach it.
    fn watch(&self, now: Instant) {
        let mut nodes = self.nodes.borrow_mut();
        let primaries: Vec<usize> = (0..nodes.len())
            .filter(|node| nodes[*node].replica_of.is_none())
            .collect();
        for node in 0..nodes.len() {
            let reached = primaries.iter().filter(|other| self.reaches(node, **other));
            let others = primaries.iter().filter(|other| **other != node);
            let seen = others.filter(|other| self.reaches(**other, node)).count();
            if 2 * reached.count() > primaries.len() {
                nodes[node].with_most = now;
            }
            // The primary itself does not vote that it has failed.
            if 2 * (primaries.len() - usize::from(primaries.contains(&node)) - seen)
                <= primaries.len()
            {
                nodes[node].seen_by_most = now;
            }
        }
        let has_failed = |node: &Node| now - node.seen_by_most >= self.settings.node_timeout;
        for node in 0..nodes.len() {
            let is_alone = now - nodes[node].with_most >= self.settings.node_timeout;
            // `cluster-require-full-coverage`, which is on unless it is changed.
            let map = self.map(node);
            let mut ranges = map.ranges.iter();
            let is_without = ranges.any(|(_, _, owner, _)| has_failed(&nodes[*owner]));
            change(&self.servers[node], |view| {
                view.is_down = is_alone || is_without
            });
        }
    }

    /// A replica of a failed primary takes over, half a second to a second later.
    fn elect(&self, now: Instant) {
        let mut nodes = self.nodes.borrow_mut();
        for node in 0..nodes.len() {
            let Some(primary) = nodes[node].replica_of else {
                continue;
            };
            let has_failed = now - nodes[primary].seen_by_most >= self.settings.node_timeout;
            if !has_failed || nodes[node].with_most != now {
                nodes[node].election = None;
                continue;
            }
            let delay = Duration::from_millis(500 + self.random.borrow_mut().u64(0..500));
            let election = *nodes[node].election.get_or_insert(now + delay);
            if now < election {
                continue;
            }
            let mut map = (*self.map(node)).clone();
            map.epoch = self.newest() + 1;
            for (_, _, owner, replicas) in &mut map.ranges {
                if *owner == primary {
                    *owner = node;
                    *replicas = vec![primary];
                }
            }
            nodes[node].replica_of = None;
            nodes[node].election = None;
            self.servers[node].keyspace().borrow_mut().become_primary();
            *self.failovers.borrow_mut() += 1;
            change(&self.servers[node], |view| view.map = Rc::new(map));
        }
    }
}

fn change(server: &Server, change: impl FnOnce(&mut View)) {
    if let Some(view) = &mut *server.view().borrow_mut() {
        change(view);
    }
}

fn slot(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
