//! What the audit trail costs: a request's own thread, and a decision that must be on the disk.
//!
//! `make bench` runs it. The log is in the directory of VOXGATE_BENCH_DIR, or the temporary one: how
//! fast `durable` is depends on the disk below it.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::convert::Infallible;
use std::env;
use std::fs;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use http::{Request, Response};
use tower::{Layer as _, Service as _, service_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use voxgate::audit::log::{Log, LogOptions};
use voxgate::audit::{AuditQueue, DeliveryGuarantee, LogOutput, StreamOutput};
use voxgate::{AuditRecord, AuditSink, AuthLayer, TracingSink};

const CLIENTS: [usize; 4] = [1, 8, 32, 128];
const FOR: Duration = Duration::from_secs(3);
const REQUESTS: u32 = 5_000;
const ROUNDS: usize = 21;

/// Takes records and does nothing with them.
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, _: &AuditRecord<'_>) {}
}

fn main() {
    println!("both records of a request, on its own thread (medians of {ROUNDS} rounds, in turns)");
    let (counted, threads) = AuditQueue::start(
        StreamOutput::new(io::sink()),
        DeliveryGuarantee::Counted,
        "bench",
    )
    .expect("threads");
    let (writer, guard) = tracing_appender::non_blocking(io::sink());
    let lost_lines = writer.error_counter();
    let subscriber = tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().json().with_writer(writer));
    let dispatch = tracing::Dispatch::new(subscriber);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(each(Nowhere));
        times[1].push(each(counted.clone()));
        thread::sleep(Duration::from_millis(100));
        let traced = tracing::dispatcher::with_default(&dispatch, || each(TracingSink));
        times[2].push(traced);
        thread::sleep(Duration::from_millis(100));
    }
    let [nothing, queue, tracing] = times.map(median);
    let (queue, tracing) = (queue - nothing, tracing - nothing);
    println!("{:>32}  {queue:>6.0} ns", "the audit queue");
    println!(
        "{:>32}  {tracing:>6.0} ns  {:>5.1}x",
        "tracing JSON and its appender",
        tracing / queue
    );
    println!("{:>32}  {nothing:>6.0} ns", "all the rest of the layer");
    let lost = (counted.lost(), lost_lines.dropped_lines());
    println!(
        "{:>32}  {} and {}, which the appender tells nobody",
        "lost", lost.0, lost.1
    );
    threads.finish(Duration::from_secs(5));
    drop(guard);

    println!("\ndecisions that wait until they are on the disk");
    println!(
        "{:>8}  {:>12}  {:>10}  {:>10}",
        "clients", "a second", "median", "99th"
    );
    let directory = env::var_os("VOXGATE_BENCH_DIR").map_or_else(env::temp_dir, Into::into);
    for clients in CLIENTS {
        let path = directory.join(format!("voxgate-bench-audit-{}", std::process::id()));
        let options = LogOptions::new(&path, "bench", "bench");
        let (log, _) = Log::open(options, SystemTime::now()).expect("a log");
        let started = AuditQueue::start(LogOutput::new(log), DeliveryGuarantee::Durable, "bench");
        let (queue, threads) = started.expect("threads");
        let times = commit_all(&queue, clients);
        let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let rate = times.len() as f64 / FOR.as_secs_f64();
        println!("{clients:>8}  {rate:>12.0}  {median:>10.1?}  {late:>10.1?}");
        threads.finish(Duration::from_secs(5));
        let _ = fs::remove_dir_all(&path);
    }
}

/// A request through the layer, to its end.
fn request(layer: &AuthLayer) {
    let speech = |_: Request<()>| async { Ok::<_, Infallible>(Response::new("speech".to_owned())) };
    let mut service = layer.layer(service_fn(speech));
    let request = Request::post("http://tts/v1/rime-tts?speaker=cove")
        .body(())
        .expect("a request");
    let answer = wait(service.call(request));
    assert!(answer.is_ok_and(|answer| answer.status().is_success()));
}

/// The time of one of many requests, in nanoseconds.
fn each(sink: impl AuditSink + 'static) -> f64 {
    let layer = AuthLayer::preconfigured().with_audit_sink(sink);
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        request(&layer);
    }
    begun.elapsed().as_nanos() as f64 / f64::from(REQUESTS)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How long each request took, in ascending order.
fn commit_all(queue: &AuditQueue, clients: usize) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    let layer = AuthLayer::preconfigured().with_audit_sink(queue.clone());
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        request(&layer);
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        thread::sleep(FOR);
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("no panic"))
            .collect()
    });
    times.sort_unstable();
    times
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
