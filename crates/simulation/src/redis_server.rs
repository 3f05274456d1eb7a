//! A simulated Redis: one process that runs commands one after the other.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::hash_slot::hash_slot;
use crate::keyspace::{Keyspace, Micros};
use crate::network::{Accepted, Host, Network};
use crate::resp::{Reply, next_command};
use crate::scripts::Scripts;

/// The virtual time at the start of a simulation, in microseconds since 1970.
const BEGINNING: Micros = 1_800_000_000_000_000;

/// How long commands take. Redis runs them on one core.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// A script, in microseconds.
    pub script: u64,
    /// Each further key of a script, in nanoseconds: a renewal has up to a hundred.
    pub key_nanos: u64,
    /// Any other command, in microseconds.
    pub other: u64,
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Commands of gateways.
    pub questions: u64,
    /// Bytes of commands.
    pub received: u64,
    /// Bytes of answers.
    pub sent: u64,
    /// How long it was busy, in microseconds.
    pub busy: u64,
}

/// One server. Clones are the same server.
#[derive(Clone)]
pub struct Server(Rc<State>);

struct State {
    host: Host,
    name: String,
    network: Network,
    costs: Costs,
    keyspace: Rc<RefCell<Keyspace>>,
    scripts: Scripts,
    started: Instant,
    /// When the server has run all commands that have arrived.
    free_at: Cell<Micros>,
    usage: Cell<Usage>,
    view: RefCell<Option<View>>,
}

/// What a node of a cluster knows about the cluster.
#[derive(Clone)]
pub struct View {
    /// The number of this node.
    pub own: usize,
    /// Which node has which hash slots.
    pub map: Rc<ClusterMap>,
    /// Whether the node refuses commands, because it is in a minority or hash slots have no node.
    pub is_down: bool,
    /// Hash slots that move away, and where to.
    pub migrating: BTreeMap<u16, usize>,
    /// Hash slots that move here.
    pub importing: BTreeSet<u16>,
}

/// The map of a cluster. A map with a higher epoch is newer.
#[derive(Clone, Debug, Default)]
pub struct ClusterMap {
    /// The version.
    pub epoch: u64,
    /// `host:port` of each node.
    pub names: Vec<String>,
    /// The ranges of hash slots: the first, the last, the node, and its replicas.
    pub ranges: Vec<(u16, u16, usize, Vec<usize>)>,
}

impl ClusterMap {
    /// The node that has this hash slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|(first, last, ..)| (*first..=*last).contains(&slot));
        range.map(|(_, _, owner, _)| *owner)
    }

    fn to_reply(&self) -> Reply {
        let node = |node: &usize| {
            let (host, port) = self.names[*node].rsplit_once(':').unwrap_or_default();
            let port = port.parse().unwrap_or_default();
            let id = Reply::text(&format!("{node:040}"));
            Reply::Array(vec![Reply::text(host), Reply::Integer(port), id])
        };
        let ranges = self.ranges.iter().map(|(first, last, owner, replicas)| {
            let slots = [first, last].map(|slot| Reply::Integer((*slot).into()));
            let nodes = std::iter::once(owner).chain(replicas).map(node);
            Reply::Array(slots.into_iter().chain(nodes).collect())
        });
        Reply::Array(ranges.collect())
    }
}

impl Server {
    /// Starts a server without data, in the current `LocalSet`.
    ///
    /// # Errors
    ///
    /// If Lua has no memory.
    pub fn start(network: &Network, host: Host, name: &str, costs: Costs) -> mlua::Result<Self> {
        let keyspace = Rc::new(RefCell::new(Keyspace::default()));
        let server = Self(Rc::new(State {
            host,
            name: name.to_owned(),
            network: network.clone(),
            costs,
            scripts: Scripts::new(Rc::clone(&keyspace))?,
            keyspace,
            started: Instant::now(),
            free_at: Cell::new(BEGINNING),
            usage: Cell::default(),
            view: RefCell::default(),
        }));
        let mut accepted = network.listen(host, name);
        let listener = server.clone();
        spawn_local(async move {
            while let Some(connection) = accepted.recv().await {
                spawn_local(listener.clone().serve(connection));
            }
        });
        Ok(server)
    }

    /// The machine on which it runs.
    #[must_use]
    pub fn host(&self) -> Host {
        self.0.host
    }

    /// `host:port`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The data.
    #[must_use]
    pub fn keyspace(&self) -> &RefCell<Keyspace> {
        &self.0.keyspace
    }

