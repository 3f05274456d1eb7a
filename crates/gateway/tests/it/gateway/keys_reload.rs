//! Keys that change while the gateway runs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::routing::get;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use voxgate::Digest;

use super::harness::{Program, Started, Token, send_raw, serve, serve_raw, wait_until};
use super::lifecycle::{admin, begin, begin_at, dictated};
use super::tunnels::{Socket, connect, echo, say};

/// When keys expire that have to be seen in force before, on a machine that may be busy.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test]
async fn an_edited_policy_is_put_in_force_and_a_wrong_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    let rule = |scope: &str| {
        format!(
            "[[rule]]\nmethod = \"GET\"\npath = \"/v1/say\"\nscope = \"{scope}\"\nexplicit = true\n"
        )
    };
    fs::write(&path, rule("admin:server")).unwrap();
    let keys = directory.path().join("keys.toml");
    let text = "[[key]]\nid = \"a\"\nsecret = \"0123456789abcdef\"\nscopes = [\"speak\"]\n";
    fs::write(&keys, text).unwrap();
    let upstream = serve(Router::new().route("/v1/say", get(|| async { "audio" }))).await;
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_KEYS_FILE", &keys)
        .var("VOXGATE_POLICY_FILE", &path)
        .var("VOXGATE_PUBLIC", "GET /v1/health")
        .start();
    let ask = async |start: &str| {
        let request = format!(
            "{start} HTTP/1.1\r\nHost: tts\r\nAuthorization: Bearer 0123456789abcdef\r\n\
             Connection: close\r\n\r\n"
        );
        send_raw(gateway.address, request).await.status
    };
    assert_eq!(ask("GET /v1/say").await, 403);
    fs::write(&path, "[[rule]]\ncolour = 1\n").unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("SIGHUP: reloading the keys and the policy");
    gateway.wait_for_log("the policy was not reloaded; the last good one stays in force");
    gateway.wait_for_log("unknown field `colour`");
    assert_eq!(ask("GET /v1/say").await, 403);
    let (_, metrics) = admin(&gateway, "/metrics").await;
    assert!(
        metrics.contains("\nvoxgate_policy_failed_loads_total 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("voxgate_keys_expiring{within=\"7d\"} 0\n"),
        "{metrics}"
    );
    fs::write(&path, rule("speak")).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("the policy was reloaded");
    assert_eq!(ask("GET /v1/say").await, 200);
    let sha256 = |scope: &str| {
        let digest = Digest::of(rule(scope).as_bytes());
        Value::from(digest.to_hex())
    };
    let changed = gateway.wait_for_record("policy", |record| record["event"] == "policy_changed");
    assert_eq!(
        changed["policy_before"],
        sha256("admin:server"),
        "{changed}"
    );
    assert_eq!(changed["policy"], sha256("speak"), "{changed}");
    assert_eq!(changed["rules"], changed["rules_before"], "{changed}");
    fs::write(&keys, text.replace("\"speak\"", "\"read\", \"speak\"")).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    let changed = gateway.wait_for_record("the key", |record| record["event"] == "key");
    assert_eq!(changed["rights_before"], "scopes=speak", "{changed}");
    assert_eq!(changed["rights"], "scopes=read speak", "{changed}");
    // `HEAD` is public where `GET` is: without a key, the upstream answers that there is nothing.
    for start in ["GET /v1/health", "HEAD /v1/health"] {
        let request = format!("{start} HTTP/1.1\r\nHost: tts\r\nConnection: close\r\n\r\n");
        assert_eq!(
            send_raw(gateway.address, request).await.status,
            404,
            "{start}"
        );
    }
}

/// A mounted Secret, as the kubelet writes one: the file is a link through `..data`, which is
/// exchanged by a rename.
struct Mounted {
    directory: TempDir,
    versions: AtomicUsize,
}

