//! What a request costs: questions and bytes to Redis, and bytes of the audit log.

use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, header};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;
use tower::{Layer as _, Service as _};
use voxgate::audit::{AuditQueue, DeliveryGuarantee, StreamOutput};
use voxgate::principal::{Account, Principal};
use voxgate::rate_limit::{Limits, OnFailure, Rate};
use voxgate::{AuthLayer, Key, KeyRing, Secret, SharedKeyRing};
use voxgate_limits_redis::simulation;

use crate::gateway::{self, Gateway, Upstream};
use crate::network::{Network, Weather};
use crate::redis_server::Usage;
use crate::scenario::{REDIS, Redis, Topology};

/// How many requests are measured.
const REQUESTS: u32 = 100;
const SECRET: &str = "a-key-of-the-simulation";
/// The lease of slots: the default of the gateway.
const LEASE: Duration = Duration::from_secs(30);

/// A kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name in the report.
    pub name: &'static str,
    topology: Topology,
    has_rate: bool,
    has_slots: bool,
    has_account: bool,
    has_upstream_limit: bool,
}

impl Kind {
    /// All kinds.
    #[must_use]
    pub fn all() -> [Self; 6] {
        let rate = Self {
            name: "a rate of the key",
            topology: Topology::One,
            has_rate: true,
            has_slots: false,
            has_account: false,
            has_upstream_limit: false,
        };
        let slots = Self {
            name: "slots of the key",
            has_rate: false,
            has_slots: true,
            ..rate
        };
        let key = Self {
            name: "rate and slots of the key",
            has_rate: true,
            ..slots
        };
        let account = Self {
            name: "rate and slots of the key and its account",
            has_account: true,
            ..key
        };
        let upstream = Self {
            name: "these, and the upstream's slots",
            has_upstream_limit: true,
            ..account
        };
        let cluster = Self {
            name: "the same in a cluster",
            topology: Topology::Cluster,
            ..upstream
        };
        [rate, slots, key, account, upstream, cluster]
    }

    fn limits(self) -> Limits {
        Limits {
            rate: Rate::parse("1000000/s").filter(|_| self.has_rate),
            concurrency: NonZeroU32::new(1_000_000).filter(|_| self.has_slots),
            ..Limits::default()
        }
    }
}

/// What requests of a kind cost in Redis.
#[derive(Clone, Copy, Debug)]
pub struct RedisCost {
    /// A million requests, without heartbeats.
    pub million: Usage,
    /// A thousand streams in flight for ten seconds: their heartbeats.
    pub heartbeat: Usage,
}

/// Measures requests of a kind: each is accepted, and ends.
///
/// # Errors
///
/// If the simulation cannot be set up.
pub fn of_redis(kind: Kind) -> Result<RedisCost, Box<dyn Error>> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    simulation::seed(1);
    LocalSet::new().block_on(&runtime, measure(kind))
}

async fn measure(kind: Kind) -> Result<RedisCost, Box<dyn Error>> {
    let weather = Weather {
        delay_millis: (1, 1),
        lost_per_million: 0,
    };
    let network = Network::new(1, weather);
    let redis = Redis::start(&network, kind.topology, 1)?;
    let settings = gateway::Settings {
        url: redis.url(),
        on_failure: OnFailure::Deny,
        upstream: NonZeroU32::new(1_000_000).filter(|_| kind.has_upstream_limit),
        queue: None,
        lease: LEASE,
    };
    let mut principal = Principal::new("ivr-prod").with_limits(kind.limits());
    if kind.has_account {
        principal = principal.with_account(Arc::new(Account::new("acme", kind.limits())));
    }
    let keys = SharedKeyRing::new(KeyRing::new([Key::from_secret(
        &Secret::new(SECRET)?,
        principal,
    )])?);
    let mut gateway = Gateway::start(&settings, &keys, &network.dialer(REDIS - 1), 1)?;
    // Redis gets the texts of the scripts with the first requests and their ends.
    sleep(Duration::from_secs(1)).await;
    drop(hold(&mut gateway, 1).await?);
    // Just after a heartbeat, so that none is counted with the requests.
    sleep(LEASE / 3).await;
    let before = redis.usage();
    for _ in 0..REQUESTS {
        drop(hold(&mut gateway, 1).await?);
        sleep(Duration::from_millis(5)).await;
    }
    let requests = redis.usage() - before;
    // Counted without the heartbeats of a gateway without streams.
    let streams = hold(&mut gateway, REQUESTS).await?;
    sleep(LEASE / 3).await;
    let before = redis.usage();
    sleep(LEASE).await;
    let with_streams = redis.usage() - before;
    drop(streams);
    sleep(LEASE / 3).await;
    let before = redis.usage();
    sleep(LEASE).await;
    let heartbeat = with_streams - (redis.usage() - before);
    Ok(RedisCost {
        million: scale(requests, 1_000_000 / u64::from(REQUESTS), 1),
        heartbeat: scale(heartbeat, 1000 / u64::from(REQUESTS), 3),
    })
}

