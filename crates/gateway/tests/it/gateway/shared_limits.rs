//! Limits that hold across gateways, by way of a real Redis.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};

use super::harness::redis_server::Server;
use super::harness::{KEY, Program, Started, client, serve, wait_until};
use super::lifecycle::admin;
use super::limits::{ask, until_metric};
use super::tunnels::{connect, echo, say};

/// Speech, and at `/endless` speech that goes on until its listener has enough.
async fn upstream() -> SocketAddr {
    let endless = || async {
        let chunk = |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(&[0; 64])), ()))
        };
        Body::from_stream(stream::unfold((), chunk))
    };
    let router = Router::new().route("/endless", get(endless));
    serve(router.fallback(get(|| async { "speech" }))).await
}

/// One of several gateways that share the limits of this Redis.
fn gateway(upstream: SocketAddr, redis: &Server) -> Program {
    Program::validating(upstream)
        .var("VOXGATE_REDIS_URL", redis.url())
        .var("VOXGATE_LOG", "info")
}

/// Waits until the gateways see each other.
async fn together(gateways: &[Started]) {
    for gateway in gateways {
        until_metric(gateway, "voxgate_limit_shared_up", 1.0).await;
        until_metric(gateway, "voxgate_limit_replicas", gateways.len() as f64).await;
    }
}

async fn hold(gateway: &Started) -> (u16, Incoming) {
    let request = hyper::Request::get(format!("http://{}/endless", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = client().request(request).await.unwrap();
    (reply.status().as_u16(), reply.into_body())
}

async fn until_status(gateway: &Started, wanted: u16) {
    for _ in 0..3000 {
        if ask(gateway, KEY).await.status == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the status does not become {wanted}");
}

/// Without a Redis there is nothing to see; that is on the list of what was skipped.
macro_rules! redis {
    () => {
        match Server::start(&[]) {
            Some(server) => server,
            None => return,
        }
    };
}

/// A burst of three seconds, so that a machine that stands still for a moment loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_gateways_let_through_what_one_would() {
    const RATE: f64 = 40.0;
    const BURST: f64 = 120.0;
    const FOR: Duration = Duration::from_secs(30);
    let redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_RATE", "40/s")
            .var("VOXGATE_LIMIT_BURST", "120")
            .var("VOXGATE_LIMIT_ON_FAILURE", "deny")
            .start()
    };
    let gateways = [start(), start(), start()];
    together(&gateways).await;
    let since = Instant::now();
    let one = |gateway: &Started| {
        let address = gateway.address;
        async move {
            let client = client();
            let mut counts = [0_u32; 2];
            while since.elapsed() < FOR {
                let request = hyper::Request::get(format!("http://{address}/"))
                    .header("authorization", format!("Bearer {KEY}"))
                    .body(Full::<Bytes>::default())
                    .unwrap();
                let reply = client.request(request).await.unwrap();
                counts[usize::from(reply.status() != 200)] += 1;
                reply.into_body().collect().await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            counts
        }
    };
    let counts = join_all(
        gateways
            .iter()
            .flat_map(|gateway| [one(gateway), one(gateway)]),
    )
    .await;
    let expected = RATE * since.elapsed().as_secs_f64() + BURST;
    let accepted: u32 = counts.iter().map(|[accepted, _]| accepted).sum();
    let refused: u32 = counts.iter().map(|[_, refused]| refused).sum();
    assert!(
        refused > accepted / 10,
        "too few were asked to exceed the limit"
    );
    let off = (f64::from(accepted) - expected).abs() / expected;
    assert!(
        off < 0.02,
        "{accepted} accepted, {refused} refused, expected {expected}"
    );
    assert!(
        counts.iter().all(|[accepted, _]| *accepted > 0),
        "{counts:?}"
    );
}

#[tokio::test]
async fn slots_of_a_gateway_that_was_killed_are_free_within_the_lease() {
    const LEASE: u64 = 6;
    let redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_CONCURRENCY", "2")
            .var("VOXGATE_LIMIT_LEASE_SECONDS", LEASE.to_string())
            .start()
    };
    let [mut killed, other] = [start(), start()];
    until_metric(&killed, "voxgate_limit_shared_up", 1.0).await;
    until_metric(&other, "voxgate_limit_replicas", 2.0).await;
    let [first, second] = [hold(&killed).await, hold(&killed).await];
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!(ask(&other, KEY).await.status, 429);
    // They are renewed: for longer than a lease nobody else gets one.
    tokio::time::sleep(Duration::from_secs(LEASE + 1)).await;
    assert_eq!(ask(&other, KEY).await.status, 429);

    killed.signal(rustix::process::Signal::KILL);
    killed.exit_status().await;
    let now: Vec<i64> = redis.run("TIME");
    let slots: Vec<String> = redis.run("KEYS *slots*");
    assert!(!slots.is_empty(), "{:?}", redis.keys());
    for slot in slots {
        let ends: Vec<String> = redis.run(&format!("ZRANGE {slot} 0 -1 WITHSCORES"));
        for end in ends
            .chunks(2)
            .filter_map(|pair| pair[1].parse::<i64>().ok())
        {
            let left = end - (now[0] * 1_000_000 + now[1]);
            assert!(left <= LEASE as i64 * 1_000_000, "{left}");
        }
    }
    until_status(&other, 200).await;
}

/// What is cut at the end of a gateway is free for the others at once, and not when its lease is
/// over.
#[tokio::test]
async fn a_gateway_that_ends_takes_leave() {
    let redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_CONCURRENCY", "1")
            .var("VOXGATE_LIMIT_LEASE_SECONDS", "3600")
            .var("VOXGATE_DRAIN_SECONDS", "0")
            .start()
    };
    let [mut first, second] = [start(), start()];
    until_metric(&first, "voxgate_limit_shared_up", 1.0).await;
    until_metric(&second, "voxgate_limit_shared_up", 1.0).await;
    let (status, _body) = hold(&first).await;
    assert_eq!(status, 200);
    assert_eq!(ask(&second, KEY).await.status, 429);
    first.terminate();
    assert!(first.exit_status().await.success());
    assert_eq!(ask(&second, KEY).await.status, 200);
    let gateways: Vec<String> = redis.run("ZRANGE {voxgate}:gateways 0 -1");
    assert_eq!(gateways.len(), 1, "{:?}", redis.keys());
}

