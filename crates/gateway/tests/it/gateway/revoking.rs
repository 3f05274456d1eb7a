//! `voxgate key revoke --now`: keys that all gateways refuse at once.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::get;
use rustix::process::Signal;
use tempfile::TempDir;
use voxgate::Digest;

use super::harness::redis_server::Server;
use super::harness::{Program, Started, send_raw, serve};

const KEYS: [&str; 3] = ["a", "b", "c"];

fn token(id: &str) -> String {
    format!("a-long-enough-key-of-{id}-0123456789abcdef")
}

fn keys() -> String {
    let table = |id: &str| {
        let digest = Digest::of(token(id).as_bytes()).to_hex();
        format!("[[key]]\nid = \"{id}\"\nsha256 = \"{digest}\"\n\n")
    };
    KEYS.map(table).concat()
}

/// A keys file in a directory of its own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.file(), keys()).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keys.toml")
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let arguments = [&["key"], arguments].concat();
        Program::new(&arguments).var("VOXGATE_KEYS_FILE", self.file())
    }

    /// Exit code and standard error.
    fn key(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (code, _, error) = self.command(arguments).run();
        (code, error)
    }

    fn sockets(&self) -> Vec<PathBuf> {
        sockets(self.0.path())
    }
}

fn sockets(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|end| end == "sock");
    paths.filter(is_socket).collect()
}

async fn upstream() -> SocketAddr {
    serve(Router::new().route("/", get(|| async { "speech" }))).await
}

fn gateway(upstream: SocketAddr, place: &Place) -> Program {
    Program::gateway(upstream)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .var("VOXGATE_KEYS_FILE", place.file())
}

async fn status(gateway: &Started, id: &str) -> u16 {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token(id)
    );
    send_raw(gateway.address, request).await.status
}

