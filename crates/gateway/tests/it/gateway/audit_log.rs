//! What the audit trail promises, kept by the program in the face of failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use voxgate::audit::log::{VerifyOptions, VerifyOutcome, verify};

use super::harness::{KEY, Program, Started, record, send_raw, serve, wait_until};
use super::lifecycle::admin;

/// Longer than anything takes. Only a failing test waits for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn upstream() -> std::net::SocketAddr {
    serve(Router::new().fallback(get(|| async { "speech" }))).await
}

/// A gateway whose audit log is in a directory of its own.
pub(super) struct Logged {
    directory: TempDir,
}

impl Logged {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("audit")
    }

    pub(super) fn gateway(&self, upstream: std::net::SocketAddr, promise: &str) -> Program {
        Program::validating(upstream)
            .var("VOXGATE_AUDIT", promise)
            .var("VOXGATE_AUDIT_DIR", self.path())
            .var("VOXGATE_AUDIT_SEGMENT", "1MiB")
    }

    /// Every line of every segment that is a record, in order.
    pub(super) fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        for segment in segments(&self.path()) {
            let text = fs::read_to_string(segment).unwrap();
            let of_the_log =
                |line: &&str| line.contains("\"seq\":") || line.contains("\"event\":\"gap\"");
            records.extend(text.lines().filter(of_the_log).map(record));
        }
        records
    }

    fn outcome(&self) -> VerifyOutcome {
        verify(&self.path(), &VerifyOptions::default(), &mut |_| {}).outcome
    }
}

pub(super) fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    segments.sort();
    segments
}

pub(super) async fn ask(gateway: &Started, key: &str) -> (u16, Option<String>) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    (
        reply.status,
        reply.header("x-request-id").map(str::to_owned),
    )
}

/// Asks until the answer is not that the decision could not be put on record in time, which a disk
/// or a processor with too much to do may cause at any time.
pub(super) async fn ask_patiently(gateway: &Started, key: &str) -> (u16, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, request_id) = ask(gateway, key).await;
        if status != 503 {
            return (status, request_id.unwrap());
        }
        assert!(Instant::now() < deadline, "never on record in time");
    }
}