#[tokio::test]
async fn tunnels_count_across_gateways() {
    let redis = redis!();
    let upstream = echo().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "1")
            .start()
    };
    let gateways = [start(), start()];
    together(&gateways).await;
    let (mut socket, _) = connect(&gateways[0], KEY).await.unwrap();
    say(&mut socket, "hello").await;
    assert!(connect(&gateways[1], KEY).await.is_err());
    socket.close(None).await.unwrap();
    for attempt in 0.. {
        if let Ok((mut socket, _)) = connect(&gateways[1], KEY).await {
            say(&mut socket, "hello").await;
            break;
        }
        assert!(attempt < 3000, "the slot does not come free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_waits_gets_a_slot_of_another_gateway() {
    let redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_CONCURRENCY", "1")
            .var("VOXGATE_LIMIT_QUEUE", "1")
            .var("VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS", "3600")
            .start()
    };
    let gateways = [start(), start()];
    together(&gateways).await;
    let (status, held) = hold(&gateways[0]).await;
    assert_eq!(status, 200);
    let waiting = ask(&gateways[1], KEY);
    let end = async {
        until_metric(&gateways[1], "voxgate_limit_waiting", 1.0).await;
        drop(held);
    };
    let (reply, ()) = tokio::join!(waiting, end);
    assert_eq!(reply.status, 200);
    until_metric(&gateways[1], "voxgate_limit_waiting", 0.0).await;
}

