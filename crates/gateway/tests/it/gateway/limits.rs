//! How much callers may do, and what they are told when it is too much.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use voxgate::Digest;

use super::harness::{
    DEPLOYMENT_KEY, KEY, Program, Reply, Started, client, nowhere, send_raw, serve,
};
use super::lifecycle::{admin, begin, dictated};
use super::tunnels::{connect, echo, say};

const OTHER_KEY: &str = "another-key-that-is-long-enough";

async fn upstream() -> std::net::SocketAddr {
    serve(Router::new().fallback(get(|| async { "speech" }))).await
}

pub(super) async fn ask(gateway: &Started, key: &str) -> Reply {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    send_raw(gateway.address, request).await
}

/// Keys `a` and `b` of the account `acme`, with these lines in their tables and in the account's.
fn keys(of_each: &str, of_account: &str) -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let mut text = format!("[[account]]\nid = \"acme\"\n{of_account}\n");
    for (id, key) in [("a", KEY), ("b", OTHER_KEY)] {
        let digest = Digest::of(key.as_bytes()).to_hex();
        text.push_str(&format!(
            "[[key]]\nid = \"{id}\"\nsha256 = \"{digest}\"\naccount = \"acme\"\n{of_each}\n"
        ));
    }
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

/// The value of a metric, which must be there.
async fn metric(gateway: &Started, name: &str) -> f64 {
    let (_, text) = admin(gateway, "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .trim()
        .parse()
        .unwrap()
}

pub(super) async fn until_metric(gateway: &Started, name: &str, wanted: f64) {
    for _ in 0..300 {
        if metric(gateway, name).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} does not become {wanted}");
}

/// So many seconds, less what the machine has taken meanwhile.
fn about(expected: u64, seconds: &str) {
    let seconds: u64 = seconds.parse().unwrap();
    assert!((expected - 300..=expected).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_key_over_its_rate_is_told_when_to_come_back() {
    let (_directory, path) = keys("rate = \"2/h\"", "rate = \"100/h\"\nburst = 50");
    let gateway = Program::gateway(upstream().await)
        .var("VOXGATE_KEYS_FILE", path)
        .start();
    let policy = "\"key_rate\";q=2;w=3600, \"account_rate\";q=50;w=1800";
    for (left, full_after) in [(1, 1800), (0, 3600)] {
        let accepted = ask(&gateway, KEY).await;
        assert_eq!(accepted.status, 200);
        assert_eq!(accepted.header("ratelimit-policy"), Some(policy));
        let limit = accepted.header("ratelimit").unwrap();
        let (own, of_account) = limit.split_once(", ").unwrap();
        assert!(of_account.starts_with("\"account_rate\";r="), "{limit}");
        let (left_of_own, seconds) = own.rsplit_once(";t=").unwrap();
        assert_eq!(left_of_own, format!("\"key_rate\";r={left}"));
        about(full_after, seconds);
        assert_eq!(accepted.header("retry-after"), None);
    }
    let refused = ask(&gateway, KEY).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit-policy"), Some(policy));
    let limit = refused.header("ratelimit").unwrap();
    about(1800, limit.strip_prefix("\"key_rate\";r=0;t=").unwrap());
    about(1800, refused.header("retry-after").unwrap());
    assert_eq!(ask(&gateway, OTHER_KEY).await.status, 200);

    let record = gateway.wait_for_record("refusal", |record| record["outcome"] == "refused");
    assert_eq!(record["reason"], "rate_limited");
    assert_eq!(record["limit"], "key_rate");
    assert_eq!(record["status"], 429);
    assert_eq!(
        (&record["key_id"], &record["account"]),
        (&"a".into(), &"acme".into())
    );
    let refusals = "voxgate_limit_refusals_total{limit=\"key_rate\"}";
    assert_eq!(metric(&gateway, refusals).await, 1.0);
    let others = "voxgate_limit_refusals_total{limit=\"account_rate\"}";
    assert_eq!(metric(&gateway, others).await, 0.0);
}

#[tokio::test]
async fn keys_of_an_account_share_its_limits_and_defaults_are_each_keys_own() {
    let (_directory, path) = keys("", "rate = \"3/h\"");
    let gateway = Program::gateway(upstream().await)
        .var("VOXGATE_KEYS_FILE", path)
        .var("VOXGATE_LIMIT_RATE", "2/h")
        .var("VOXGATE_LIMIT_HEADERS", "off")
        .start();
    let mut limits = Vec::new();
    for key in [KEY, KEY, KEY, OTHER_KEY, OTHER_KEY] {
        let reply = ask(&gateway, key).await;
        assert_eq!(reply.header("ratelimit"), None);
        assert_eq!(reply.header("ratelimit-policy"), None);
        limits.push(reply.status);
    }
    assert_eq!(limits, [200, 200, 429, 200, 429]);
    gateway.wait_for_record("the last", |record| record["limit"] == "account_rate");
    let hit = |record: &serde_json::Value| record["limit"].as_str().map(str::to_owned);
    let hit: Vec<_> = gateway.records().iter().filter_map(hit).collect();
    assert_eq!(hit, ["key_rate", "account_rate"]);
}

#[tokio::test]
async fn a_stream_holds_its_slot_until_it_ends_or_its_caller_leaves() {
    let (more, upstream) = dictated().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .start();
    more.send("one").unwrap();
    let (_, body) = begin(&gateway, KEY).await;
    let refused = ask(&gateway, KEY).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );
    let policy = "\"key_concurrency\";q=1;qu=\"concurrent-requests\"";
    assert_eq!(refused.header("ratelimit-policy"), Some(policy));
    assert_eq!(refused.header("ratelimit"), Some("\"key_concurrency\";r=0"));
    drop(body);
    until_metric(&gateway, "voxgate_requests_in_flight", 0.0).await;
    // The answer is not 429: it has a slot, and the upstream has nothing more to say.
    assert_ne!(ask(&gateway, KEY).await.status, 429);
}

#[tokio::test]
async fn a_websocket_is_refused_before_its_upgrade_and_holds_its_slot_until_it_is_closed() {
    let gateway = Program::validating(echo().await)
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "1")
        .start();
    let (mut socket, _) = connect(&gateway, KEY).await.unwrap();
    say(&mut socket, "hello").await;
    let Err(Error::Http(response)) = connect(&gateway, KEY).await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 429);
    // What the whole upstream may is nobody's quota.
    assert!(!response.headers().contains_key("ratelimit"));
    let in_flight = "voxgate_limit_upstream_in_flight";
    assert_eq!(metric(&gateway, in_flight).await, 1.0);
    socket.close(None).await.unwrap();
    until_metric(&gateway, in_flight, 0.0).await;
    let (mut socket, _) = connect(&gateway, KEY).await.unwrap();
    say(&mut socket, "again").await;
    gateway.wait_for_record("refusal", |record| {
        record["limit"] == "upstream_concurrency"
    });
}

