//! Measures the cost of shared limits through the whole layer. Each request waits for one answer of
//! Redis on a Unix socket. `make bench` runs this benchmark if a `redis-server` is installed.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Request, Response};
use tower::{Layer as _, Service, service_fn};
use voxgate::principal::Account;
use voxgate::rate_limit::OnFailure;
use voxgate::{
    AuditRecord, AuditSink, AuthBody, AuthLayer, Key, KeyRing, Limiter, Limits, Principal, Rate,
    Secret,
};
use voxgate_limits_redis::{RedisOptions, RedisStore};

const REQUESTS: u32 = 6_400;
const SECRET: &str = "a-key-that-is-long-enough";

/// Drops all records.
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, _: &AuditRecord<'_>) {}
}

fn main() {
    println!("with limits that replicas share, by requests at once");
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
    let mut options = RedisOptions::new(url);
    // The benchmark measures how long answers take, so none may time out.
    options.deadline = Duration::from_secs(10);
    let limiter = Limiter::builder()
        .with_header_fields(false)
        .with_store(RedisStore::start(options).expect("valid options"))
        .with_failure_mode(OnFailure::Deny)
        .build()
        .expect("a limiter");
    let layer = layer(limiter.clone());
    while !limiter.store_status().is_some_and(|status| status.is_up) {
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

/// Returns nanoseconds per request with `at_once` concurrent requests, and microseconds per wait.
async fn many(layer: &AuthLayer<KeyRing>, at_once: u32) -> (f64, f64) {
    let rounds = REQUESTS / at_once;
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

fn layer(limiter: Limiter) -> AuthLayer<KeyRing> {
    let limits = Limits {
        rate: Rate::parse("4000000000/s"),
        concurrency: NonZeroU32::new(1_000_000),
        ..Limits::default()
    };
    let principal = Principal::new("ivr-prod")
        .with_limits(limits)
        .with_account(Arc::new(Account::new("acme", limits)));
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