async fn until_refused(gateway: &Started, id: &str) {
    for _ in 0..3000 {
        if status(gateway, id).await == 401 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{id} is not refused");
}

fn confirmed(said: &str, gateway: &Started) -> bool {
    said.contains(&format!("confirmed: process {} ", gateway.pid()))
}

#[tokio::test]
async fn every_gateway_of_the_file_confirms_and_those_that_were_killed_are_forgotten() {
    let place = Place::new();
    let upstream = upstream().await;
    let start = || gateway(upstream, &place).start();
    let [one, two, mut killed] = [start(), start(), start()];
    let sockets = place.sockets();
    assert_eq!(sockets.len(), 3);
    for socket in &sockets {
        let mode = fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let (code, said) = place.key(&["revoke", "a", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    for gateway in [&one, &two, &killed] {
        assert!(confirmed(&said, gateway), "{said}");
        // Not soon: it has confirmed.
        assert_eq!(status(gateway, "a").await, 401);
        assert_eq!(status(gateway, "b").await, 200);
    }
    killed.signal(Signal::KILL);
    killed.exit_status().await;
    assert_eq!(place.sockets().len(), 3);
    let (code, said) = place.key(&["revoke", "b", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(confirmed(&said, &one) && confirmed(&said, &two) && !confirmed(&said, &killed));
    assert_eq!(
        place.sockets().len(),
        2,
        "the socket of the killed one is gone"
    );
    for gateway in [&one, &two] {
        assert_eq!(status(gateway, "b").await, 401);
        gateway.wait_for_record("key", |record| {
            // The changed file may be faster than the command.
            let is_change = record["change"] == "revoked" || record["change"] == "changed";
            record["event"] == "key" && is_change && record["key_id"] == "b"
        });
    }
    // One that ends in order removes its own; and what was revoked is in the file.
    let mut two = two;
    two.terminate();
    two.exit_status().await;
    assert_eq!(place.sockets().len(), 1);
    let again = start();
    assert_eq!(status(&again, "a").await, 401);
    assert_eq!(status(&again, "c").await, 200);
}

#[tokio::test]
async fn a_gateway_that_does_not_confirm_is_named() {
    let place = Place::new();
    let upstream = upstream().await;
    let (code, said) = place.key(&["revoke", "a", "--now"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no running gateway of this file was found"),
        "{said}"
    );
    let [one, frozen] = [(); 2].map(|()| gateway(upstream, &place).start());
    frozen.signal(Signal::STOP);
    let (code, said) = place.key(&["revoke", "b", "--now"]);
    frozen.signal(Signal::CONT);
    assert_eq!(code, Some(1));
    assert!(
        confirmed(&said, &one) && !confirmed(&said, &frozen),
        "{said}"
    );
    let named = format!("process {}: it did not answer within", frozen.pid());
    assert!(
        said.contains("NOT EVERY GATEWAY HAS CONFIRMED") && said.contains(&named),
        "{said}"
    );
    assert_eq!(status(&one, "b").await, 401);
    until_refused(&frozen, "b").await;
}

/// As in a container: the keys file is read-only, and the sockets are elsewhere.
#[tokio::test]
async fn a_key_is_revoked_although_its_file_cannot_be_written() {
    let place = Place::new();
    let run = tempfile::tempdir().unwrap();
    let upstream = upstream().await;
    let other = Place::new();
    let start = |place: &Place| {
        let gateway = gateway(upstream, place);
        gateway.var("VOXGATE_CONTROL_DIR", run.path()).start()
    };
    let [gateway, of_other_file] = [start(&place), start(&other)];
    assert_eq!((place.sockets().len(), sockets(run.path()).len()), (0, 2));
    // Whatever keeps the command from writing: here, the lock of the directory.
    let lock = fs::File::open(place.0.path()).unwrap();
    lock.lock().unwrap();
    let command = place.command(&["revoke", "a", "--now"]);
    let (code, _, said) = command.var("VOXGATE_CONTROL_DIR", run.path()).run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        confirmed(&said, &gateway) && !confirmed(&said, &of_other_file),
        "{said}"
    );
    assert!(
        said.contains("refuse the key until they are started again"),
        "{said}"
    );
    assert_eq!(status(&gateway, "a").await, 401);
    assert_eq!(status(&of_other_file, "a").await, 200);
    // Other changes of the file leave it revoked, until the file has it.
    let digest = Digest::of(b"another-long-enough-key").to_hex();
    let more = format!("[[key]]\nid = \"d\"\nsha256 = \"{digest}\"\n");
    fs::write(place.file(), keys() + &more).unwrap();
    gateway.wait_for_log("keys reloaded");
    assert_eq!(status(&gateway, "a").await, 401);
    let (code, _, error) = Program::gateway(upstream)
        .var("VOXGATE_KEYS_FILE", place.file())
        .var("VOXGATE_CONTROL_DIR", run.path().join("nowhere"))
        .run();
    assert_eq!(code, Some(64));
    assert!(error.contains("VOXGATE_CONTROL_DIR: "), "{error}");
}

#[tokio::test]
async fn a_rotation_waits_until_the_new_key_is_in_force() {
    let place = Place::new();
    let upstream = upstream().await;
    let gateways = [(); 2].map(|()| gateway(upstream, &place).start());
    let command = place.command(&["rotate", "a", "--overlap", "0s", "--now"]);
    let (code, out, said) = command.run();
    assert_eq!(code, Some(0), "{said}");
    for gateway in &gateways {
        assert!(confirmed(&said, gateway), "{said}");
        assert_eq!(status(gateway, "a").await, 401);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            out.trim_end()
        );
        assert_eq!(send_raw(gateway.address, request).await.status, 200);
    }
}

/// Three replicas with a file each, as in Kubernetes, where the kubelet brings a change later.
#[tokio::test]
async fn a_revocation_is_in_force_on_all_replicas_by_way_of_redis() {
    let Some(mut redis) = Server::start(&[]) else {
        return;
    };
    let places = [(); 3].map(|()| Place::new());
    let upstream = upstream().await;
    let start = |place: &Place, redis: &Server| {
        let gateway = gateway(upstream, place);
        gateway.var("VOXGATE_REDIS_URL", redis.url()).start()
    };
    let [one, two, mut killed] = places.each_ref().map(|place| start(place, &redis));
    let (code, said) = places[0].key(&["revoke", "a", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(confirmed(&said, &one), "{said}");
    assert!(
        said.contains("has told the other replicas through Redis"),
        "{said}"
    );
    for gateway in [&one, &two, &killed] {
        until_refused(gateway, "a").await;
        assert_eq!(status(gateway, "b").await, 200);
    }
    // Its file does not have it yet, when it is started again.
    killed.signal(Signal::KILL);
    killed.exit_status().await;
    let again = start(&places[2], &redis);
    assert_eq!(status(&again, "a").await, 401);
    // Without Redis, the command says who does not know.
    redis.kill();
    two.wait_for_log("revocations are not shared");
    one.wait_for_log("revocations are not shared");
    let (code, said) = places[0].key(&["revoke", "b", "--now"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("could not tell the other replicas"), "{said}");
    assert_eq!(
        (status(&one, "b").await, status(&two, "b").await),
        (401, 200)
    );
    // It has lost everything, and is told again.
    redis.start_again();
    for gateway in [&two, &again] {
        until_refused(gateway, "b").await;
    }
    let late = start(&Place::new(), &redis);
    let statuses = [status(&late, "a").await, status(&late, "b").await];
    assert_eq!((statuses, status(&late, "c").await), ([401, 401], 200));
}