#[tokio::test]
async fn whoever_waits_begins_when_another_ends() {
    let (more, upstream) = dictated().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .var("VOXGATE_LIMIT_QUEUE", "1")
        .var("VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS", "3600")
        .start();
    more.send("one").unwrap();
    let (_, body) = begin(&gateway, KEY).await;
    let waiting = async { ask(&gateway, KEY).await };
    let end = async {
        until_metric(&gateway, "voxgate_limit_waiting", 1.0).await;
        assert_eq!(ask(&gateway, KEY).await.status, 429, "the room is full");
        drop(body);
    };
    let (reply, ()) = tokio::join!(waiting, end);
    assert_ne!(reply.status, 429);
    let completion = gateway.wait_for_completion(reply.header("x-request-id").unwrap());
    let [queued, duration] = ["queued_us", "duration_us"].map(|name| completion[name].as_u64());
    assert!(queued > Some(0) && queued <= duration, "{completion}");
    let count = "voxgate_limit_queue_seconds_count{outcome=\"accepted\"}";
    assert_eq!(metric(&gateway, count).await, 1.0);
    assert_eq!(metric(&gateway, "voxgate_limit_waiting").await, 0.0);
}

#[tokio::test]
async fn whoever_waits_too_long_is_refused() {
    let (more, upstream) = dictated().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .var("VOXGATE_LIMIT_QUEUE", "5")
        .var("VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS", "1")
        .start();
    more.send("one").unwrap();
    let (_, _body) = begin(&gateway, KEY).await;
    let refused = ask(&gateway, KEY).await;
    assert_eq!(refused.status, 429);
    let record = gateway.wait_for_record("refusal", |record| record["outcome"] == "refused");
    assert_eq!(record["limit"], "key_concurrency");
    assert!(record["queued_us"].as_u64() >= Some(1_000_000), "{record}");
}

/// A waiting request whose client is gone gives its place up, long before its time is over.
#[tokio::test]
async fn a_client_that_leaves_gives_its_place_up() {
    let (more, upstream) = dictated().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .var("VOXGATE_LIMIT_QUEUE", "5")
        .var("VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS", "3600")
        .start();
    more.send("one").unwrap();
    let (_, _body) = begin(&gateway, KEY).await;
    let mut leaving = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    leaving.write_all(request.as_bytes()).await.unwrap();
    until_metric(&gateway, "voxgate_limit_waiting", 1.0).await;
    drop(leaving);
    until_metric(&gateway, "voxgate_limit_waiting", 0.0).await;
}

