//! What the layer costs a request, without a server around it.
//!
//! `make bench` runs it: times in turns within one run, because what else the machine does changes
//! from one second to the next. `scripts/layer-instructions.sh` counts instructions and allocations
//! instead, which do not depend on the machine's load.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::io;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Response};
use tower::{Layer as _, Service, service_fn};
use voxgate::audit::{AuditQueue, DeliveryGuarantee, StreamOutput};

use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Dialect, Key, KeyRing, Principal, RawCredential,
    RequestValidation, Secret, SharedKeyRing, Verify, VerifyOutcome,
};

const KEYS: usize = 1_000;
const REQUESTS: usize = 1_000;
const ROUNDS: usize = 201;

/// Takes records and does nothing with them.
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, _: &AuditRecord<'_>) {}
}

fn main() {
    let tokens: Vec<String> = (0..KEYS)
        .map(|_| {
            let key = voxgate::keys::generate_key().expect("randomness");
            key.expose().to_owned()
        })
        .collect();
    let keys = tokens.iter().enumerate().map(|(number, token)| {
        let secret = Secret::new(token).expect("a secret");
        Key::from_secret(&secret, Principal::new(&format!("key-{number}")))
    });
    let ring = SharedKeyRing::new(KeyRing::new(keys).expect("keys"));
    let layer = AuthLayer::new(ring.clone()).with_dialect(Dialect::Rime);
    let proxy = layer
        .clone()
        .with_request_validation(RequestValidation::Proxy);
    let output = StreamOutput::new(io::sink());
    let (queue, threads) =
        AuditQueue::start(output, DeliveryGuarantee::Counted, "bench").expect("threads");

    let good = |number: usize| format!("Bearer {}", tokens[number % KEYS]);
    let unknown = |number: usize| format!("Bearer {number:053}");
    let mut floor = service_fn(answer);
    let mut accepted = layer
        .clone()
        .with_audit_sink(Nowhere)
        .layer(service_fn(answer));
    let mut counted = layer
        .clone()
        .with_audit_sink(queue.clone())
        .layer(service_fn(answer));
    let mut gateway = proxy
        .clone()
        .with_audit_sink(queue.clone())
        .layer(service_fn(answer));
    let mut refused = layer
        .clone()
        .with_audit_sink(queue.clone())
        .layer(service_fn(answer));

    let mut rows: Vec<Row<'_>> = vec![
        Row::new(
            "no layer",
            || requests(good),
            move |all| serve(&mut floor, all),
        ),
        Row::new(
            "the verdict of the key ring",
            || requests(good),
            |all| verify(&ring, all),
        ),
        Row::new(
            "accepted, records go nowhere",
            || requests(good),
            move |all| serve(&mut accepted, all),
        ),
        Row::new(
            "accepted, counted records",
            || requests(good),
            move |all| serve(&mut counted, all),
        ),
        Row::new(
            "as the gateway validates",
            || requests(good),
            move |all| serve(&mut gateway, all),
        ),
        Row::new(
            "refused, counted record",
            || requests(unknown),
            move |all| serve(&mut refused, all),
        ),
    ];
    match env::args().skip_while(|word| word != "--only").nth(1) {
        Some(only) => {
            let row = &mut rows[only.parse::<usize>().expect("the number of a row")];
            row.round();
            row.round();
        }
        None => compare(&mut rows),
    }
    drop(rows);
    threads.finish(Duration::from_secs(5));
}

fn compare(rows: &mut [Row<'_>]) {
    println!("a request, on its own thread, with {KEYS} keys ({ROUNDS} rounds, in turns)");
    for _ in 0..ROUNDS {
        for row in rows.iter_mut() {
            row.round();
            // The audit queue must not fill.
            thread::sleep(Duration::from_millis(4));
        }
    }
    for row in rows {
        row.times.sort_by(f64::total_cmp);
        let (least, median) = (row.times[0], row.times[ROUNDS / 2]);
        println!(
            "{:>32}  {median:>6.0} ns  (least {least:>5.0} ns)",
            row.name
        );
    }
}

/// One line of the table.
struct Row<'a> {
    name: &'static str,
    make: Box<dyn Fn() -> Vec<Request<()>> + 'a>,
    run: Box<dyn FnMut(Vec<Request<()>>) + 'a>,
    times: Vec<f64>,
}

impl<'a> Row<'a> {
    fn new(
        name: &'static str,
        make: impl Fn() -> Vec<Request<()>> + 'a,
        run: impl FnMut(Vec<Request<()>>) + 'a,
    ) -> Self {
        Self {
            name,
            make: Box::new(make),
            run: Box::new(run),
            times: Vec::new(),
        }
    }

    fn round(&mut self) {
        let requests = (self.make)();
        let begun = Instant::now();
        (self.run)(requests);
        self.times
            .push(begun.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }
}

fn answer(
    request: Request<()>,
) -> Ready<Result<Response<http_body_util::Empty<bytes::Bytes>>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(http_body_util::Empty::new())))
}

/// Requests as a client of the vendor sends them.
fn requests(authorization: impl Fn(usize) -> String) -> Vec<Request<()>> {
    let request = |number| {
        Request::post("/v1/rime-tts")
            .header(HOST, "tts.example.com")
            .header(AUTHORIZATION, authorization(number))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "audio/pcm")
            .header(USER_AGENT, "python-requests/2.32.3")
            .header(CONTENT_LENGTH, "120")
            .body(())
            .expect("a request")
    };
    (0..REQUESTS).map(request).collect()
}

/// Serves each request to its end. What is counted is counted in here.
#[inline(never)]
fn serve<S, B>(service: &mut S, requests: Vec<Request<()>>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    for request in requests {
        let mut answer = std::pin::pin!(service.call(request));
        match answer.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => drop(black_box(answer)),
            Poll::Pending => unreachable!("nothing waits"),
        }
    }
}

#[inline(never)]
fn verify(ring: &SharedKeyRing, requests: Vec<Request<()>>) {
    for request in requests {
        let token = &request.headers()[AUTHORIZATION].as_bytes()["Bearer ".len()..];
        match ring.verify(RawCredential::new(token)) {
            VerifyOutcome::Ready(verdict) => assert!(black_box(verdict).is_ok()),
            VerifyOutcome::Pending(_) => unreachable!("nothing waits"),
        }
    }
}
