//! The cost of limits for a request, through the whole layer.
//!
//! `make bench` runs it. The benchmark of limits that replicas share is in `voxgate-limits-redis`.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt as _;
use http::{Request, Response};
use tower::{Layer as _, Service, service_fn};
use voxgate::principal::Account;
use voxgate::{
    AuditRecord, AuditSink, AuthBody, AuthLayer, Key, KeyRing, Limiter, Limits, Principal, Rate,
    Secret,
};

const REQUESTS: u32 = 20_000;
const ROUNDS: usize = 21;
const SECRET: &str = "a-key-that-is-long-enough";

/// Drops all records.
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
    let builder = || Limiter::builder().with_header_fields(false);
    let silent = || builder().build().expect("a limiter");
    let cases = [
        (
            "no limits",
            layer(Limits::default(), false, Limiter::default()),
        ),
        (
            "the upstream's concurrency",
            layer(
                Limits::default(),
                false,
                builder()
                    .with_upstream_concurrency(many)
                    .build()
                    .expect("a limiter"),
            ),
        ),
        ("a key's concurrency", layer(concurrent, false, silent())),
        ("a key's rate and concurrency", layer(all, false, silent())),
        ("those of its account as well", layer(all, true, silent())),
        ("and header fields", layer(all, true, Limiter::default())),
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