#[tokio::test]
async fn without_keys_all_callers_share_the_defaults() {
    let gateway = Program::gateway(upstream().await)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .var("VOXGATE_LIMIT_RATE", "2/h")
        .start();
    let mut statuses = Vec::new();
    for key in ["one", "two", "three"] {
        statuses.push(ask(&gateway, key).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_wrong_key_stays_401_when_its_address_is_slowed_down() {
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "2")
        .start();
    let mut words = Vec::new();
    for _ in 0..4 {
        let refused = ask(&gateway, "wrong").await;
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("retry-after"), None);
        words.push(refused.body.clone());
    }
    words.dedup();
    assert_eq!(words, ["invalid api key"]);
    let missing = send_raw(
        gateway.address,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(missing.await.status, 401);
    assert_eq!(ask(&gateway, KEY).await.status, 200);
    // The auditor learns that the address was slowed down, and with what.
    let record = gateway.wait_for_record("slowed", |record| record["limit"] == "peer_failures");
    assert_eq!(record["reason"], "unknown_credential");
    assert_eq!(record["status"], 401);
    assert!(record["cred_fp"].is_string());
    let refusals = "voxgate_limit_refusals_total{limit=\"peer_failures\"}";
    assert_eq!(metric(&gateway, refusals).await, 3.0);
}

#[tokio::test]
async fn the_load_is_reported_to_load_balancers() {
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "4")
        .var("VOXGATE_LIMIT_LOAD_REPORT", "on")
        .start();
    let load = "TEXT application_utilization=0.2500,named_metrics.in_flight=1";
    let answer = ask(&gateway, KEY).await;
    assert_eq!(answer.header("endpoint-load-metrics"), Some(load));
    let answer = ask(&gateway, "wrong").await;
    assert_eq!(answer.header("endpoint-load-metrics"), None);

    let upstream =
        Router::new().fallback(get(|| async { ([("endpoint-load-metrics", "own")], "") }));
    let gateway = Program::validating(serve(upstream).await)
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "4")
        .var("VOXGATE_LIMIT_LOAD_REPORT", "on")
        .start();
    let answer = ask(&gateway, KEY).await;
    assert_eq!(answer.header("endpoint-load-metrics"), Some("own"));

    let alone = Program::new(&["check"])
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1")
        .var("VOXGATE_LIMIT_LOAD_REPORT", "on");
    let (code, _, errors) = alone.run();
    assert_eq!(code, Some(64));
    assert!(
        errors.contains("VOXGATE_LIMIT_LOAD_REPORT: has no effect without a limit"),
        "{errors}"
    );
}

#[tokio::test]
async fn elevenlabs_clients_are_told_their_concurrency() {
    let (_directory, path) = keys("concurrency = 3", "concurrency = 1");
    let gateway = Program::gateway(upstream().await)
        .var("VOXGATE_KEYS_FILE", path)
        .var("VOXGATE_DIALECT", "elevenlabs")
        .start();
    let request =
        format!("GET / HTTP/1.1\r\nHost: a\r\nxi-api-key: {KEY}\r\nConnection: close\r\n\r\n");
    let answer = send_raw(gateway.address, request).await;
    assert_eq!(answer.header("current-concurrent-requests"), Some("1"));
    assert_eq!(answer.header("maximum-concurrent-requests"), Some("1"));
}

/// More refusals than may wait: the others are answered at once, and the connection ends. HTTP/2 has
/// no header for that.
#[tokio::test]
async fn a_flood_of_wrong_keys_ends_its_connection() {
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "1")
        .start();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let client = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = client.await.unwrap();
    let connection = tokio::spawn(connection);
    let flood = (0..64).map(|_| {
        let mut client = client.clone();
        let request = Request::get("http://a/v1/rime-tts").header("authorization", "Bearer wrong");
        let request = request.body(Full::default()).unwrap();
        async move { Some(client.send_request(request).await.ok()?.status()) }
    });
    let statuses: Vec<_> = join_all(flood).await.into_iter().flatten().collect();
    // Requests that the gateway had not begun have no answer.
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 401));
    let ended = timeout(Duration::from_secs(60), connection).await;
    ended.expect("the connection ends").unwrap().unwrap();
    assert_eq!(ask(&gateway, KEY).await.status, 200);
}

/// Speech that goes on until its listener has enough.
async fn endless() -> std::net::SocketAddr {
    let answer = || async {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 512])));
        Body::from_stream(chunks)
    };
    let short = || async { "speech" };
    serve(
        Router::new()
            .route("/endless", get(answer))
            .fallback(get(short)),
    )
    .await
}

