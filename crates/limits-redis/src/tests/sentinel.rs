//! A failover by Sentinel.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use crate::SharedSpentTokens;

use super::server::{program, reserve};
use super::*;

pub(super) struct Sentinel {
    child: Child,
    _directory: TempDir,
}

impl Sentinel {
    pub(super) fn start(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sentinel.conf");
        fs::write(&file, settings).expect("written");
        let sentinel = Command::new(program().expect("Redis, as before"))
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: sentinel.expect("a Sentinel"),
            _directory: directory,
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_failover_by_sentinel_keeps_what_is_in_flight() {
    logs::listen();
    let [
        (_own, port),
        (_replica, replica_port),
        (_sentinel, sentinel_port),
    ] = [reserve(), reserve(), reserve()];
    let start = |port: u16, arguments: &[&str]| {
        let port = port.to_string();
        let tcp = ["--bind", "127.0.0.1", "--port", &port];
        Server::start(&[&tcp[..], &["--repl-diskless-sync-delay", "0"], arguments].concat())
    };
    let Some(mut primary) = start(port, &[]) else {
        return;
    };
    let of = format!("127.0.0.1 {port}");
    let replica = start(replica_port, &["--replicaof", &of]).expect("Redis, as before");
    until("it is a replica", || {
        let info: String = replica.run("INFO replication");
        info.contains("master_link_status:up")
    });
    let _sentinel = Sentinel::start(&format!(
        "bind 127.0.0.1\nport {sentinel_port}\nsentinel monitor main 127.0.0.1 {port} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    ));
    let client = redis::Client::open(format!("redis://127.0.0.1:{sentinel_port}")).expect("a URL");
    until("Sentinel knows the replica", || {
        let Ok(mut connection) = client.get_connection() else {
            return false;
        };
        let mut ask = redis::cmd("SENTINEL");
        let replicas = ask.arg("replicas").arg("main").query(&mut connection);
        replicas.is_ok_and(|it: Vec<redis::Value>| it.len() == 1)
    });
    let url = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{sentinel_port}/main");
    let store = started_with(RedisOptions {
        deadline: Duration::from_secs(1),
        lease: Duration::from_secs(3),
        ..RedisOptions::new(Secret::new(&url).expect("a URL"))
    });
    let request = key("a", concurrency(2));
    let held = store.decide(&request).expect("granted");
    assert_eq!(primary.taken("{voxgate}:slots:key:a"), 1);
    primary.kill();
    until("the replica takes over", || store.status().failovers == 1);
    until("it is up", || store.is_up());
    let second = store.decide(&request).expect("granted");
    assert!(store.decide(&request).is_err(), "the first still counts");
    assert_eq!(replica.taken("{voxgate}:slots:key:a"), 2);
    let told = logs::lines_with(&format!("127.0.0.1:{replica_port}"));
    assert!(told.iter().any(|it| it.contains("taken over")), "{told:?}");
    drop((held, second));
    until("they are released", || {
        replica.taken("{voxgate}:slots:key:a") == 0
    });
    let unknown = RedisOptions::new(Secret::new(&url.replace("/main", "/other")).expect("a URL"));
    let store = RedisStore::start(unknown).expect("started");
    until("it says why", || {
        let _ = block_on(store.ask(&request, None));
        !logs::lines_with("do not know the service").is_empty()
    });
}

/// A Sentinel that names the primary at this port, and knows of no replicas.
fn naming(primary: &Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let primary = Arc::clone(primary);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let primary = Arc::clone(&primary);
            thread::spawn(move || {
                let mut answers = stream.try_clone().expect("a stream");
                let (mut commands, mut parser) = (BufReader::new(stream), redis::Parser::new());
                while let Ok(redis::Value::Array(words)) = parser.parse_value(&mut commands) {
                    let port = primary.load(Ordering::SeqCst).to_string();
                    let length = port.len();
                    let answer = match &words[1] {
                        redis::Value::BulkString(what) if what == b"replicas" => {
                            "*0\r\n".to_owned()
                        }
                        _ => format!("*2\r\n$9\r\n127.0.0.1\r\n${length}\r\n{port}\r\n"),
                    };
                    if answers.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// The old primary is cut off from its Sentinels and still answers. One Sentinel is cut off with it, and
/// names it first.
#[test]
fn a_primary_that_most_sentinels_do_not_name_is_left() {
    let [(_first, old), (_second, new)] = [reserve(), reserve()];
    let start = |port: u16| Server::start(&["--bind", "127.0.0.1", "--port", &port.to_string()]);
    let (Some(before), Some(after)) = (start(old), start(new)) else {
        return;
    };
    let stale = Arc::new(AtomicU16::new(old));
    let others = Arc::new(AtomicU16::new(old));
    let hosts = [&stale, &others, &others].map(|it| format!("127.0.0.1:{}", naming(it)));
    let url = format!("redis-sentinel://{}/main", hosts.join(","));
    let options = || RedisOptions {
        lease: Duration::from_secs(1),
        deadline: DEADLINE,
        ..RedisOptions::new(Secret::new(&url).expect("a URL"))
    };
    let store = started_with(options());
    let tokens = SharedSpentTokens::start(options()).expect("started");
    let token = spending::single_use();
    assert_eq!(spending::spend(&tokens, &token), Ok(()));
    let used = |server: &Server| {
        let keys = server.keys();
        keys.iter().filter(|key| key.contains(":token:")).count()
    };
    assert_eq!((used(&before), used(&after)), (1, 0));
    others.store(new, Ordering::SeqCst);
    until("limits are counted by the new one", || {
        store.status().failovers == 1
    });
    until("tokens are used up in the new one", || {
        let _ = spending::spend(&tokens, &spending::single_use());
        used(&after) > 0
    });
    let count = used(&before);
    for _ in 0..5 {
        assert_eq!(spending::spend(&tokens, &spending::single_use()), Ok(()));
    }
    assert_eq!(used(&before), count);
}
