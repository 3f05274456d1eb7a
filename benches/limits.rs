//! What limits cost a request, through the whole layer.
//!
//! `make bench` runs it. Where a `redis-server` is installed, the limits that replicas share are
//! measured, too: each request waits for one answer from it over loopback.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{Request, Response};
use tower::{Layer as _, Service, service_fn};
use voxgate::{
    Account, AuditRecord, AuditSink, AuthBody, AuthLayer, Key, KeyRing, Limiter, Limits, OnFailure,
    Principal, Rate, Secret, SharedOptions,
};

const REQUESTS: u32 = 20_000;
const SHARED_REQUESTS: u32 = 6_400;
const ROUNDS: usize = 21;
const SECRET: &str = "a-key-that-is-long-enough";

/// Takes records and does nothing with them.
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, _: &AuditRecord<'_>) {}
}

fn main() {
    println!("one request through the layer (medians of {ROUNDS} rounds, in turns)");
    let many = NonZeroU32::new(1_000_000).expect("not zero");
    let concurrent = Limits {
        concurrency: Some(many),
        ..Limits::default()
    };
    let all = Limits {
        rate: Rate::parse("4000000000/s"),
        ..concurrent
    };
    let silent = || Limiter::new().header_fields(false);
    let cases = [
        ("no limits", layer(Limits::default(), false, Limiter::new())),
        (
            "the upstream's concurrency",
            layer(
                Limits::default(),
                false,
                silent().upstream_concurrency(many),
            ),
        ),
        ("a key's concurrency", layer(concurrent, false, silent())),
        ("a key's rate and concurrency", layer(all, false, silent())),
        ("those of its account, too", layer(all, true, silent())),
        ("and header fields", layer(all, true, Limiter::new())),
    ];
    let mut times = cases.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, layer), times) in cases.iter().zip(&mut times) {
            times.push(each(layer, REQUESTS));
        }
    }
    let medians = times.map(median);
    for ((name, _), time) in cases.iter().zip(medians) {
        let more = time - medians[0];
        println!("{name:>32}  {time:>6.0} ns  (+{more:.0})");
    }
    println!("\nthe same with all limits, by threads at once");
    for count in [1, 2, 4] {
        let layer = layer(all, true, silent());
        let time = median((0..5).map(|_| at_once(&layer, count)).collect());
        println!("{count:>32}  {time:>6.0} ns");
    }
    shared(all);
}

/// The same limits, shared by way of a Redis that this starts, on a socket of its own.
fn shared(limits: Limits) {
    println!("\nwith limits that replicas share, by requests at once");
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("redis.sock");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(server) = server else {
        println!("{:>32}", "skipped: there is no redis-server");
        return;
    };
    let _server = Server(server);
    let url = Secret::new(&format!("unix://{}", socket.display())).expect("a URL");
    let mut options = SharedOptions::new(url);
    // What is measured is how long it takes, not how long anybody would wait for it.
    options.deadline = Duration::from_secs(10);
    let limiter = Limiter::new()
        .header_fields(false)
        .shared(options, OnFailure::Deny)
        .expect("options that are right");
    let layer = layer(limits, true, limiter.clone());
    while !limiter.sharing().is_some_and(|sharing| sharing.is_up) {
        thread::sleep(Duration::from_millis(10));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    for at_once in [1, 8, 64] {
        let mut times: Vec<(f64, f64)> = (0..5)
            .map(|_| runtime.block_on(many(&layer, at_once)))
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (each, wait) = times[times.len() / 2];
        println!("{at_once:>32}  {each:>6.0} ns each, which waits {wait:.0} µs");
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nanoseconds for each request of so many at once, and microseconds that one of them takes.
async fn many(layer: &AuthLayer<KeyRing>, at_once: u32) -> (f64, f64) {
    let rounds = SHARED_REQUESTS / at_once;
    let one = async || {
        for _ in 0..rounds {
            let answer = service(layer).call(request()).await.expect("never fails");
            assert!(answer.status().is_success());
        }
    };
    let since = Instant::now();
    join_all((0..at_once).map(|_| one())).await;
    let took = since.elapsed();
    let requests = f64::from(rounds * at_once);
    (
        took.as_nanos() as f64 / requests,
        took.as_micros() as f64 / f64::from(rounds),
    )
}

fn layer(own: Limits, with_account: bool, limiter: Limiter) -> AuthLayer<KeyRing> {
    let mut principal = Principal::new("ivr-prod").with_limits(own);
    if with_account {
        principal = principal.with_account(Arc::new(Account::new("acme", own)));
    }
    let secret = Secret::new(SECRET).expect("a secret");
    let ring = KeyRing::new([Key::from_secret(&secret, principal)]).expect("one key");
    AuthLayer::new(ring)
        .with_audit_sink(Nowhere)
        .with_limits(limiter)
}

type Empty = http_body_util::Empty<bytes::Bytes>;

fn service(
    layer: &AuthLayer<KeyRing>,
) -> impl Service<Request<()>, Response = Response<AuthBody<Empty>>, Error = Infallible> {
    layer.layer(service_fn(|_: Request<()>| async {
        Ok(Response::new(Empty::new()))
    }))
}

fn request() -> Request<()> {
    Request::post("/v1/rime-tts")
        .header("authorization", format!("Bearer {SECRET}"))
        .body(())
        .expect("a request")
}

/// Nanoseconds for each of so many requests.
fn each(layer: &AuthLayer<KeyRing>, requests: u32) -> f64 {
    let mut service = service(layer);
    let since = Instant::now();
    for _ in 0..requests {
        let answer = service.call(request()).now_or_never();
        let answer = answer.expect("nothing to wait for").expect("never fails");
        assert!(answer.status().is_success());
    }
    since.elapsed().as_nanos() as f64 / f64::from(requests)
}

/// The same on several threads, per request and thread.
fn at_once(layer: &AuthLayer<KeyRing>, threads: u32) -> f64 {
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| each(layer, REQUESTS)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, f64>| thread.join().expect("a time");
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    times.iter().sum::<f64>() / f64::from(threads)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
