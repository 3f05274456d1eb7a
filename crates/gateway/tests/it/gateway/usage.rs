//! Metering and quotas of the running gateway.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use voxgate::Digest;

use super::harness::redis_server::Server;
use super::harness::{KEY, Program, Reply, Started, send_raw, serve, wait_until};
use super::lifecycle::admin;
use super::limits::until_metric;

/// No output may have it.
const CANARY: &str = "the canary sings 秘密 at dawn";

/// A second of audio, or an error if the request asks for one.
async fn upstream() -> std::net::SocketAddr {
    let speak = |headers: HeaderMap, _: String| async move {
        match headers.contains_key("x-fail") {
            true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            false => {
                let audio = [("content-type", "audio/pcm;rate=24000")];
                (audio, vec![0_u8; 48_000]).into_response()
            }
        }
    };
    serve(Router::new().route("/v1/audio/speech", post(speak))).await
}

struct Setup {
    directory: TempDir,
    upstream: std::net::SocketAddr,
}

impl Setup {
    async fn new(quota: &str) -> Self {
        let setup = Self {
            directory: tempfile::tempdir().unwrap(),
            upstream: upstream().await,
        };
        setup.set_quota(quota);
        setup
    }

    fn set_quota(&self, quota: &str) {
        let digest = Digest::of(KEY.as_bytes()).to_hex();
        let text = format!("[[key]]\nid = \"ivr\"\nsha256 = \"{digest}\"\nquota = {quota}\n");
        std::fs::write(self.path("keys.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn gateway(&self) -> Program {
        Program::gateway(self.upstream)
            .var("VOXGATE_DIALECT", "openai")
            .var("VOXGATE_KEYS_FILE", self.path("keys.toml"))
            .var("VOXGATE_USAGE_ANSWERS", "true")
    }

    fn with_state(&self) -> Program {
        self.gateway().var("VOXGATE_QUOTA_FILE", self.path("state"))
    }
}

async fn speak(gateway: &Started, text: &str, headers: &str) -> Reply {
    let body = serde_json::json!({"model": "tts-1", "input": text, "voice": "alloy"}).to_string();
    let request = format!(
        "POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    );
    send_raw(gateway.address, request).await
}

async fn usage(gateway: &Started) -> Value {
    let request = format!(
        "GET /voxgate/v1/usage HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Connection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    serde_json::from_str(&reply.body).unwrap()
}

/// Characters of this month.
async fn characters(gateway: &Started) -> u64 {
    usage(gateway).await["usage"][1]["key"]["characters"]
        .as_u64()
        .unwrap()
}

fn count(text: &str) -> u64 {
    text.chars().count() as u64
}

/// What the program prints about a log.
pub(super) fn voxgate(arguments: &[&str], log: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_voxgate"))
        .args(arguments)
        .arg(log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_is_spoken_is_counted_and_its_text_is_nowhere() {
    let setup = Setup::new("[\"1k characters/month\", \"1h audio/day\"]").await;
    let log = setup.path("audit");
    std::fs::create_dir(&log).unwrap();
    let mut gateway = setup.with_state().var("VOXGATE_AUDIT_DIR", &log).start();
    let reply = speak(&gateway, CANARY, "").await;
    assert_eq!(reply.status, 200);
    let left = 1_000 - count(CANARY);
    let limit = reply.header("ratelimit").unwrap();
    let own = format!("\"key_characters_month\";r={left};t=");
    assert!(limit.starts_with(&own), "{limit}");
    assert_eq!(speak(&gateway, CANARY, "X-Fail: 1\r\n").await.status, 500);
    let shown = usage(&gateway).await;
    assert_eq!(shown["usage"][1]["key"]["characters"], count(CANARY));
    assert_eq!(shown["usage"][1]["key"]["audio_seconds"], 1.0);
    assert_eq!(shown["usage"][1]["key"]["requests"], 1);
    let (_, metrics) = admin(&gateway, "/metrics").await;
    for expected in [
        format!(
            "voxgate_speech_characters_total{{key_id=\"ivr\"}} {}",
            2 * count(CANARY)
        ),
        "voxgate_speech_audio_seconds_total{key_id=\"ivr\"} 1.0".to_owned(),
        "voxgate_quota_used_ratio{scope=\"key\",id=\"ivr\",quota=\"1k characters/month\"}"
            .to_owned(),
    ] {
        assert!(metrics.contains(&expected), "{expected}: {metrics}");
    }
    let state = std::fs::read_to_string(setup.path("state")).unwrap();
    let mut outputs = vec![metrics, state, shown.to_string(), gateway.printed()];
    gateway.terminate();
    gateway.exit_status().await;
    let csv = voxgate(&["usage", "--by", "voice", "--format", "csv"], &log);
    let row = format!("alloy,1,1,0,{},1.000,48000,", count(CANARY));
    assert!(csv.contains(&row), "{csv}");
    // The question about usage is no request.
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let report = voxgate(&["audit", "report"], &log);
    assert!(
        report.contains("CHARACTERS") && report.contains("0:00:01"),
        "{report}"
    );
    outputs.extend([csv, report]);
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        outputs.push(String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    }
    for output in outputs {
        assert!(
            !output.contains("canary") && !output.contains("秘密"),
            "{output}"
        );
        assert!(!output.contains("\\u79d8"), "{output}");
    }
}

#[tokio::test]
async fn a_quota_survives_a_kill_a_lost_file_and_a_change() {
    let setup = Setup::new("\"100 characters/month\"").await;
    let log = setup.path("audit");
    std::fs::create_dir(&log).unwrap();
    let start = || setup.with_state().var("VOXGATE_AUDIT_DIR", &log).start();
    let mut gateway = start();
    for _ in 0..9 {
        assert_eq!(speak(&gateway, "0123456789", "").await.status, 200);
    }
    let refused = speak(&gateway, "0123456789x", "").await;
    assert_eq!(refused.status, 429);
    assert!(
        refused.body.contains("insufficient_quota"),
        "{}",
        refused.body
    );
    assert!(refused.header("ratelimit").unwrap().contains(";r=10;t="));
    // Records that wait in memory do not survive a kill, and the lost file is counted from them.
    wait_until("each request has its records", || {
        let files = std::fs::read_dir(&log).unwrap();
        let text = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let text = String::from_utf8_lossy(&text.collect::<Vec<_>>().concat()).into_owned();
        (text.matches("\"event\":\"complete\"").count() == 10).then_some(())
    })
    .await;
    gateway.signal(Signal::KILL);
    gateway.exit_status().await;

    let mut gateway = start();
    assert_eq!(characters(&gateway).await, 90);
    assert_eq!(speak(&gateway, "0123456789x", "").await.status, 429);
    assert_eq!(speak(&gateway, "0123456789", "").await.status, 200);
    assert_eq!(speak(&gateway, "x", "").await.status, 429);
    // Raised while it runs; what is used still counts.
    setup.set_quota("\"110 characters/month\"");
    for _ in 0..600 {
        if speak(&gateway, "0123456789", "").await.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(characters(&gateway).await, 110);
    gateway.terminate();
    gateway.exit_status().await;

    // A lost file is counted again from the audit log.
    std::fs::remove_file(setup.path("state")).unwrap();
    let mut gateway = start();
    assert_eq!(characters(&gateway).await, 110);
    assert_eq!(speak(&gateway, "x", "").await.status, 429);
    gateway.terminate();
    gateway.exit_status().await;

    std::fs::write(setup.path("state"), "not ours\n").unwrap();
    let (code, _, said) = setup
        .with_state()
        .var("VOXGATE_LISTEN", "127.0.0.1:0")
        .run();
    assert_eq!(code, Some(1));
    let path = setup.path("state").display().to_string();
    assert!(
        said.contains(&path) && said.contains("move this one away"),
        "{said}"
    );
}

/// The metric has the name and the labels of the chart's alert `VoxgateQuotaNearlyUsed`, which
/// `tests/chart/alerts_test.yaml` tests.
#[tokio::test]
async fn a_quota_that_passes_80_percent_is_reported_once() {
    let setup = Setup::new("[\"100 characters/month\", \"50 requests/day\"]").await;
    let gateway = setup.gateway().var("VOXGATE_LOG", "info").start();
    let ratio = "voxgate_quota_used_ratio{scope=\"key\",id=\"ivr\",quota=\"100 characters/month\"}";
    let lines = || {
        gateway
            .printed()
            .matches("80 % of the quota is used")
            .count()
    };
    for (text, used, reported) in [
        ("a".repeat(79), 0.79, 0),
        ("a".to_owned(), 0.8, 1),
        ("a".to_owned(), 0.81, 1),
        ("a".repeat(19), 1.0, 1),
    ] {
        assert_eq!(speak(&gateway, &text, "").await.status, 200);
        until_metric(&gateway, ratio, used).await;
        if reported > 0 {
            wait_until("the warning", || (lines() > 0).then_some(())).await;
        }
        assert_eq!(lines(), reported, "{used}");
    }
    assert_eq!(speak(&gateway, "a", "").await.status, 429);
    assert_eq!(lines(), 1);
    let printed = gateway.printed();
    let line = printed.lines().find(|line| line.contains("80 %")).unwrap();
    for part in ["WARN", "ivr", "100 characters/month"] {
        assert!(line.contains(part), "{line}");
    }
}

/// A process that is killed in the middle of a burst: the state file has each request that was
/// granted, and what is left is granted exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_exact_after_a_kill_in_a_burst() {
    let setup = Setup::new("\"400 characters/month\"").await;
    let log = setup.path("audit");
    std::fs::create_dir(&log).unwrap();
    let start = || setup.with_state().var("VOXGATE_AUDIT_DIR", &log).start();
    let mut gateway = start();
    let burst: Vec<_> = (0..60)
        .map(|_| tokio::spawn(answered(gateway.address)))
        .collect();
    // Some of the burst is answered, the rest is on its way.
    wait_until("answers", || {
        let ended = burst.iter().filter(|request| request.is_finished()).count();
        (ended >= 10).then_some(())
    })
    .await;
    gateway.signal(Signal::KILL);
    gateway.exit_status().await;
    let answered: Vec<u16> = join_all(burst)
        .await
        .into_iter()
        .map(|status| status.unwrap())
        .collect();
    let granted = answered.iter().filter(|status| **status == 200).count() as u64 * 10;

    let mut gateway = start();
    let used = characters(&gateway).await;
    assert!((granted..=400).contains(&used), "{granted} of {used}");
    let mut left = 400 - used;
    while speak(&gateway, "0123456789", "").await.status == 200 {
        assert!(left >= 10, "more than the quota is granted");
        left -= 10;
    }
    assert_eq!(left, 0);
    gateway.terminate();
    gateway.exit_status().await;

    // The audit log has what was granted since. Records that were still queued at the kill are
    // missing, so that it may have less of the burst than the state file had.
    std::fs::remove_file(setup.path("state")).unwrap();
    let gateway = start();
    let restored = characters(&gateway).await;
    assert!(
        (400 - used..=400).contains(&restored),
        "{used} used, {restored} restored"
    );
}

/// The status of a request for ten characters, or 0 if the connection broke.
async fn answered(address: std::net::SocketAddr) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let body = "{\"model\":\"tts-1\",\"input\":\"0123456789\",\"voice\":\"alloy\"}";
    let request = format!(
        "POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
        return 0;
    };
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes()).await;
    let whole = stream.read_to_end(&mut answer).await;
    let status = answer
        .get(9..12)
        .and_then(|code| std::str::from_utf8(code).ok());
    match (sent, whole, status.and_then(|code| code.parse().ok())) {
        (Ok(()), Ok(_), Some(status)) => status,
        _ => 0,
    }
}

/// Without a Redis there is nothing to see; that is on the list of what was skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_a_quota_exactly() {
    let Some(redis) = Server::start(&[]) else {
        return;
    };
    let setup = Setup::new("\"600 characters/month\"").await;
    let start = || {
        setup
            .gateway()
            .var("VOXGATE_REDIS_URL", redis.url())
            .var("VOXGATE_LIMIT_ON_FAILURE", "deny")
            .start()
    };
    let mut gateways = [start(), start()];
    for gateway in &gateways {
        until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
    }
    let mut granted = 0;
    // The first gateway is killed in the middle.
    for round in 0..3 {
        let asked = gateways
            .iter()
            .flat_map(|gateway| (0..15).map(move |_| gateway));
        let asked = asked.filter(|gateway| round == 0 || gateway.pid() == gateways[1].pid());
        let replies = join_all(asked.map(|gateway| speak(gateway, "0123456789", ""))).await;
        let of = |status| {
            replies
                .iter()
                .filter(|reply| reply.status == status)
                .count()
        };
        // A machine that stands still answers 503; such a request is not granted.
        assert_eq!(of(200) + of(429) + of(503), replies.len());
        granted += of(200) * 10;
        if round == 0 {
            gateways[0].signal(Signal::KILL);
            gateways[0].exit_status().await;
        }
    }
    // Late answers are taken back; at most one request is missing.
    assert!((590..=600).contains(&granted), "{granted}");
    let next = start();
    until_metric(&next, "voxgate_limit_shared_up", 1.0).await;
    let reply = speak(&next, "0123456789012345678901", "").await;
    assert!([429, 503].contains(&reply.status), "{}", reply.status);
}

/// The statuses of a burst at each of these gateways. `disturb` is called in the middle of it, when a
/// few requests are answered.
async fn burst(addresses: &[std::net::SocketAddr], disturb: impl FnOnce()) -> Vec<Vec<u16>> {
    const BEFORE: usize = 12;
    let ended = Arc::new(Semaphore::new(0));
    let client = |address: std::net::SocketAddr| {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..20 {
                statuses.push(answered(address).await);
                ended.add_permits(1);
            }
            statuses
        })
    };
    let bursts: Vec<Vec<_>> = addresses
        .iter()
        .map(|address| (0..4).map(|_| client(*address)).collect())
        .collect();
    drop(ended.acquire_many(BEFORE as u32).await.unwrap());
    disturb();
    let mut statuses = Vec::new();
    for burst in bursts {
        let burst = join_all(burst).await;
        statuses.push(burst.into_iter().flat_map(|it| it.unwrap()).collect());
    }
    statuses
}

fn count_of(statuses: &[Vec<u16>], status: u16) -> u64 {
    statuses
        .iter()
        .flatten()
        .filter(|it| **it == status)
        .count() as u64
}

/// Uses up what is left at these gateways in turn, and returns how many requests were granted.
async fn use_up(gateways: &[&Started]) -> u64 {
    let (mut granted, mut refused) = (0, 0);
    // What was taken for an answer that came too late is given back meanwhile.
    for gateway in gateways.iter().cycle().take(3_000) {
        match speak(gateway, "0123456789", "").await.status {
            200 => (granted, refused) = (granted + 1, 0),
            429 => refused += 1,
            status => {
                assert_eq!(status, 503);
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        if refused == 4 * gateways.len() {
            return granted;
        }
    }
    panic!("the quota is never used up");
}

/// One of two gateways is killed in the middle of a burst at both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_quota_is_exact_after_a_kill_of_a_gateway_in_a_burst() {
    let Some(redis) = Server::start(&[]) else {
        return;
    };
    let setup = Setup::new("\"1000 characters/month\"").await;
    let start = || {
        setup
            .gateway()
            .var("VOXGATE_REDIS_URL", redis.url())
            .var("VOXGATE_LIMIT_ON_FAILURE", "deny")
            .start()
    };
    let [killed, other] = [start(), start()];
    for gateway in [&killed, &other] {
        until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
    }
    let addresses = [killed.address, other.address];
    let statuses = burst(&addresses, || killed.signal(Signal::KILL)).await;
    assert_eq!(count_of(&statuses[1..], 0), 0, "the other gateway answers");
    assert!(count_of(&statuses[..1], 0) > 0, "the kill was in the burst");
    let granted = count_of(&statuses, 200) + use_up(&[&other]).await;
    // What the killed gateway has taken for requests that it did not answer stays taken.
    let lost = count_of(&statuses[..1], 0);
    assert!(
        (100_u64.saturating_sub(lost)..=100).contains(&granted),
        "{granted} granted, {lost} lost"
    );
    // No other request is missing: all of the quota is on the book.
    assert_eq!(characters(&other).await, 1_000);
}

/// Redis is killed in the middle of a burst, and has lost its data when it is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_quota_is_exact_after_a_kill_of_redis_in_a_burst() {
    let setup = Setup::new("\"1000 characters/month\"").await;
    for mode in ["deny", "local"] {
        let Some(mut redis) = Server::start(&[]) else {
            return;
        };
        let url = redis.url();
        let start = || {
            setup
                .gateway()
                .var("VOXGATE_REDIS_URL", &url)
                .var("VOXGATE_LIMIT_ON_FAILURE", mode)
                .start()
        };
        let gateways = [start(), start()];
        for gateway in &gateways {
            until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
            until_metric(gateway, "voxgate_limit_replicas", 2.0).await;
        }
        let addresses = [gateways[0].address, gateways[1].address];
        let statuses = burst(&addresses, || redis.kill()).await;
        assert_eq!(count_of(&statuses, 0), 0, "{mode}");
        if mode == "deny" {
            assert!(count_of(&statuses, 503) > 0, "the kill was in the burst");
        } else {
            assert_eq!(count_of(&statuses, 503), 0, "each has its share");
        }
        redis.start_again();
        for gateway in &gateways {
            until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
        }
        let granted = count_of(&statuses, 200) + use_up(&[&gateways[0], &gateways[1]]).await;
        // With `deny`, at most one request is missing. With `local`, what a gateway knows can lack the
        // requests that were under way at the other, and half of them is granted beyond the quota.
        let most = if mode == "deny" { 100 } else { 108 };
        assert!((99..=most).contains(&granted), "{mode}: {granted}");
        // Lost again when all is used: the gateway that asks first gets nothing.
        redis.kill();
        redis.start_again();
        for gateway in &gateways {
            until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
        }
        let more = use_up(&[&gateways[0]]).await;
        assert!(
            more <= 100_u64.saturating_sub(granted),
            "{mode}: {granted} and {more}"
        );
    }
}