impl Mounted {
    fn new(keys: &str) -> Self {
        let this = Self {
            directory: tempfile::tempdir().unwrap(),
            versions: AtomicUsize::new(0),
        };
        this.update(keys);
        symlink("..data/keys.toml", this.path()).unwrap();
        this
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.toml")
    }

    /// As Kubernetes' AtomicWriter does it: the old version is removed when the new one is there.
    fn update(&self, keys: &str) {
        let root = self.directory.path();
        let number = self.versions.fetch_add(1, Ordering::Relaxed);
        let version = format!("..2026_11_21_{number}");
        fs::create_dir(root.join(&version)).unwrap();
        fs::write(root.join(&version).join("keys.toml"), keys).unwrap();
        let old = fs::read_link(root.join("..data"));
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(root.join(old)).unwrap();
        }
    }
}

async fn gateway(path: impl Into<PathBuf>) -> Started {
    let upstream = serve(Router::new().route("/", get(|| async { "speech" }))).await;
    let path = path.into();
    Program::gateway(upstream)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .var("VOXGATE_KEYS_FILE", path)
        .start()
}

async fn status(gateway: &Started, token: &Token) -> u16 {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.text
    );
    send_raw(gateway.address, request).await.status
}

async fn metric(gateway: &Started, name: &str) -> f64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics
        .lines()
        .find_map(line)
        .unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

/// Waits until so many sets of keys have been in force.
async fn generation(gateway: &Started, number: u32) {
    let patience = Patience::new();
    loop {
        let current = metric(gateway, "voxgate_key_ring_generation").await;
        assert!(current <= f64::from(number), "generation {current}");
        if current >= f64::from(number) {
            return;
        }
        patience.pause("that generation").await;
    }
}

async fn until_status(gateway: &Started, token: &Token, expected: u16) {
    let patience = Patience::new();
    while status(gateway, token).await != expected {
        patience.pause("that status").await;
    }
}

