//! Tests against a cluster of three nodes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::Value;
use socket2::Socket;

use voxgate::rate_limit::QuotaStore as _;

use crate::hash_slot::{HASH_SLOTS, hash_slot};
use crate::lazy_client::LazyClient;
use crate::redis_error::RedisError;

use super::proxy::Proxy;
use super::server::reserve;
use super::*;

pub(super) struct Node {
    pub(super) server: Server,
    pub(super) port: u16,
    bus: u16,
    id: String,
    _reserved: [Socket; 2],
}

impl Node {
    /// `port_option` is the name of the option that has the port. `proxy` stands before the port of the
    /// bus, by which the nodes know each other.
    fn start(port_option: &str, options: &[&str], proxy: Option<&Proxy>) -> Option<Self> {
        let ((socket, port), (bus_socket, bus)) = (reserve(), reserve());
        let (port_text, bus_text) = (port.to_string(), bus.to_string());
        let announced = proxy.map_or(bus, |proxy| proxy.start(bus));
        let announced_text = announced.to_string();
        let usual = [
            "--bind",
            "127.0.0.1",
            port_option,
            &port_text,
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus_text,
            "--cluster-announce-bus-port",
            &announced_text,
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let server = Server::start(&[&usual, options].concat())?;
        let id = server.run("CLUSTER MYID");
        let _reserved = [socket, bus_socket];
        Some(Self {
            server,
            port,
            bus: announced,
            id,
            _reserved,
        })
    }

    fn has(&self, line: &str) -> bool {
        self.server.run::<String>("CLUSTER INFO").contains(line)
    }
}

/// Three primaries, each with a third of the hash slots, and this many replicas of the first.
pub(super) struct Cluster(pub(super) Vec<Node>);

impl Cluster {
    pub(super) fn start(replicas: usize) -> Option<Self> {
        Self::start_with(replicas, "--port", &[])
    }

    /// The nodes have these further options.
    pub(super) fn start_with(replicas: usize, port_option: &str, options: &[&str]) -> Option<Self> {
        let nodes = (0..3 + replicas).map(|_| Node::start(port_option, options, None));
        Self::join(nodes.collect::<Option<Vec<Node>>>()?)
    }

    /// The first node can be cut off from the others by these proxies, one for each node.
    pub(super) fn start_behind(proxies: &[Proxy]) -> Option<Self> {
        let nodes = proxies.iter().enumerate().map(|(index, proxy)| {
            let source = ["--bind-source-addr", "127.0.0.2"];
            let options = if index == 0 { &source[..] } else { &[] };
            Node::start("--port", options, Some(proxy))
        });
        Self::join(nodes.collect::<Option<Vec<Node>>>()?)
    }

