//! What reading a body costs: a request with 1 KiB of JSON through the layer, without and with the
//! layer that reads bodies, for keys with and without a limit.
//!
//! `make bench` runs it. Times are compared with each other within one run, in turns, because what
//! else the machine does changes from one second to the next.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Dialect, Key, KeyRing, Principal, Secret, SharedKeyRing,
    SpeechOptions,
};

const ROUNDS: usize = 201;
const REQUESTS: u32 = 500;
const LIMITED: &str = "a-secret-that-is-limited";
const FREE: &str = "a-secret-without-a-limit";

/// Writes nothing, so that the layers are measured alone.
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, record: &AuditRecord<'_>) {
        black_box(record);
    }
}

#[derive(Clone)]
struct Inner;

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(Full::default())))
    }
}

fn layer() -> AuthLayer<SharedKeyRing> {
    let key = |secret: &str, principal| {
        Key::from_secret(&Secret::new(secret).expect("a secret"), principal)
    };
    let keys = [
        key(LIMITED, Principal::new("limited").with_voices(["cove"])),
        key(FREE, Principal::new("free")),
    ];
    AuthLayer::new(SharedKeyRing::new(KeyRing::new(keys).expect("a ring")))
        .with_dialect(Dialect::Rime)
        .with_audit_sink(Nowhere)
}

fn main() {
    let start = r#"{"speaker":"cove","modelId":"arcana","samplingRate":24000,"lang":"en","text":""#;
    let body = format!("{start}{}\"}}", "a".repeat(1_024 - start.len() - 2));
    let body = Bytes::from(body);
    let options = SpeechOptions::default;
    let mut plain = layer().layer(Inner);
    let mut reading = layer().with_speech(options()).layer(Inner);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(measure(&mut plain, FREE, &body));
        times[1].push(measure(&mut reading, FREE, &body));
        times[2].push(measure(&mut reading, LIMITED, &body));
    }
    println!("a request with 1 KiB of JSON, the median of {ROUNDS} rounds");
    let mut medians = Vec::new();
    for (what, times) in [
        "the layer alone",
        "with bodies read, a key without a limit",
        "with bodies read, a key with voices",
    ]
    .iter()
    .zip(&mut times)
    {
        times.sort_unstable();
        let median = times[ROUNDS / 2];
        println!("{what:<42} {median:>8.2?}");
        medians.push(median.as_secs_f64());
    }
    let alone = medians[0];
    for (what, median) in [("a limit", medians[2]), ("none", medians[1])] {
        println!(
            "a key with {what}: {:.2} times the layer alone",
            median / alone
        );
    }
}

/// The time of one request.
fn measure<S, R>(service: &mut S, secret: &str, body: &Bytes) -> Duration
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
{
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            Request::post("/v1/rime-tts")
                .header("host", "voxgate")
                .header("authorization", format!("Bearer {secret}"))
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .expect("a request")
        })
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    let begun = Instant::now();
    for request in requests {
        let mut answer = Box::pin(service.call(request));
        let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) else {
            panic!("the body is complete");
        };
        let answer = answer.expect("an answer");
        assert!(answer.status().is_success());
    }
    begun.elapsed() / REQUESTS
}