/// Waits again and again, but not for ever.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now() + Duration::from_secs(300))
    }

    async fn pause(&self, what: &str) {
        assert!(Instant::now() < self.0, "never {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_mounted_secret_is_followed_through_two_changes_in_a_second() {
    let [a, b, c] = ["a", "b", "c"].map(Token::new);
    let mounted = Mounted::new(&a.table());
    let gateway = gateway(mounted.path()).await;
    assert_eq!(status(&gateway, &a).await, 200);
    mounted.update(&b.table());
    mounted.update(&(c.table() + &b.table()));
    until_status(&gateway, &c, 200).await;
    assert_eq!(status(&gateway, &b).await, 200);
    assert_eq!(status(&gateway, &a).await, 401);
    // And once more, when it has settled.
    mounted.update(&a.table());
    until_status(&gateway, &a, 200).await;
    assert_eq!(status(&gateway, &c).await, 401);
    gateway.wait_for_log("keys reloaded");
}

#[tokio::test]
async fn bad_keys_leave_the_last_good_ones_in_force() {
    let [a, b] = ["a", "b"].map(Token::new);
    let mounted = Mounted::new(&a.table());
    let gateway = gateway(mounted.path()).await;
    let broken = format!("{}sha256 = \"hunter2\"\n[[key]]\n", b.table());
    for (n, bad) in [broken.as_str(), "", "# no keys\n"].into_iter().enumerate() {
        mounted.update(bad);
        let failed = "voxgate_key_ring_failed_loads_total";
        let patience = Patience::new();
        while metric(&gateway, failed).await < (n + 1) as f64 {
            patience.pause("so many failed loads").await;
        }
        assert_eq!(status(&gateway, &a).await, 200);
        assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    }
    gateway.wait_for_log("keys.toml:4: ");
    gateway.wait_for_log("contains no keys; to refuse all callers, disable each key");
    gateway.wait_for_log("the last good ones stay in force");
    assert_eq!(metric(&gateway, "voxgate_key_ring_generation").await, 1.0);
    assert!(!gateway.printed().contains("hunter2"));
    mounted.update(&b.table());
    until_status(&gateway, &b, 200).await;
    generation(&gateway, 2).await;
}

#[tokio::test]
async fn a_bad_file_does_not_keep_a_revoked_key_alive() {
    let [a, b, c] = ["a", "b", "c"].map(Token::new);
    let mounted = Mounted::new(&(a.table() + &b.table()));
    let gateway = gateway(mounted.path()).await;
    // One edit disables a key, and repeats the digest of another.
    let repeated = b.table().replace("\"b\"", "\"again\"");
    mounted.update(&format!(
        "{}disabled = true\n{}{repeated}{}",
        a.table(),
        b.table(),
        c.table()
    ));
    until_status(&gateway, &a, 401).await;
    assert_eq!(status(&gateway, &b).await, 200);
    assert_eq!(status(&gateway, &c).await, 401);
    gateway.wait_for_log("the key is refused from now on: the keys file refuses it");
    gateway.wait_for_record("key", |record| {
        record["event"] == "key" && record["change"] == "revoked" && record["key_id"] == "a"
    });
    let revoked = metric(&gateway, "voxgate_key_ring_revocations_total").await;
    let failed = metric(&gateway, "voxgate_key_ring_failed_loads_total").await;
    assert_eq!((revoked, failed), (1.0, 1.0));
    mounted.update(&(a.table() + &c.table()));
    until_status(&gateway, &c, 200).await;
    assert_eq!(status(&gateway, &a).await, 200);
}

#[tokio::test]
async fn a_file_that_vanishes_and_returns_is_read_again() {
    let [a, b] = ["a", "b"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, a.table()).unwrap();
    let gateway = gateway(&path).await;
    fs::remove_file(&path).unwrap();
    gateway.wait_for_log("keys.toml (No such file");
    assert_eq!(status(&gateway, &a).await, 200);
    fs::write(&path, b.table()).unwrap();
    until_status(&gateway, &b, 200).await;
    assert_eq!(status(&gateway, &a).await, 401);
}

/// What is written where it stands is not whole before its writer closes it: half of it might be
/// keys that are not disabled yet.
#[tokio::test]
async fn a_file_that_is_being_written_is_left_alone() {
    let [revoked, kept] = ["revoked", "kept"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let half = revoked.table();
    let rest = format!("disabled = true\n{}", kept.table());
    fs::write(&path, half.clone() + &rest).unwrap();
    let gateway = gateway(&path).await;
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    // Longer than two looks.
    for _ in 0..50 {
        assert_eq!(status(&gateway, &revoked).await, 401);
        assert_eq!(status(&gateway, &kept).await, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let also = Token::new("also");
    file.write_all((rest + &also.table()).as_bytes()).unwrap();
    drop(file);
    until_status(&gateway, &also, 200).await;
    assert_eq!(status(&gateway, &revoked).await, 401);
}

#[tokio::test]
async fn a_hangup_has_the_keys_read() {
    let [a, b] = ["a", "b"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, a.table()).unwrap();
    let gateway = gateway(&path).await;
    fs::write(&path, b.table()).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("SIGHUP: reloading the keys");
    until_status(&gateway, &b, 200).await;
    assert_eq!(status(&gateway, &a).await, 401);
}

/// By a clock that is a little late, the old key is one too many; a moment later it is not.
#[tokio::test]
async fn keys_that_were_one_too_many_are_tried_again() {
    let [old, new] = ["old", "new"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let account = "[[account]]\nid = \"acme\"\nmax_active_keys = 1\n";
    let of_account = |table: String| table + "account = \"acme\"\n";
    fs::write(&path, account.to_owned() + &of_account(old.table())).unwrap();
    let gateway = gateway(&path).await;
    let rotated = of_account(old.expiring(SOON)) + &of_account(new.table());
    fs::write(&path, account.to_owned() + &rotated).unwrap();
    gateway.wait_for_log("neither disabled nor expired");
    assert_eq!(status(&gateway, &old).await, 200);
    until_status(&gateway, &new, 200).await;
    assert_eq!(status(&gateway, &old).await, 401);
    assert_eq!(
        metric(&gateway, "voxgate_key_ring_failed_loads_total").await,
        1.0
    );
}

/// In a user namespace of its own, the process may have no inotify instance at all.
#[tokio::test]
async fn without_inotify_the_content_is_polled() {
    let [a, b] = ["a", "b"].map(Token::new);
    let mounted = Mounted::new(&a.table());
    let forbid = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let namespace = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        forbid,
        "-",
    ];
    let possible = Command::new(namespace[0])
        .args(&namespace[1..])
        .arg("true")
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        skipped(
            "the gateway without inotify",
            "this user may make no user namespace",
        );
        return;
    }
    let upstream = serve(Router::new().route("/", get(|| async { "speech" }))).await;
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .var("VOXGATE_KEYS_FILE", mounted.path())
        .inside(&namespace)
        .start();
    gateway.wait_for_log("changes of keys are noticed later than they might be");
    mounted.update(&b.table());
    until_status(&gateway, &b, 200).await;
    assert_eq!(status(&gateway, &a).await, 401);
}

fn skipped(what: &str, why: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
    Command::new(script)
        .args(["add", what, why])
        .status()
        .unwrap();
}

#[tokio::test]
async fn tunnels_of_keys_that_are_gone_are_cut_and_others_are_not() {
    let [kept, removed, disabled, expiring, replaced, limited] = [
        "kept", "removed", "disabled", "expiring", "replaced", "limited",
    ]
    .map(Token::new);
    let all = [&kept, &removed, &disabled, &expiring, &replaced, &limited];
    let mounted = Mounted::new(&all.map(Token::table).concat());
    let gateway = Program::gateway(echo().await)
        .var("VOXGATE_KEYS_FILE", mounted.path())
        .start();
    let mut sockets = Vec::new();
    for token in all {
        let (mut socket, request_id) = connect(&gateway, &token.text).await.unwrap();
        say(&mut socket, "hello").await;
        sockets.push((socket, request_id));
    }
    // The id is still there, and its secret is another.
    let successor = Token::new("replaced");
    let changed = [
        kept.table(),
        format!("{}disabled = true\n", disabled.table()),
        expiring.expiring(Duration::from_secs(2)),
        successor.table(),
        format!("{}scopes = []\n", limited.table()),
    ];
    mounted.update(&changed.concat());
    let (mut first, _) = sockets.remove(0);
    for (mut socket, request_id) in sockets {
        closed_for_policy(&mut socket).await;
        assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "revoked");
    }
    say(&mut first, "still here").await;
    for reason in [
        "unknown_credential",
        "disabled_credential",
        "expired_credential",
        "it allows less than before",
    ] {
        gateway.wait_for_log(&format!("\"reason\":\"{reason}\""));
    }
    assert_eq!(status(&gateway, &expiring).await, 401);
    gateway.wait_for_record("refusal", |record| record["reason"] == "expired_credential");
}

async fn closed_for_policy(socket: &mut Socket) {
    let close = socket.next().await.unwrap().unwrap();
    let Message::Close(Some(frame)) = close else {
        panic!("not a close: {close:?}");
    };
    assert_eq!(frame.code, CloseCode::Policy);
    assert!(socket.next().await.is_none_or(|end| end.is_err()));
}

#[tokio::test]
async fn a_key_expires_without_a_reload() {
    let soon = Token::new("soon");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, soon.expiring(SOON)).unwrap();
    let gateway = Program::gateway(echo().await)
        .var("VOXGATE_KEYS_FILE", &path)
        .start();
    let (mut socket, request_id) = connect(&gateway, &soon.text).await.unwrap();
    say(&mut socket, "hello").await;
    closed_for_policy(&mut socket).await;
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "revoked");
    assert!(connect(&gateway, &soon.text).await.is_err());
    assert_eq!(metric(&gateway, "voxgate_key_ring_generation").await, 1.0);
}