/// Sends requests, one after the other, and holds their answers.
async fn hold(gateway: &mut Gateway, count: u32) -> Result<Vec<gateway::Answer>, Box<dyn Error>> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let Ok(answer) = gateway.call(request()?).await;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()).into());
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn scale(usage: Usage, by: u64, divide: u64) -> Usage {
    let scaled = |number: u64| number * by / divide;
    Usage {
        questions: scaled(usage.questions),
        received: scaled(usage.received),
        sent: scaled(usage.sent),
        busy: scaled(usage.busy),
    }
}

/// Bytes of the audit log for a million accepted requests, each with its decision and its completion,
/// and for a million refused ones.
///
/// # Errors
///
/// If the layer cannot be set up.
pub fn of_audit_log() -> Result<(u64, u64), Box<dyn Error>> {
    let accepted = audit_bytes(SECRET)?;
    let refused = audit_bytes("a-key-that-is-not-valid-0")?;
    Ok((accepted, refused))
}

fn audit_bytes(secret: &str) -> Result<u64, Box<dyn Error>> {
    let bytes = Arc::new(AtomicU64::new(0));
    let output = StreamOutput::new(Counting(Arc::clone(&bytes)));
    let (queue, worker) = AuditQueue::start(output, DeliveryGuarantee::Blocking, "simulation")?;
    let principal = Principal::new("ivr-prod");
    let ring = KeyRing::new([Key::from_secret(&Secret::new(SECRET)?, principal)])?;
    let layer = AuthLayer::new(ring).with_audit_sink(queue);
    let mut service = layer.layer(Upstream);
    let runtime = Builder::new_current_thread().build()?;
    for _ in 0..REQUESTS {
        let mut request = request()?;
        let credential = HeaderValue::from_str(&format!("Bearer {secret}"))?;
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, credential);
        let Ok(answer) = runtime.block_on(service.call(request));
        drop(answer);
    }
    drop((service, layer));
    let lost = worker.finish(Duration::from_secs(60));
    if lost > 0 {
        return Err(format!("{lost} records are lost").into());
    }
    Ok(bytes.load(Ordering::Relaxed) * 1_000_000 / u64::from(REQUESTS))
}

struct Counting(Arc<AtomicU64>);

impl io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request() -> Result<Request<()>, http::Error> {
    Request::post("/v1/rime-tts")
        .header(header::HOST, "tts.example.com")
        .header(header::USER_AGENT, "python-requests/2.32.3")
        .header(header::AUTHORIZATION, format!("Bearer {SECRET}"))
        .body(())
}

/// The costs as tables in Markdown.
///
/// # Errors
///
/// If the simulation cannot be set up.
pub fn report() -> Result<String, Box<dyn Error>> {
    let mut lines = vec![
        "| limits of a request | questions | MB to Redis | MB from Redis | questions of heartbeats | \
         kB of heartbeats |"
            .to_owned(),
        "|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for kind in Kind::all() {
        let RedisCost { million, heartbeat } = of_redis(kind)?;
        let name = kind.name;
        lines.push(format!(
            "| {name} | {} | {} | {} | {} | {} |",
            rounded(million.questions),
            rounded(million.received / 1_000_000),
            rounded(million.sent / 1_000_000),
            rounded(heartbeat.questions),
            rounded((heartbeat.received + heartbeat.sent) / 1000),
        ));
    }
    let (accepted, refused) = of_audit_log()?;
    lines.push(String::new());
    lines.push("| requests | MB of the audit log |".to_owned());
    lines.push("|---|--:|".to_owned());
    for (name, bytes) in [("accepted", accepted), ("refused", refused)] {
        // Durations in the records have different numbers of digits.
        let megabytes = (bytes / 1_000_000 + 25) / 50 * 50;
        lines.push(format!("| {name} | {megabytes} |"));
    }
    Ok(lines.join("\n"))
}

/// A number with two digits that count, and groups of three digits.
fn rounded(number: u64) -> String {
    let unit = 10_u64.pow(number.max(1).ilog10().saturating_sub(1));
    let digits = ((number + unit / 2) / unit * unit).to_string();
    let groups = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn numbers_are_rounded_to_two_digits() {
        let rounded = [0, 7, 99, 994, 12_499, 2_000_000].map(rounded);
        assert_eq!(rounded, ["0", "7", "99", "990", "12 000", "2 000 000"]);
    }
}