    fn join(nodes: Vec<Node>) -> Option<Self> {
        for (index, node) in nodes.iter().enumerate() {
            let _: Value = node
                .server
                .run(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            let (port, bus) = (nodes[0].port, nodes[0].bus);
            if index > 0 {
                let meet = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
                let _: Value = node.server.run(&meet);
            }
            if index < 3 {
                let third = usize::from(HASH_SLOTS).div_ceil(3);
                let last = ((index + 1) * third).min(HASH_SLOTS.into()) - 1;
                let add = format!("CLUSTER ADDSLOTSRANGE {} {last}", index * third);
                let _: Value = node.server.run(&add);
            }
        }
        let known = format!("cluster_known_nodes:{}", nodes.len());
        let is_known = |node: &Node| node.has("cluster_state:ok") && node.has(&known);
        until("the cluster is up", || nodes.iter().all(is_known));
        for node in &nodes[3..] {
            let replicate = format!("CLUSTER REPLICATE {}", nodes[0].id);
            let _: Value = node.server.run(&replicate);
            until("it is a replica", || {
                let info: String = node.server.run("INFO replication");
                info.contains("master_link_status:up")
            });
            until("the primary tells of it", || {
                let slots: String = nodes[1].server.run("CLUSTER NODES");
                slots.contains(&format!("slave {}", nodes[0].id))
            });
        }
        Some(Self(nodes))
    }

    pub(super) fn options(&self) -> RedisOptions {
        let hosts: Vec<_> = self.0.iter().map(|it| it.port).collect();
        let hosts = hosts.iter().map(|port| format!("127.0.0.1:{port}"));
        let url = format!("redis-cluster://{}", hosts.collect::<Vec<_>>().join(","));
        RedisOptions {
            deadline: DEADLINE,
            lease: Duration::from_secs(3),
            ..RedisOptions::new(Secret::new(&url).expect("a URL"))
        }
    }

    /// The primary that has this hash slot at first.
    pub(super) fn owner(&self, slot: u16) -> usize {
        usize::from(slot) / usize::from(HASH_SLOTS).div_ceil(3)
    }

    /// An account whose hash slot this primary has.
    pub(super) fn account_on(&self, node: usize) -> String {
        let accounts = (0..).map(|number| format!("account-{number}"));
        let mut found = accounts
            .filter(|it| self.owner(hash_slot(&format!("{{voxgate@account:{it}}}"))) == node);
        found.next().expect("an account")
    }

    /// Moves a hash slot with all of its keys, slowly, as `redis-cli --cluster reshard` does.
    fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.0[from], &self.0[to]);
        let set = |node: &Node, words: &str| {
            let _: Value = node.server.run(&format!("CLUSTER SETSLOT {slot} {words}"));
        };
        set(target, &format!("IMPORTING {}", source.id));
        set(source, &format!("MIGRATING {}", target.id));
        thread::sleep(Duration::from_millis(50));
        let keys: Vec<String> = source
            .server
            .run(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        for key in keys {
            let port = target.port.to_string();
            let words = ["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"];
            let _: Value = source.server.run_words(&words);
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(50));
        for node in [target, source] {
            set(node, &format!("NODE {}", target.id));
        }
    }
}

#[test]
fn a_cluster_spreads_accounts_and_shares_their_limits() {
    let Some(cluster) = Cluster::start(0) else {
        return;
    };
    for key in ["{voxgate}:gateways", "{voxgate@account:a}:slots:key:k", "x"] {
        let slot: u16 = cluster.0[0].server.run_words(&["CLUSTER", "KEYSLOT", key]);
        assert_eq!(slot, hash_slot(key), "{key}");
    }
    let stores = [
        started_with(cluster.options()),
        started_with(cluster.options()),
    ];
    until("both are known", || {
        stores.iter().all(|it| it.replicas() == 2)
    });
    let mut held = Vec::new();
    for node in 0..3 {
        let account = cluster.account_on(node);
        let request = of_all(
            key("k", rate("50/h")).with_account(&*account, concurrency(3)),
            9,
        );
        for store in stores.iter().cycle().take(3) {
            held.push(store.decide(&request).expect("granted"));
        }
        for store in &stores {
            let exceeded = store.decide(&request).expect_err("refused");
            assert_eq!(exceeded.limit, Limit::AccountConcurrency);
        }
    }
    for node in &cluster.0 {
        assert!(node.server.keys().iter().any(|it| it.contains("@account")));
    }
    // The upstream is full, and its refusals use up nothing of the key.
    let request = of_all(key("other", rate("5/h")), 9);
    for store in stores.iter().cycle().take(20) {
        let exceeded = store.decide(&request).expect_err("refused");
        assert_eq!(exceeded.limit, Limit::UpstreamConcurrency);
    }
    let level = "{voxgate@key:other}:rate:1/720000000:key:other";
    let owner = &cluster.0[cluster.owner(hash_slot(level))].server;
    until("the rate is given back", || {
        !owner.keys().contains(&level.to_owned())
    });
    drop(held);
    let upstream = "{voxgate@upstream}:slots:upstream";
    let owner = &cluster.0[cluster.owner(hash_slot(upstream))].server;
    until("the slots are free", || owner.taken(upstream) == 0);
    assert_eq!(stores[0].grants(9, &request), 5);
    assert_eq!(stores.iter().map(RedisStore::failures).sum::<u64>(), 0);
    for node in &cluster.0 {
        let left = || {
            node.server
                .keys()
                .into_iter()
                .find(|it| it.contains(":slots:"))
        };
        until("nothing is in flight", || left().is_none());
    }
}

/// A slot moves there and back while requests are decided: none is counted twice or forgotten.
#[test]
fn counts_are_exact_while_a_slot_moves() {
    let Some(cluster) = Cluster::start(0) else {
        return;
    };
    let account = cluster.account_on(0);
    let slot = hash_slot(&format!("{{voxgate@account:{account}}}"));
    let limits = Limits {
        concurrency: NonZeroU32::new(10_000),
        ..rate("600/h")
    };
    let request = key("k", Limits::default()).with_account(&*account, limits);
    let stores = [
        started_with(cluster.options()),
        started_with(cluster.options()),
    ];
    let begun = Instant::now();
    let (is_over, granted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let held = thread::scope(|scope| {
        let asking = stores.iter().cycle().take(4).map(|store| {
            let (request, is_over, granted) = (&request, &is_over, &granted);
            scope.spawn(move || {
                let mut held = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    // While its keys are on two nodes, a request waits.
                    if let Ok(grant) = block_on(store.ask(request, None)).result {
                        granted.fetch_add(1, Ordering::Relaxed);
                        held.push(grant);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                held
            })
        });
        let asking: Vec<_> = asking.collect();
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            cluster.move_slot(slot, from, to);
        }
        until("all are used", || granted.load(Ordering::Relaxed) >= 600);
        thread::sleep(Duration::from_millis(100));
        is_over.store(true, Ordering::Relaxed);
        let held = asking.into_iter().flat_map(|it| it.join().expect("asked"));
        held.collect::<Vec<_>>()
    });
    // One more is allowed each six seconds.
    let most = 601 + usize::try_from(begun.elapsed().as_secs() / 6).expect("small");
    assert!((600..=most).contains(&held.len()), "{}", held.len());
    let slots = format!("{{voxgate@account:{account}}}:slots:account:{account}");
    let taken = || cluster.0[0].server.taken(&slots);
    assert_eq!(taken(), held.len());
    drop(held);
    until("all are released", || taken() == 0);
}

/// The stream moves to another node between two revocations.
#[test]
fn revocations_are_shared_in_a_cluster() {
    use voxgate::keys::{Revocation, RevocationEffect};
    use voxgate::{Key, KeyRing, Principal, SharedKeyRing};

    let Some(cluster) = Cluster::start(0) else {
        return;
    };
    let secret = |id: &str| Secret::new(&format!("a-long-enough-key-of-{id}")).expect("a secret");
    let ring = || {
        let keys = ["a", "b"].map(|id| Key::from_digest(secret(id).digest(), Principal::new(id)));
        SharedKeyRing::new(KeyRing::new(keys).expect("good keys"))
    };
    let rings = [ring(), ring()];
    let shared = rings
        .each_ref()
        .map(|ring| crate::SharedRevocations::follow(cluster.options(), ring).expect("started"));
    let stream = hash_slot("{voxgate}:revocations");
    for id in ["a", "b"] {
        until("both are up", || shared.iter().all(|it| it.is_up()));
        let digest = secret(id).digest().to_hex();
        let revocation = Revocation::new(id, Some(&digest[..12])).expect("a revocation");
        let all = std::slice::from_ref(&revocation);
        rings[0].revoke(all);
        assert!(shared[0].publish(all, PATIENCE));
        until("the other refuses it", || {
            rings[1].ring().effects(all)[0] == RevocationEffect::Revoked
        });
        if id == "a" {
            let owner = cluster.owner(stream);
            cluster.move_slot(stream, owner, (owner + 1) % 3);
        }
    }
}

/// A key of the node of this number that is like a token's.
pub(super) fn token_on(cluster: &Cluster, node: usize, number: usize) -> String {
    let keys = (0..).map(|count| format!("{{voxgate@token:{number}-{count}}}"));
    let mut found = keys.filter(|key| cluster.owner(hash_slot(key)) == node);
    found.next().expect("a key")
}

/// Uses up a token by this key.
pub(super) async fn spend(client: &LazyClient, key: &str) -> Result<bool, RedisError> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(1).arg("NX").arg("PX").arg(60_000);
    client
        .write(key, &set, |reply| !matches!(reply, Value::Nil))
        .await
}

#[test]
fn a_token_is_used_once_in_a_cluster() {
    let Some(cluster) = Cluster::start(0) else {
        return;
    };
    let address = cluster.options().check().expect("options").address;
    let client = LazyClient::new(address);
    local(async {
        for number in 0..30 {
            let key = format!("{{voxgate@token:{number}}}");
            assert_eq!(spend(&client, &key).await, Ok(true));
            // Another node has it now.
            if number % 10 == 0 {
                let slot = hash_slot(&key);
                let owner = cluster.owner(slot);
                cluster.move_slot(slot, owner, (owner + 1) % 3);
            }
            assert_eq!(spend(&client, &key).await, Ok(false));
        }
        // A server closes connections that are idle. The next token is not refused.
        for number in 100..103 {
            for node in &cluster.0 {
                let _: i64 = node.server.run("CLIENT KILL TYPE normal SKIPME yes");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let key = token_on(&cluster, number % 3, number);
            assert_eq!(spend(&client, &key).await, Ok(true));
        }
    });
}

/// A quota of an account is exact, whichever node has it, while its hash slot moves.
#[test]
fn a_quota_is_exact_in_a_cluster() {
    const QUOTA: u64 = 2_000;
    let Some(cluster) = Cluster::start(0) else {
        return;
    };
    let account = cluster.account_on(2);
    let slot = hash_slot(&format!("{{voxgate@account:{account}}}"));
    let granted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for replica in ["one", "two"] {
            let (cluster, account, granted) = (&cluster, &account, &granted);
            scope.spawn(move || {
                let store = started_with(cluster.options());
                let mut own = 0;
                loop {
                    let command = quotas::of_account(account, replica, own, [7, 1, 0], QUOTA);
                    let answer = block_on(store.count(command));
                    // Its counters are moving.
                    let Some(answer) = answer else { continue };
                    if answer.refused.is_some() {
                        break;
                    }
                    own += 7;
                    granted.fetch_add(7, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            cluster.move_slot(slot, 2, 0);
            cluster.move_slot(slot, 0, 1);
        });
    });
    let granted = u64::try_from(granted.into_inner()).expect("small");
    assert_eq!(granted, QUOTA / 7 * 7);
}