/// Somebody who asks again and again.
struct Load {
    /// Every status that there was, in turn.
    statuses: JoinHandle<Vec<u16>>,
    answers: Arc<AtomicUsize>,
}

impl Load {
    /// Waits for so many more answers.
    async fn goes_on(&self, answers: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + answers;
        wait_until("so many answers", || {
            (self.answers.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }
}

/// Asks until told to stop.
fn load(gateway: &Started, token: &Token, stop: &CancellationToken) -> Load {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.text
    );
    let (address, stop) = (gateway.address, stop.clone());
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let statuses = tokio::spawn(async move {
        let mut statuses = Vec::new();
        while !stop.is_cancelled() {
            statuses.push(send_raw(address, &request).await.status);
            count.fetch_add(1, Ordering::Relaxed);
            // The others want something of this machine, too.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        statuses
    });
    Load { statuses, answers }
}

#[tokio::test]
async fn a_rotation_refuses_nobody_inside_the_overlap_and_the_old_token_after_it() {
    let [rotated, steady] = ["ivr", "steady"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, rotated.table() + &steady.table()).unwrap();
    let (more, upstream) = dictated().await;
    let speech = serve(Router::new().route("/", get(|| async { "speech" }))).await;
    let upstreams = format!(
        "/=http://{speech},/stream=http://{upstream},/ws3=http://{}",
        echo().await
    );
    let gateway = Program::gateway(speech)
        .var("VOXGATE_UPSTREAM", upstreams)
        .var("VOXGATE_KEYS_FILE", &path)
        .start();
    let (mut tunnel, _) = connect(&gateway, &steady.text).await.unwrap();
    let (mut old_tunnel, _) = connect(&gateway, &rotated.text).await.unwrap();
    more.send("one, ").unwrap();
    let (_, stream) = begin_at(&gateway, "/stream", &steady.text).await;

    let [inside, after] = [CancellationToken::new(), CancellationToken::new()];
    let old = load(&gateway, &rotated, &inside);
    let unaffected = load(&gateway, &steady, &after);
    let (code, printed, error) = Program::new(&["key", "rotate", "ivr", "--overlap", "20s"])
        .var("VOXGATE_KEYS_FILE", &path)
        .run();
    assert_eq!(code, Some(0), "{error}");
    let new = Token {
        id: "ivr-2",
        text: printed.trim_end().to_owned(),
    };
    generation(&gateway, 2).await;
    let new_load = load(&gateway, &new, &after);
    // Well inside the overlap.
    for load in [&old, &unaffected, &new_load] {
        load.goes_on(100).await;
    }
    inside.cancel();
    let old = old.statuses.await.unwrap();
    assert!(old.iter().all(|status| *status == 200), "{old:?}");
    until_status(&gateway, &rotated, 401).await;
    closed_for_policy(&mut old_tunnel).await;
    assert_eq!(status(&gateway, &rotated).await, 401);
    after.cancel();
    for load in [unaffected, new_load] {
        let statuses = load.statuses.await.unwrap();
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    say(&mut tunnel, "still here").await;
    more.send("two").unwrap();
    drop(more);
    assert_eq!(stream.collect().await.unwrap().to_bytes(), "one, two");
    for key_id in ["ivr", "ivr-2", "steady"] {
        gateway.wait_for_record("decision", |record| {
            record["outcome"] == "accepted" && record["key_id"] == key_id
        });
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished_after_its_key_is_gone() {
    let [a, b] = ["a", "b"].map(Token::new);
    let mounted = Mounted::new(&a.table());
    let (more, upstream) = dictated().await;
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_KEYS_FILE", mounted.path())
        .start();
    more.send("one, ").unwrap();
    let (request_id, mut body) = begin(&gateway, &a.text).await;
    body.frame().await.unwrap().unwrap();
    mounted.update(&b.table());
    until_status(&gateway, &a, 401).await;
    more.send("two").unwrap();
    drop(more);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "two");
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "ok");
}

/// A body whose length nobody knows may go on for ever; nothing more of it goes upstream.
#[tokio::test]
async fn an_open_ended_request_of_a_key_that_is_gone_is_broken_off() {
    let [a, b] = ["a", "b"].map(Token::new);
    let mounted = Mounted::new(&a.table());
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let upstream = serve_raw(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                let _ = heard.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
                if read == 0 {
                    return;
                }
            }
        }
    });
    let gateway = Program::gateway(upstream.await)
        .var("VOXGATE_KEYS_FILE", mounted.path())
        .start();
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        a.text
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut all = String::new();
    while !all.contains("first") {
        all += &hears.recv().await.unwrap();
    }
    mounted.update(&b.table());
    gateway.wait_for_log("closing a stream: its key is no longer valid");
    // The gateway may have closed the connection by now.
    let _ = client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await;
    loop {
        match hears.recv().await.unwrap() {
            end if end.is_empty() => break,
            more => assert!(
                !more.contains("second") && !more.contains("0\r\n\r\n"),
                "{more}"
            ),
        }
    }
}

#[tokio::test]
async fn the_metrics_tell_which_keys_are_in_force() {
    let [a, b] = ["a", "b"].map(Token::new);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, a.table() + &b.table()).unwrap();
    let [one, other] = [gateway(&path).await, gateway(&path).await];
    status(&one, &a).await;
    let (_, metrics) = admin(&one, "/metrics").await;
    let digest = |metrics: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("voxgate_key_ring_info{"));
        line.expect("a digest").to_owned()
    };
    assert_eq!(digest(&metrics), digest(&admin(&other, "/metrics").await.1));
    assert!(metrics.contains("\nvoxgate_keys 2\n"), "{metrics}");
    assert!(
        metrics.contains("\nvoxgate_key_ring_generation 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nvoxgate_key_ring_failed_loads_total 0\n"),
        "{metrics}"
    );
    let last_used = metric(
        &one,
        "voxgate_key_last_used_timestamp_seconds{key_id=\"a\"}",
    )
    .await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!((0.0..120.0).contains(&(now.as_secs_f64() - last_used)));
    assert!(!metrics.contains("key_id=\"b\""), "{metrics}");
    // The file is looked at again and again: what is in force is never old.
    let mut greatest = 0.0_f64;
    let patience = Patience::new();
    loop {
        let since = metric(&one, "voxgate_key_ring_seconds_since_load").await;
        if since < greatest {
            break;
        }
        greatest = since;
        patience.pause("looked at again").await;
    }
    // A single change of a key is another digest.
    fs::write(&path, a.table() + &b.table() + "disabled = true\n").unwrap();
    generation(&one, 2).await;
    assert_ne!(digest(&metrics), digest(&admin(&one, "/metrics").await.1));
    // Who is gone was not used at any time.
    fs::write(&path, b.table()).unwrap();
    generation(&one, 3).await;
    one.wait_for_record("key", |record| {
        record["event"] == "key" && record["change"] == "removed" && record["key_id"] == "a"
    });
    let (_, metrics) = admin(&one, "/metrics").await;
    assert!(
        !metrics.contains("last_used_timestamp_seconds{key_id=\"a\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn bad_keys_at_the_start_are_an_error_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    fs::write(&path, "[[key]]\nid = \"a\"\n[[key]]\nid = \"a\"\n").unwrap();
    let (code, _, error) = Program::gateway("127.0.0.1:9")
        .var("VOXGATE_KEYS_FILE", &path)
        .run();
    assert_eq!(code, Some(64));
    for line in ["keys.toml:1: give each key", "keys.toml:3: give each key"] {
        assert!(error.contains(line), "{error}");
    }
}
