//! A failover by Sentinel.

use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

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