    /// What the server has done.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.usage.get()
    }

    /// What the node knows about its cluster.
    #[must_use]
    pub fn view(&self) -> &RefCell<Option<View>> {
        &self.0.view
    }

    /// Ends the process. Its data are lost.
    pub fn stop(&self) {
        self.0.network.stop(self.0.host);
        self.0.keyspace.replace(Keyspace::default());
        self.0.scripts.forget();
    }

    /// Starts the process again.
    pub fn start_again(&self) {
        self.0.network.start(self.0.host);
    }

    /// The time of its clock.
    #[must_use]
    pub fn now(&self) -> Micros {
        BEGINNING + micros(self.0.started.elapsed())
    }

    async fn serve(self, mut connection: Accepted) {
        let mut received = BytesMut::new();
        let mut is_asking = false;
        while let Some(bytes) = connection.incoming.receive().await {
            received.extend_from_slice(&bytes);
            let mut answers = Vec::new();
            while let Some(command) = next_command(&mut received) {
                self.execute(&command, &mut is_asking).write(&mut answers);
            }
            let mut usage = self.0.usage.get();
            usage.received += bytes.len() as u64;
            usage.sent += answers.len() as u64;
            self.0.usage.set(usage);
            if !answers.is_empty() {
                let at = Duration::from_micros(self.0.free_at.get() - BEGINNING);
                let at = (self.0.started + at).max(Instant::now());
                connection.outgoing.send(answers.into(), at);
            }
        }
    }

    /// Runs a command as soon as those before it are done.
    pub fn execute(&self, command: &[Bytes], is_asking: &mut bool) -> Reply {
        let Some((name, arguments)) = command.split_first() else {
            return Reply::Error("ERR empty command".into());
        };
        let name = name.to_ascii_uppercase();
        let keys = keys(&name, arguments);
        let is_script = matches!(&*name, b"EVALSHA" | b"EVAL");
        let begins = self.now().max(self.0.free_at.get());
        let cost = match is_script {
            true => self.0.costs.script + keys.len() as u64 * self.0.costs.key_nanos / 1000,
            false => self.0.costs.other,
        };
        self.0.free_at.set(begins + cost);
        let mut usage = self.0.usage.get();
        usage.questions += 1;
        usage.busy += cost;
        self.0.usage.set(usage);
        let was_asking = std::mem::take(is_asking);
        match (&*name, arguments) {
            (b"PING", []) => return Reply::Status("PONG"),
            (b"ASKING", []) => {
                *is_asking = true;
                return Reply::Status("OK");
            }
            (b"CLUSTER", [which]) if which.eq_ignore_ascii_case(b"SLOTS") => {
                return match &*self.0.view.borrow() {
                    Some(view) => view.map.to_reply(),
                    None => Reply::Error("ERR This instance has cluster support disabled".into()),
                };
            }
            _ => {}
        }
        if let Some(refusal) = self.redirect(begins, keys, was_asking) {
            return refusal;
        }
        match is_script {
            true => self.0.scripts.run(begins, &*name == b"EVALSHA", arguments),
            false => self.0.keyspace.borrow_mut().run(begins, command),
        }
    }

    /// What a node of a cluster says about keys that it does not have.
    fn redirect(&self, now: Micros, keys: &[Bytes], is_asking: bool) -> Option<Reply> {
        let view = self.0.view.borrow();
        let view = view.as_ref()?;
        let slot = hash_slot(keys.first()?);
        if keys.iter().any(|key| hash_slot(key) != slot) {
            let error = "CROSSSLOT Keys in request don't hash to the same slot";
            return Some(Reply::Error(error.into()));
        }
        if view.is_down {
            return Some(Reply::Error("CLUSTERDOWN The cluster is down".into()));
        }
        let Some(owner) = view.map.owner(slot) else {
            return Some(Reply::Error("CLUSTERDOWN Hash slot not served".into()));
        };
        let mut keyspace = self.0.keyspace.borrow_mut();
        let here = keys.iter().filter(|key| keyspace.exists(now, key)).count();
        let try_again = || {
            let error = "TRYAGAIN Multiple keys request during rehashing of slot";
            Some(Reply::Error(error.into()))
        };
        if owner == view.own {
            let target = view.migrating.get(&slot).filter(|_| here < keys.len())?;
            if here > 0 {
                return try_again();
            }
            let target = &view.map.names[*target];
            return Some(Reply::Error(format!("ASK {slot} {target}")));
        }
        if is_asking && view.importing.contains(&slot) {
            return match keys.len() > 1 && here < keys.len() {
                true => try_again(),
                false => None,
            };
        }
        let owner = &view.map.names[owner];
        Some(Reply::Error(format!("MOVED {slot} {owner}")))
    }
}

/// The keys of a command.
fn keys<'a>(name: &[u8], arguments: &'a [Bytes]) -> &'a [Bytes] {
    match name {
        b"EVALSHA" | b"EVAL" => {
            let count = arguments
                .get(1)
                .and_then(|count| std::str::from_utf8(count).ok());
            let count = count.and_then(|count| count.parse::<usize>().ok());
            let end = 2 + count.unwrap_or_default();
            arguments.get(2..end).unwrap_or_default()
        }
        b"PING" | b"ASKING" | b"CLUSTER" => &[],
        _ => arguments.get(..1).unwrap_or_default(),
    }
}

fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            questions: self.questions + other.questions,
            received: self.received + other.received,
            sent: self.sent + other.sent,
            busy: self.busy + other.busy,
        }
    }
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            questions: self.questions - other.questions,
            received: self.received - other.received,
            sent: self.sent - other.sent,
            busy: self.busy - other.busy,
        }
    }
}