/// Redis is stopped where it stands, killed and started again, while requests keep coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn redis_may_come_and_go_under_load() {
    let mut redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_RATE", "40/s")
            .var("VOXGATE_LIMIT_BURST", "2")
            .var("VOXGATE_LIMIT_LEASE_SECONDS", "2")
            .start()
    };
    let gateways = [start(), start()];
    together(&gateways).await;
    let stop = AtomicBool::new(false);
    let [accepted, refused] = [AtomicU32::new(0), AtomicU32::new(0)];
    let one = |gateway| {
        let (stop, accepted, refused) = (&stop, &accepted, &refused);
        async move {
            while !stop.load(Ordering::Relaxed) {
                let status = ask(gateway, KEY).await.status;
                // Neither a failed authentication nor an error, whatever Redis does.
                let count = match status {
                    200 => accepted,
                    429 => refused,
                    _ => panic!("{status}"),
                };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let more = async |what: &AtomicU32, least: u32| {
        let before = what.load(Ordering::Relaxed);
        let enough = || (what.load(Ordering::Relaxed) >= before + least).then_some(());
        wait_until("more of them", enough).await;
    };
    let story = async {
        let both = async || {
            more(&accepted, 20).await;
            more(&refused, 20).await;
        };
        both().await;
        redis.freeze();
        until_metric(&gateways[0], "voxgate_limit_shared_up", 0.0).await;
        both().await;
        redis.thaw();
        together(&gateways).await;
        both().await;
        redis.kill();
        until_metric(&gateways[1], "voxgate_limit_shared_up", 0.0).await;
        both().await;
        redis.start_again();
        together(&gateways).await;
        both().await;
        stop.store(true, Ordering::Relaxed);
    };
    let load = join_all(
        gateways
            .iter()
            .flat_map(|gateway| [one(gateway), one(gateway)]),
    );
    tokio::join!(load, story);
}

/// What each replica lets through without Redis is its part of the whole, and what began meanwhile
/// counts when Redis is back.
#[tokio::test]
async fn without_redis_each_gateway_has_its_part_and_slots_are_told_later() {
    let mut redis = redis!();
    let upstream = upstream().await;
    let start = || {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_CONCURRENCY", "4")
            .var("VOXGATE_LIMIT_LEASE_SECONDS", "60")
            .start()
    };
    let gateways = [start(), start()];
    together(&gateways).await;
    redis.kill();
    for gateway in &gateways {
        until_metric(gateway, "voxgate_limit_shared_up", 0.0).await;
    }
    let mut held = Vec::new();
    for gateway in &gateways {
        for _ in 0..2 {
            let (status, body) = hold(gateway).await;
            assert_eq!(status, 200);
            held.push(body);
        }
        assert_eq!(ask(gateway, KEY).await.status, 429, "half of four");
    }
    redis.start_again();
    together(&gateways).await;
    for gateway in &gateways {
        assert_eq!(ask(gateway, KEY).await.status, 429, "four are in flight");
    }
    drop(held);
    until_status(&gateways[0], 200).await;
}

#[tokio::test]
async fn without_redis_limited_requests_may_be_refused_or_let_through() {
    let mut redis = redis!();
    let upstream = upstream().await;
    let start = |on_failure| {
        gateway(upstream, &redis)
            .var("VOXGATE_LIMIT_RATE", "1/h")
            .var("VOXGATE_LIMIT_ON_FAILURE", on_failure)
            .start()
    };
    let [deny, allow] = [start("deny"), start("allow")];
    until_metric(&deny, "voxgate_limit_replicas", 2.0).await;
    redis.kill();
    for gateway in [&deny, &allow] {
        until_metric(gateway, "voxgate_limit_shared_up", 0.0).await;
    }
    for _ in 0..3 {
        assert_eq!(ask(&allow, KEY).await.status, 200);
        let refused = ask(&deny, KEY).await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, Some("1"))
        );
    }
    // Whoever fails to say who they are is told so, Redis or not.
    assert_eq!(ask(&deny, "wrong").await.status, 401);
    let record = deny.wait_for_record("refusal", |record| record["status"] == 503);
    assert_eq!(
        (&record["reason"], &record["limit"]),
        (&"unavailable".into(), &"shared".into())
    );
    assert_eq!(
        admin(&deny, "/readyz").await.0,
        200,
        "it answers, and says no"
    );
}

#[tokio::test]
async fn the_password_is_shown_nowhere() {
    let redis = match Server::start(&["--requirepass", "s3cret-word", "--port", "0"]) {
        Some(server) => server,
        None => return,
    };
    let url = format!("unix://{}?pass=not-the-s3cret", redis.socket().display());
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_REDIS_URL", url)
        .var("VOXGATE_LIMIT_RATE", "5/h")
        .var("VOXGATE_LOG", "trace")
        .start();
    gateway.wait_for_log("Redis is unavailable, so limits are not shared");
    assert_eq!(
        ask(&gateway, KEY).await.status,
        200,
        "by its own part of the limits"
    );
    let metrics = admin(&gateway, "/metrics").await.1;
    let shown = gateway.printed() + &metrics;
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn wrong_settings_are_told_by_their_variables() {
    let check = |vars: &[(&str, &str)]| {
        let mut program = Program::new(&["check"])
            .var("VOXGATE_API_KEYS", KEY)
            .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1");
        for (name, value) in vars {
            program = program.var(name, value);
        }
        program.run()
    };
    let (code, _, errors) = check(&[
        ("VOXGATE_REDIS_URL", "http://user:s3cret@host"),
        ("VOXGATE_REDIS_CA_FILE", "/nowhere"),
        ("VOXGATE_LIMIT_ON_FAILURE", "maybe"),
        ("VOXGATE_LIMIT_LEASE_SECONDS", "0"),
        ("VOXGATE_LIMIT_NAMESPACE", "{x}"),
    ]);
    assert_eq!(code, Some(64));
    for name in [
        "REDIS_URL",
        "LIMIT_ON_FAILURE",
        "LIMIT_LEASE_SECONDS",
        "LIMIT_NAMESPACE",
    ] {
        assert!(errors.contains(&format!("VOXGATE_{name}: ")), "{errors}");
    }
    assert!(!errors.contains("s3cret"), "{errors}");
    let (code, _, errors) = check(&[("VOXGATE_LIMIT_ON_FAILURE", "deny")]);
    assert_eq!(code, Some(64));
    assert!(
        errors.contains("VOXGATE_LIMIT_ON_FAILURE: has no effect without Redis"),
        "{errors}"
    );
}
