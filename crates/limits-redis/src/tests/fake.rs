//! Nodes of a cluster that answer what a test says.

use std::collections::{BTreeSet, HashSet};
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use redis::Value;

use crate::hash_slot::{HASH_SLOTS, hash_slot};

use super::*;

/// Some nodes, by the names of `CLUSTER SLOTS`.
struct Fakes(Vec<Arc<Fake>>);

struct Fake {
    port: u16,
    view: Mutex<View>,
    /// The names of leases that this node has.
    leases: Mutex<HashSet<String>>,
    /// What was asked, as the name of the script and its first key.
    asked: Mutex<Vec<(&'static str, String)>>,
}

/// What a node believes.
#[derive(Clone, Default)]
struct View {
    /// The first and last hash slot of a range, its primary and its replica.
    ranges: Vec<(u16, u16, u16, Option<u16>)>,
    /// The answers to scripts with a key in these hash slots.
    refusals: Vec<(u16, String)>,
}

impl Fakes {
    /// In the order of their names.
    fn start(count: usize) -> Self {
        let listeners: Vec<_> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let port = |it: &TcpListener| it.local_addr().expect("an address").port();
        let mut listeners: Vec<_> = listeners.into_iter().map(|it| (port(&it), it)).collect();
        listeners.sort_by_key(|(port, _)| format!("127.0.0.1:{port}"));
        let fakes = listeners.into_iter().map(|(port, listener)| {
            let fake = Arc::new(Fake {
                port,
                view: Mutex::default(),
                leases: Mutex::default(),
                asked: Mutex::default(),
            });
            let serving = Arc::clone(&fake);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let fake = Arc::clone(&serving);
                    thread::spawn(move || fake.serve(stream));
                }
            });
            fake
        });
        Self(fakes.collect())
    }

    fn port(&self, node: usize) -> u16 {
        self.0[node].port
    }

    /// Sets what these nodes believe.
    fn believe(&self, nodes: &[usize], ranges: &[(u16, u16, usize, Option<usize>)]) {
        for node in nodes {
            let ranges = ranges.iter().map(|&(first, last, primary, replica)| {
                let replica = replica.map(|it| self.port(it));
                (first, last, self.port(primary), replica)
            });
            self.0[*node].view.lock().expect("a lock").ranges = ranges.collect();
        }
    }

    /// A node answers scripts about a hash slot with this error.
    fn refuse(&self, node: usize, slot: u16, error: &str) {
        let mut view = self.0[node].view.lock().expect("a lock");
        view.refusals.retain(|(refused, _)| *refused != slot);
        view.refusals.push((slot, error.to_owned()));
    }

    fn options(&self, deadline: Duration) -> RedisOptions {
        let hosts = self.0.iter().map(|it| format!("127.0.0.1:{}", it.port));
        let url = format!("redis-cluster://{}", hosts.collect::<Vec<_>>().join(","));
        RedisOptions {
            deadline,
            ..RedisOptions::new(Secret::new(&url).expect("a URL"))
        }
    }

    fn asked(&self, node: usize) -> Vec<(&'static str, String)> {
        self.0[node].asked.lock().expect("a lock").clone()
    }
}