/// Half of all callers break off: some before the answer, some amid it.
#[tokio::test]
async fn under_a_load_that_aborts_half_of_its_requests_no_slot_is_lost() {
    let gateway = Program::validating(endless().await)
        .var("VOXGATE_LIMIT_CONCURRENCY", "8")
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "6")
        .var("VOXGATE_LIMIT_QUEUE", "4")
        .var("VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS", "60")
        .start();
    let one = |number: u32| {
        let gateway = &gateway;
        async move {
            for round in 0..25 {
                let aborts = (number + round).is_multiple_of(2);
                let path = if aborts { "/endless" } else { "/" };
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
                     Connection: close\r\n\r\n"
                );
                let mut stream = TcpStream::connect(gateway.address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                if aborts && round % 3 != 0 {
                    let mut some = [0; 700];
                    let _ = stream.read(&mut some).await;
                } else if !aborts {
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).await.unwrap();
                    let status = &all[9..12];
                    assert!(status == b"200" || status == b"429", "{status:?}");
                }
            }
        }
    };
    join_all((0..16).map(one)).await;
    until_metric(&gateway, "voxgate_limit_upstream_in_flight", 0.0).await;
    until_metric(&gateway, "voxgate_limit_waiting", 0.0).await;
    until_metric(&gateway, "voxgate_requests_in_flight", 0.0).await;
    // All slots can be had again, and no more than those.
    let mut held = Vec::new();
    for _ in 0..6 {
        let request = Request::get(format!("http://{}/endless", gateway.address))
            .header("authorization", format!("Bearer {KEY}"))
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut reply = client().request(request).await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.body_mut().frame().await.unwrap().unwrap();
        held.push(reply);
    }
    assert_eq!(
        metric(&gateway, "voxgate_limit_upstream_in_flight").await,
        6.0
    );
}

#[tokio::test]
async fn an_upstream_that_fails_costs_no_slot() {
    let (_socket, address) = nowhere();
    let down = Program::validating(address)
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .start();
    for _ in 0..5 {
        let status = ask(&down, KEY).await.status;
        // After a few, the only address is out.
        assert!([502, 503].contains(&status), "{status}");
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = Program::validating(silent.local_addr().unwrap())
        .var("VOXGATE_LIMIT_CONCURRENCY", "1")
        .var("VOXGATE_UPSTREAM_TIMEOUT_SECONDS", "1")
        .start();
    for _ in 0..3 {
        assert_eq!(ask(&late, KEY).await.status, 504);
    }
}

#[tokio::test]
async fn a_changed_limit_holds_from_the_next_request_on() {
    let (_directory, path) = keys("concurrency = 1", "");
    let (more, upstream) = dictated().await;
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_KEYS_FILE", &path)
        .start();
    more.send("one").unwrap();
    let (_, _body) = begin(&gateway, KEY).await;
    assert_eq!(ask(&gateway, KEY).await.status, 429);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("concurrency = 1", "concurrency = 2")).unwrap();
    gateway.wait_for_log("keys reloaded");
    assert_ne!(ask(&gateway, KEY).await.status, 429);
}

#[test]
fn limits_are_shown_as_a_table() {
    let (_directory, path) = keys("concurrency = 4", "rate = \"600/min\"\nburst = 20");
    let (code, output, errors) = Program::new(&["limits", "--limit-rate", "50/s"])
        .var("VOXGATE_KEYS_FILE", path)
        .var("VOXGATE_API_KEYS", "a-third-key-that-is-long-enough")
        .var("VOXGATE_LIMIT_CONCURRENCY", "2")
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "32")
        .var("VOXGATE_LIMIT_QUEUE", "20")
        .run();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let expected = "\
KEY    ACCOUNT  RATE            BURST  CONCURRENCY
a      acme     50/s (default)  50     4
b      acme     50/s (default)  50     4
env-1  -        50/s (default)  50     2 (default)

ACCOUNT (all its keys)  RATE     BURST  CONCURRENCY
acme                    600/min  20     -

At most 32 requests and tunnels of all callers together may be in flight.
The wait queue holds 20 requests, each for at most 2 s.
One address may fail to authenticate 60 times per minute.
";
    assert_eq!(output, expected);
}

#[test]
fn every_problem_with_limits_is_reported() {
    let wrong = [
        ("RATE", "50 per second"),
        ("BURST", "0"),
        ("CONCURRENCY", "-1"),
        ("UPSTREAM_CONCURRENCY", "many"),
        ("QUEUE", "1.5"),
        ("QUEUE_TIMEOUT_SECONDS", "0"),
        ("HEADERS", "yes"),
        ("LOAD_REPORT", "1"),
        ("AUTH_FAILURES", "-"),
    ];
    let mut program = Program::new(&["check"])
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1");
    for (name, value) in wrong {
        program = program.var(&format!("VOXGATE_LIMIT_{name}"), value);
    }
    let (code, _, errors) = program.run();
    assert_eq!(code, Some(64));
    for (name, _) in wrong {
        let count = errors.matches(&format!("VOXGATE_LIMIT_{name}: ")).count();
        assert_eq!(count, 1, "{name} in\n{errors}");
    }
}