/// Waits for the gateway to be ready, which it is not while it cannot keep its promise.
pub(super) async fn until_ready(gateway: &Started) {
    let deadline = Instant::now() + PATIENCE;
    while admin(gateway, "/readyz").await.0 != 200 {
        assert!(Instant::now() < deadline, "never ready again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_decided_is_in_a_log_that_verifies() {
    for promise in ["durable", "blocking", "counted"] {
        let logged = Logged::new();
        let mut gateway = logged.gateway(upstream().await, promise).start();
        let mut asked = BTreeMap::new();
        for key in [KEY, "wrong", KEY] {
            let (status, request_id) = ask_patiently(&gateway, key).await;
            asked.insert(request_id, status);
        }
        gateway.terminate();
        assert_eq!(gateway.exit_status().await.code(), Some(0));
        assert!(
            matches!(logged.outcome(), VerifyOutcome::Whole),
            "{:?}",
            logged.outcome()
        );
        let records = logged.records();
        let events: Vec<_> = records
            .iter()
            .map(|record| record["event"].as_str().unwrap())
            .collect();
        assert_eq!((events[0], events[events.len() - 1]), ("start", "stop"));
        for (request_id, status) in asked {
            let of_it: Vec<_> = records
                .iter()
                .filter(|record| record["request_id"] == request_id.as_str())
                .collect();
            assert_eq!(of_it.len(), if status == 200 { 2 } else { 1 }, "{of_it:?}");
        }
        let numbers: Vec<_> = records
            .iter()
            .map(|record| record["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
        assert!(
            gateway.records().is_empty(),
            "standard output is not used beside a file"
        );
    }
}

/// An answer that somebody has is in the log, whenever the process is killed.
#[tokio::test]
async fn a_kill_at_any_moment_loses_no_answered_request() {
    const KILLS: u64 = 50;
    let logged = Logged::new();
    let upstream = upstream().await;
    let mut answered = BTreeSet::new();
    for kill in 0..KILLS {
        let gateway = logged.gateway(upstream, "durable").start();
        let callers = Callers::start(gateway.address);
        tokio::time::sleep(Duration::from_millis(20 + kill * 3)).await;
        // However slow this machine is, it has got somewhere.
        let least = 1 + kill as usize % 24;
        wait_until("answers", || (callers.answers() >= least).then_some(())).await;
        gateway.signal(rustix::process::Signal::KILL);
        answered.extend(callers.stop().await);
    }
    // The log is recovered when it is next opened.
    let mut gateway = logged.gateway(upstream, "durable").start();
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    assert!(
        matches!(logged.outcome(), VerifyOutcome::Whole),
        "{:?}",
        logged.outcome()
    );
    let records = logged.records();
    let decided: BTreeSet<&str> = records
        .iter()
        .filter(|record| record["event"] == "decision")
        .filter_map(|record| record["request_id"].as_str())
        .collect();
    assert!(answered.len() > 500, "{}", answered.len());
    let missing: Vec<_> = answered
        .iter()
        .filter(|id| !decided.contains(id.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "{} of {}: {missing:?}",
        missing.len(),
        answered.len()
    );
}

/// Eight clients that call until they are stopped. A quarter of them has a wrong key.
pub(super) struct Callers {
    stop: CancellationToken,
    answers: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Callers {
    pub(super) fn start(address: std::net::SocketAddr) -> Self {
        let (stop, answers) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..8).map(|client| {
            let (stop, answers) = (stop.clone(), Arc::clone(&answers));
            let key = if client % 4 == 0 { "wrong" } else { KEY };
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while !stop.is_cancelled() {
                    if let Some(request_id) = try_ask(address, key).await {
                        answered.push(request_id);
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
                answered
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            answers,
        }
    }

    /// The number of requests that were answered.
    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Returns the ids of all requests that were answered.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        let mut answered = Vec::new();
        for task in self.tasks {
            answered.extend(task.await.unwrap());
        }
        answered
    }
}

/// The request id, if there was an answer with which the decision is on record: 503 says that it
/// could not be put there in time.
pub(super) async fn try_ask(address: std::net::SocketAddr, key: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 503") {
        return None;
    }
    let (_, rest) = answer.split_once("x-request-id: ")?;
    Some(rest.split_once("\r\n")?.0.to_owned())
}

/// `kill -9` cannot show that a sync is missing: the kernel keeps what was written. The order of
/// the system calls can.
#[tokio::test]
async fn a_durable_decision_is_synced_before_anything_goes_out() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap().to_owned();
    let calls = "trace=fdatasync,write,writev,pwrite64,sendto,sendmsg";
    // Each write as a whole: a decision may stand in it behind other records.
    let strace = [
        "strace", "-D", "-f", "-y", "-s", "1000000", "-e", calls, "-o", &path,
    ];
    if !traces(&strace) {
        return;
    }
    let logged = Logged::new();
    let mut gateway = logged
        .gateway(upstream().await, "durable")
        .inside(&strace)
        .start();
    let (status, accepted) = ask_patiently(&gateway, KEY).await;
    assert_eq!(status, 200);
    let (status, refused) = ask_patiently(&gateway, "wrong").await;
    assert_eq!(status, 401);
    gateway.terminate();
    gateway.exit_status().await;
    let calls: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    for (request_id, goes_out) in [(accepted, "GET / HTTP/1.1"), (refused, "HTTP/1.1 401")] {
        let at = |what: &dyn Fn(&String) -> bool, from: usize| {
            let found = calls.iter().skip(from).position(what);
            from + found.unwrap_or_else(|| panic!("not found after {from}:\n{}", calls.join("\n")))
        };
        let written = at(
            &|call| call.contains(".jsonl>") && call.contains(&request_id),
            0,
        );
        let synced = at(
            &|call| call.contains("fdatasync(") || call.contains("fdatasync resumed"),
            written,
        );
        let done = at(
            &|call| call.contains("fdatasync") && call.contains("= 0"),
            synced,
        );
        let gone = at(
            &|call| {
                let goes_out = call.contains(goes_out) && call.contains(&request_id);
                goes_out && !call.contains(".jsonl>")
            },
            0,
        );
        assert!(
            written < synced && done < gone,
            "{written} {synced} {done} {gone} in:\n{}",
            calls.join("\n")
        );
    }
}

/// Whether a program can be traced here; otherwise that is on the list of what was skipped.
fn traces(strace: &[&str]) -> bool {
    let tried = Command::new(strace[0])
        .args(&strace[1..])
        .arg("true")
        .output();
    let possible = tried.is_ok_and(|tried| tried.status.success());
    if !possible {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
        let why = "strace is not installed, or may not trace";
        Command::new(script)
            .args(["add", "audit log under faults", why])
            .status()
            .unwrap();
    }
    possible
}

/// A disk that fails to sync for a while: requests are answered 503 or wait, nothing is lost, and
/// it goes on by itself.
#[tokio::test]
async fn a_failed_sync_is_never_a_success_and_loses_nothing() {
    for (promise, fault) in [
        ("durable", "inject=fdatasync:error=EIO:when=4..6"),
        ("durable", "inject=write:error=ENOSPC:when=9..11"),
        ("blocking", "inject=fdatasync:error=EIO:when=3..5"),
    ] {
        let logged = Logged::new();
        // Of the log's file alone: the process writes to others, too.
        let file = logged.path().join("audit-000000000001.jsonl");
        let file = file.to_str().unwrap();
        let traced = ["-e", "trace=fdatasync,write", "-e", fault, "-P", file];
        let strace = [&["strace", "-D", "-f", "-o", "/dev/null"][..], &traced].concat();
        if !traces(&strace) {
            return;
        }
        let mut gateway = logged
            .gateway(upstream().await, promise)
            .inside(&strace)
            .start();
        let mut answered = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        let mut n = 0;
        while n < 60 || answered.len() <= 40 {
            let key = if n % 3 == 0 { "wrong" } else { KEY };
            let (status, request_id) = ask(&gateway, key).await;
            assert!([200, 401, 503].contains(&status), "{status}");
            if status != 503 {
                answered.push(request_id.unwrap());
            }
            assert!(Instant::now() < deadline, "it never recovers");
            n += 1;
        }
        let begun = segments(&logged.path()).len();
        assert!(begun > 1, "{promise} {fault}: nothing has failed");
        until_ready(&gateway).await;
        let (_, metrics) = admin(&gateway, "/metrics").await;
        assert!(
            metrics.contains("voxgate_audit_records_lost_total 0\n"),
            "{metrics}"
        );
        gateway.terminate();
        gateway.exit_status().await;
        assert!(
            matches!(logged.outcome(), VerifyOutcome::Whole),
            "{promise} {fault}: {:?}",
            logged.outcome()
        );
        let records = logged.records();
        for request_id in answered {
            let decisions = records.iter().filter(|record| {
                record["event"] == "decision" && record["request_id"] == request_id.as_str()
            });
            assert!(decisions.count() >= 1, "{request_id}");
        }
    }
}

#[tokio::test]
async fn settings_of_the_log_are_checked_together() {
    let (code, _, error) = Program::validating("127.0.0.1:9")
        .var("VOXGATE_AUDIT", "durable")
        .var("VOXGATE_AUDIT_SEGMENT", "64")
        .var("VOXGATE_AUDIT_RETENTION", "1h")
        .var("VOXGATE_AUDIT_RETENTION_SHARE", "0%")
        .var("VOXGATE_AUDIT_PEPPER_FILE", "hunter2")
        .run();
    assert_eq!(code, Some(64));
    for line in [
        "VOXGATE_AUDIT: is `durable`, but standard output cannot be durable; set VOXGATE_AUDIT_DIR as well",
        "VOXGATE_AUDIT_SEGMENT: must be a size from 1MiB to 1024GiB",
        "VOXGATE_AUDIT_SEGMENT: has no effect without VOXGATE_AUDIT_DIR",
        "VOXGATE_AUDIT_RETENTION: must be at least one day",
        "VOXGATE_AUDIT_RETENTION_SHARE: must be a whole percentage from 1% to 100%",
        "VOXGATE_AUDIT_PEPPER_FILE: cannot be read",
    ] {
        assert!(error.contains(line), "{line} is missing in:\n{error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let logged = Logged::new();
    let upstream = upstream().await;
    let _first = logged.gateway(upstream, "blocking").start();
    let (code, _, error) = logged.gateway(upstream, "blocking").run();
    assert_eq!(code, Some(64));
    assert!(
        [
            "VOXGATE_AUDIT_DIR: ",
            "another process writes the audit log"
        ]
        .iter()
        .all(|said| error.contains(said)),
        "{error}"
    );
}

/// A file system of its own, in memory, that is gone when this is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let this = Self(tempfile::tempdir().unwrap());
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(this.0.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(this);
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
        let why = "this user may mount no file system";
        Command::new(script)
            .args(["add", "an audit log on a full disk", why])
            .status()
            .unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

/// A full disk shows when the next segment is due: then requests are answered 503, and it goes on
/// by itself when there is room.
#[tokio::test]
async fn a_full_disk_refuses_requests_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("6m") else {
        return;
    };
    let path = disk.0.path().join("audit");
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT", "durable")
        .var("VOXGATE_AUDIT_DIR", &path)
        .var("VOXGATE_AUDIT_SEGMENT", "1MiB");
    let mut gateway = gateway.start();
    let filler = disk.0.path().join("filler");
    let full = fs::write(&filler, vec![1; 16 << 20]).expect_err("a full disk");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // The first segment was reserved, so it goes on to its end.
    let mut answered = Vec::new();
    let mut refused = 0;
    while refused < 3 || admin(&gateway, "/readyz").await.0 == 200 {
        let asked = (0..16).map(|_| ask(&gateway, KEY));
        for (status, request_id) in futures_util::future::join_all(asked).await {
            match status {
                200 => answered.push(request_id.unwrap()),
                _ => refused += u32::from(status == 503),
            }
        }
        assert!(answered.len() < 10_000, "the segment has an end");
    }
    assert!(answered.len() > 500, "{}", answered.len());
    let (status, why) = admin(&gateway, "/readyz").await;
    assert_eq!(
        (status, why.as_str()),
        (503, "audit records cannot be written\n")
    );
    fs::remove_file(&filler).unwrap();
    until_ready(&gateway).await;
    let (status, request_id) = ask_patiently(&gateway, KEY).await;
    assert_eq!(status, 200);
    answered.push(request_id);
    let (_, metrics) = admin(&gateway, "/metrics").await;
    assert!(
        metrics.contains("voxgate_audit_records_lost_total 0\n"),
        "{metrics}"
    );
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let report = verify(&path, &VerifyOptions::default(), &mut |_| {});
    assert!(
        matches!(report.outcome, VerifyOutcome::Whole),
        "{:?}",
        report.outcome
    );
    let mut decided = BTreeSet::new();
    for segment in segments(&path) {
        for line in fs::read_to_string(segment).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["event"] == "decision" {
                decided.insert(line["request_id"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(
        answered
            .iter()
            .all(|request_id| decided.contains(request_id))
    );
}