impl Fake {
    fn serve(&self, stream: TcpStream) {
        let mut answers = stream.try_clone().expect("a stream");
        let mut commands = BufReader::new(stream);
        let mut parser = redis::Parser::new();
        while let Ok(Value::Array(words)) = parser.parse_value(&mut commands) {
            let word = |word: &Value| match word {
                Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
                other => panic!("{other:?}"),
            };
            let words: Vec<_> = words.iter().map(word).collect();
            if answers.write_all(self.answer(&words).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, words: &[String]) -> String {
        match &*words[0] {
            "CLUSTER" => self.slots(),
            "PING" => "+PONG\r\n".to_owned(),
            "ASKING" => "+OK\r\n".to_owned(),
            "ZREM" => ":1\r\n".to_owned(),
            "EVALSHA" => {
                let key = &words[3];
                let slot = hash_slot(key);
                let refusals = self.view.lock().expect("a lock").refusals.clone();
                let refused = refusals.into_iter().find(|(refused, _)| *refused == slot);
                let name = script(&words[1]);
                self.asked.lock().expect("a lock").push((name, key.clone()));
                match refused {
                    Some((_, error)) => format!("-{error}\r\n"),
                    None => self.run(name, &words[2..]),
                }
            }
            other => panic!("not expected: {other}"),
        }
    }

    /// `CLUSTER SLOTS`.
    fn slots(&self) -> String {
        let ranges = self.view.lock().expect("a lock").ranges.clone();
        let node = |port: u16| format!("*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
        let range = |(first, last, primary, replica): &(u16, u16, u16, Option<u16>)| {
            let nodes = [Some(*primary), *replica].into_iter().flatten();
            let nodes: Vec<_> = nodes.map(node).collect();
            let count = nodes.len() + 2;
            format!("*{count}\r\n:{first}\r\n:{last}\r\n{}", nodes.concat())
        };
        let ranges: Vec<_> = ranges.iter().map(range).collect();
        format!("*{}\r\n{}", ranges.len(), ranges.concat())
    }

    /// Runs a script: grants everything, and remembers the leases.
    fn run(&self, name: &str, words: &[String]) -> String {
        let keys: usize = words[0].parse().expect("a number");
        let arguments = &words[1 + keys..];
        let mut leases = self.leases.lock().expect("a lock");
        match name {
            "admit" => {
                leases.insert(arguments[1].clone());
                "*5\r\n:0\r\n:0\r\n:0\r\n:-1\r\n:-1\r\n".to_owned()
            }
            "renew" => {
                let mut missing = Vec::new();
                for (index, lease) in arguments[2..].iter().enumerate() {
                    if !leases.contains(lease) {
                        missing.push(format!(":{index}\r\n"));
                        if arguments[1] == "1" {
                            leases.insert(lease.clone());
                        }
                    }
                }
                format!("*{}\r\n{}", missing.len(), missing.concat())
            }
            _ => "*1\r\n:1\r\n".to_owned(),
        }
    }
}

fn script(hash: &str) -> &'static str {
    let scripts = [
        ("admit", include_str!("../admit.lua")),
        ("renew", include_str!("../renew.lua")),
        ("register", include_str!("../register.lua")),
        ("give back", include_str!("../give_back.lua")),
    ];
    let known = scripts
        .iter()
        .find(|(_, code)| redis::Script::new(code).get_hash() == hash);
    known.expect("a script").0
}

/// Accounts in different hash slots, and the key of their slots.
fn accounts(count: usize) -> Vec<(AcquireRequest, String, u16)> {
    let mut slots = BTreeSet::new();
    let accounts = (0..).map(|number| format!("account-{number}"));
    let accounts = accounts.filter_map(|id| {
        let slots_key = format!("{{voxgate@account:{id}}}:slots:account:{id}");
        let slot = hash_slot(&slots_key);
        let request = key("k", Limits::default()).with_account(&*id, concurrency(9));
        slots.insert(slot).then_some((request, slots_key, slot))
    });
    accounts.take(count).collect()
}

const LAST: u16 = HASH_SLOTS - 1;
const SHORT: Duration = Duration::from_millis(500);

fn is_granted(store: &RedisStore, request: &AcquireRequest) -> bool {
    match block_on(store.ask(request, None)).result {
        Ok(granted) => {
            std::mem::forget(granted);
            true
        }
        Err(AcquireError::Unavailable) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Nodes that name each other are asked a few times, and count as servers that answer.
#[test]
fn a_circle_of_redirections_ends_and_opens_no_breaker() {
    let fakes = Fakes::start(2);
    fakes.believe(&[0, 1], &[(0, LAST, 0, None)]);
    let [circle, moving, unknown, ask, good] = &accounts(5)[..] else {
        unreachable!();
    };
    for (node, other) in [(0, 1), (1, 0)] {
        let port = fakes.port(other);
        fakes.refuse(
            node,
            circle.2,
            &format!("MOVED {} 127.0.0.1:{port}", circle.2),
        );
        fakes.refuse(node, ask.2, &format!("ASK {} 127.0.0.1:{port}", ask.2));
    }
    fakes.refuse(0, moving.2, "TRYAGAIN Multiple keys request");
    fakes.refuse(0, unknown.2, &format!("MOVED {} ?:1", unknown.2));
    let store = started_with(fakes.options(SHORT));
    for request in [circle, moving, unknown, ask] {
        let before = [0, 1].map(|node| fakes.asked(node).len());
        // More than the failures that open a breaker.
        let asking: Vec<_> = (0..6).map(|_| store.ask(&request.0, None)).collect();
        for asking in asking {
            let answer = block_on(asking).result.expect_err("no node decides");
            assert_eq!(answer, AcquireError::Unavailable);
        }
        let asked = [0, 1].map(|node| fakes.asked(node).len());
        let asked = asked[0] + asked[1] - before[0] - before[1];
        assert!((6 * 2..=6 * 20).contains(&asked), "{asked}");
        assert!(is_granted(&store, &good.0), "others are decided");
    }
    assert!(store.is_up());
}

/// The first redirection to a replica that took over names one hash slot. Leases in the others are put
/// back before the node decides about them.
#[test]
fn leases_are_restored_before_a_successor_decides() {
    let fakes = Fakes::start(2);
    fakes.believe(&[0, 1], &[(0, LAST, 0, Some(1))]);
    let accounts = accounts(40);
    let store = started_with(fakes.options(DEADLINE));
    for (request, ..) in &accounts {
        assert!(is_granted(&store, request));
    }
    // No leases were replicated. The node knows of its successor before it changes its map.
    for (_, _, slot) in &accounts {
        let port = fakes.port(1);
        fakes.refuse(0, *slot, &format!("MOVED {slot} 127.0.0.1:{port}"));
    }
    assert!(is_granted(&store, &accounts[0].0));
    fakes.believe(&[0, 1], &[(0, LAST, 1, Some(0))]);
    for (request, ..) in &accounts {
        assert!(is_granted(&store, request));
    }
    until("it is noticed", || store.status().failovers == 1);
    for (request, ..) in &accounts[20..] {
        assert!(is_granted(&store, request));
    }
    let asked = fakes.asked(1);
    for (_, key, _) in &accounts[20..] {
        let first = |what| {
            let mut asked = asked.iter();
            asked.position(|(script, of)| *script == what && of == key)
        };
        let last = asked.iter().rposition(|it| *it == ("admit", key.clone()));
        assert!(first("renew") < last, "{key}: {asked:?}");
        assert!(first("renew").is_some(), "{key}");
    }
    assert_eq!(fakes.0[1].leases.lock().expect("a lock").len(), {
        let granted = asked.iter().filter(|(script, _)| *script == "admit");
        granted.count() + accounts.len()
    });
}

/// The first node by name is cut off from the others, and still answers.
#[test]
fn the_map_of_most_nodes_counts() {
    let fakes = Fakes::start(4);
    let third = LAST / 3;
    let ranges = |first: usize| {
        [
            (0, third, first, Some(3 - first)),
            (third + 1, 2 * third, 1, None),
            (2 * third + 1, LAST, 2, None),
        ]
    };
    fakes.believe(&[0, 1, 2, 3], &ranges(0));
    let of_first = |(_, _, slot): &&(AcquireRequest, String, u16)| *slot <= third;
    let accounts = accounts(30);
    let account = accounts.iter().find(of_first).expect("an account");
    let store = started_with(fakes.options(DEADLINE));
    // It holds no lease, whose renewal would fail as well.
    let decides = || block_on(store.ask(&account.0, None)).result.is_ok();
    assert!(decides());
    // Another node takes over from it.
    fakes.believe(&[1, 2, 3], &ranges(3));
    fakes.refuse(0, account.2, "CLUSTERDOWN The cluster is down");
    until("the other is asked", decides);
    assert!(fakes.asked(3).iter().any(|(script, _)| *script == "admit"));
    for _ in 0..20 {
        assert!(decides());
    }
}

/// A request does not wait for a node that no server knows.
#[test]
fn a_hash_slot_without_a_node_is_unavailable_at_once() {
    let fakes = Fakes::start(1);
    let accounts = accounts(2);
    let (lower, upper) = match accounts[0].2 < accounts[1].2 {
        true => (&accounts[0], &accounts[1]),
        false => (&accounts[1], &accounts[0]),
    };
    fakes.believe(&[0], &[(0, lower.2, 0, None)]);
    let store = started_with(fakes.options(DEADLINE));
    assert!(is_granted(&store, &lower.0));
    assert!(!is_granted(&store, &upper.0));
    assert_eq!(store.failures(), 0, "it was not asked");
    fakes.believe(&[0], &[(0, LAST, 0, None)]);
    until("the map is read again", || is_granted(&store, &upper.0));
}
