//! Metrics whose values are read when Prometheus asks.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use voxgate::audit::AuditQueue;
use voxgate::policy::SharedPolicy;
use voxgate::rate_limit::StoreStatus;
use voxgate::{Limiter, SharedKeyRing};
use voxgate_tls::{ClientTls, ServerTls};
use voxgate_upstream::ServerStatus;

use crate::auditing::{AuditSinks, LogCounters, SinkQueue};
use crate::connection::ConnectionLimiter;
use crate::key_watch::KeyWatch;
use crate::upstreams::Routes;

/// A counter of lost lines.
pub(super) struct LostLines<F> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) count: F,
}

impl<F> fmt::Debug for LostLines<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Collector for LostLines<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lost = ConstCounter::new((self.count)());
        write(&mut encoder, self.name, self.help, &lost)
    }
}

/// When the certificates in use expire.
#[derive(Clone, Debug, Default)]
pub(super) struct CertificateMetrics {
    pub(super) server: Arc<OnceLock<ServerTls>>,
    pub(super) admin: Arc<OnceLock<ServerTls>>,
    /// What is presented to upstreams.
    pub(super) client: Arc<OnceLock<ClientTls>>,
}

impl Collector for CertificateMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let listeners = [self.server.get(), self.admin.get()];
        let certificates = listeners.into_iter().flatten();
        let certificates = certificates.flat_map(ServerTls::certificates);
        let own = self.client.get().and_then(ClientTls::certificate);
        let expiries = Family::<FileLabel, Gauge>::default();
        for certificate in certificates.chain(own) {
            let file = certificate.file.display().to_string();
            let not_after = certificate.not_after.duration_since(UNIX_EPOCH);
            let seconds = not_after.unwrap_or_default().as_secs();
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            expiries.get_or_create(&FileLabel { file }).set(seconds);
        }
        write(
            &mut encoder,
            "tls_certificate_expiry_timestamp_seconds",
            "Time at which a certificate that the gateway presents expires, in Unix time",
            &expiries,
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: String,
}

/// The counters of the audit queue.
#[derive(Clone)]
pub(super) struct AuditQueueMetrics(pub(super) AuditQueue);

impl fmt::Debug for AuditQueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditQueueMetrics")
    }
}

impl Collector for AuditQueueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        write(
            encoder,
            "audit_records_written",
            "Audit records written to the primary output",
            &ConstCounter::new(self.0.written()),
        )?;
        write(
            encoder,
            "audit_records_lost",
            "Audit records that could not be written and are lost",
            &ConstCounter::new(self.0.lost()),
        )?;
        write(
            encoder,
            "audit_failing",
            "1 if the last attempt to write audit records failed",
            &ConstGauge::new(i64::from(self.0.is_failing())),
        )
    }
}

/// The counters of the audit log's files.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditLogMetrics(pub(super) Arc<OnceLock<LogCounters>>);

impl Collector for AuditLogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(counters) = self.0.get() else {
            return Ok(());
        };
        let encoder = &mut encoder;
        write(
            encoder,
            "audit_segments_lost",
            "Files of the audit log that were removed, replaced or changed by another process",
            &ConstCounter::new(counters.segments_lost()),
        )?;
        write(
            encoder,
            "audit_time_stamps",
            "Time stamps of the audit log that the time-stamp authority gave",
            &ConstCounter::new(counters.time_stamps()),
        )?;
        write(
            encoder,
            "audit_time_stamp_failures",
            "Requests to the time-stamp authority that failed",
            &ConstCounter::new(counters.time_stamp_failures()),
        )
    }
}

/// The open connections of clients.
#[derive(Clone, Default)]
pub(super) struct OpenConnections(pub(super) Arc<OnceLock<ConnectionLimiter>>);

impl fmt::Debug for OpenConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenConnections")
    }
}

impl Collector for OpenConnections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(limiter) = self.0.get() else {
            return Ok(());
        };
        let open = i64::try_from(limiter.open()).unwrap_or(i64::MAX);
        write(
            &mut encoder,
            "connections",
            "Open connections of clients",
            &ConstGauge::new(open),
        )
    }
}

/// The servers behind the gateway. They are as many as the settings name.
#[derive(Clone, Debug, Default)]
pub(super) struct UpstreamServers(pub(super) Arc<OnceLock<Routes>>);

impl Collector for UpstreamServers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(routes) = self.0.get() else {
            return Ok(());
        };
        let upstreams = routes.iter();
        let servers: Vec<ServerStatus> = upstreams.flat_map(|own| own.status()).collect();
        let servers = sum(servers);
        let mut each = |name, help, metric_type, value: &dyn Fn(&ServerStatus) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for status in &servers {
                let label = [("server", status.server.as_str())];
                let metric = family.encode_family(&label)?;
                match metric_type {
                    MetricType::Counter => ConstCounter::new(value(status)).encode(metric)?,
                    _ => ConstGauge::new(i64::try_from(value(status)).unwrap_or(i64::MAX))
                        .encode(metric)?,
                }
            }
            Ok::<_, fmt::Error>(())
        };
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        each(
            "upstream_addresses",
            "Addresses that the name of the TTS server resolves to",
            gauge,
            &|own| own.addresses as u64,
        )?;
        each(
            "upstream_addresses_out",
            "Addresses of the TTS server that get no requests: connecting or the health check failed",
            gauge,
            &|own| own.addresses_out as u64,
        )?;
        each(
            "upstream_in_flight",
            "Requests and tunnels in flight at the TTS server",
            gauge,
            &|own| own.in_flight as u64,
        )?;
        each(
            "upstream_connections",
            "Open connections to the TTS server",
            gauge,
            &|own| own.connections as u64,
        )?;
        each(
            "upstream_connects",
            "Connections opened to the TTS server",
            counter,
            &|own| own.connects,
        )?;
        each(
            "upstream_connect_failures",
            "Attempts to connect to the TTS server that failed",
            counter,
            &|own| own.connect_failures,
        )?;
        each(
            "upstream_ejections",
            "Times that an address of the TTS server got no more requests because connecting failed",
            counter,
            &|own| own.ejections,
        )?;
        each(
            "upstream_retries",
            "Requests sent again because the TTS server had not processed them",
            counter,
            &|own| own.retries,
        )?;
        each(
            "upstream_failed_checks",
            "Health checks of the TTS server that failed",
            counter,
            &|own| own.failed_checks,
        )?;
        each(
            "upstream_failed_lookups",
            "Look-ups of the TTS server's name that failed",
            counter,
            &|own| own.failed_lookups,
        )
    }
}

/// One server can stand behind several prefixes; its label must be there once.
fn sum(servers: Vec<ServerStatus>) -> Vec<ServerStatus> {
    let mut summed: Vec<ServerStatus> = Vec::new();
    for status in servers {
        match summed.iter_mut().find(|own| own.server == status.server) {
            Some(own) => own.add(&status),
            None => summed.push(status),
        }
    }
    summed
}

/// The current use of limits.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitUsage(pub(super) Arc<OnceLock<Limiter>>);

impl Collector for LimitUsage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(limiter) = self.0.get() else {
            return Ok(());
        };
        let (usage, encoder) = (limiter.usage(), &mut encoder);
        write(
            encoder,
            "limit_waiting",
            "Requests in the wait queue",
            &ConstGauge::new(i64::try_from(usage.waiting).unwrap_or(i64::MAX)),
        )?;
        if let Some(status) = limiter.store_status() {
            shared(encoder, &status)?;
        }
        let Some(most) = limiter.upstream_concurrency() else {
            return Ok(());
        };
        write(
            encoder,
            "limit_upstream_in_flight",
            "Requests and tunnels in flight that count toward the upstream limit",
            &ConstGauge::new(i64::from(usage.in_flight)),
        )?;
        write(
            encoder,
            "limit_upstream_concurrency",
            "Upstream limit of requests and tunnels in flight",
            &ConstGauge::new(i64::from(most.get())),
        )
    }
}

fn shared(encoder: &mut DescriptorEncoder<'_>, status: &StoreStatus) -> fmt::Result {
    write(
        encoder,
        "limit_shared_up",
        "1 if Redis answers requests about shared limits",
        &ConstGauge::new(i64::from(status.is_up)),
    )?;
    write(
        encoder,
        "limit_replicas",
        "Replicas that share limits, as last reported by Redis",
        &ConstGauge::new(i64::from(status.replicas)),
    )?;
    write(
        encoder,
        "limit_shared_failures",
        "Requests to Redis about shared limits that failed",
        &ConstCounter::new(status.failures),
    )?;
    write(
        encoder,
        "limit_shared_answers",
        "Answers from Redis about shared limits",
        &ConstCounter::new(status.answers),
    )?;
    write(
        encoder,
        "limit_shared_answer_seconds",
        "Total time that Redis took to answer about shared limits",
        &ConstCounter::new(status.answer_time.as_secs_f64()),
    )?;
    write(
        encoder,
        "limit_shared_failovers",
        "Times that a replica of Redis took over from its primary",
        &ConstCounter::new(status.failovers),
    )?;
    write(
        encoder,
        "limit_shared_restored",
        "Slots of requests in flight that Redis had lost and this replica put back",
        &ConstCounter::new(status.restored),
    )
}

/// The counters of the audit sinks.
#[derive(Debug)]
pub(super) struct SinkMetrics(pub(super) AuditSinks);

impl Collector for SinkMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut each = |name, help, metric_type, value: &dyn Fn(&SinkQueue) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for sink in self.0.iter() {
                let label = [("sink", sink.name())];
                let metric = family.encode_family(&label)?;
                match metric_type {
                    MetricType::Counter => ConstCounter::new(value(sink)).encode(metric)?,
                    _ => ConstGauge::new(i64::from(value(sink) > 0)).encode(metric)?,
                }
            }
            Ok(())
        };
        each(
            "audit_copies_delivered",
            "Audit records delivered to the sink",
            MetricType::Counter,
            &SinkQueue::delivered,
        )?;
        each(
            "audit_copies_lost",
            "Audit records that the sink lost",
            MetricType::Counter,
            &SinkQueue::lost,
        )?;
        each(
            "audit_copy_failing",
            "1 if the last delivery to the sink failed, or the current one takes too long",
            MetricType::Gauge,
            &|sink| sink.is_failing().into(),
        )
    }
}

/// How often a changed policy file could not be put in force.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyMetrics(pub(super) Arc<OnceLock<SharedPolicy>>);

impl Collector for PolicyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let failed = self.0.get().map_or(0, SharedPolicy::failed_loads);
        write(
            &mut encoder,
            "policy_failed_loads",
            "Changed policy files that could not be loaded; the previous policy stayed in force",
            &ConstCounter::new(failed),
        )
    }
}

const DAY: Duration = Duration::from_secs(86_400);
/// The times within which keys that expire are counted, in days.
const EXPIRING: [(&str, u32); 3] = [("1d", 1), ("7d", 7), ("30d", 30)];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithinLabel {
    within: &'static str,
}

/// The keys in force. Preconfigured mode has none.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRingMetrics(
    pub(super) Arc<OnceLock<SharedKeyRing>>,
    /// The watch of the Secrets that the keys come from.
    pub(super) Arc<OnceLock<KeyWatch>>,
);

impl Collector for KeyRingMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(keys) = self.0.get() else {
            return Ok(());
        };
        let ring = keys.ring();
        let encoder = &mut encoder;
        if let Some(watch) = self.1.get() {
            write(
                encoder,
                "key_watch_connected",
                "Whether a watch of the Secrets with keys is open (1) or not (0)",
                &ConstGauge::new(i64::from(watch.is_connected())),
            )?;
            let refused = i64::try_from(watch.refused_secrets()).unwrap_or(i64::MAX);
            write(
                encoder,
                "key_watch_refused_secrets",
                "Watched Secrets that are wrong; their last good keys stay in force",
                &ConstGauge::new(refused),
            )?;
        }
        let count = i64::try_from(ring.len()).unwrap_or(i64::MAX);
        write(
            encoder,
            "keys",
            "Keys in force, including disabled and expired keys",
            &ConstGauge::new(count),
        )?;
        let expiring = Family::<WithinLabel, Gauge>::default();
        let counts = ring.expiring(SystemTime::now(), EXPIRING.map(|(_, days)| days * DAY));
        for ((within, _), count) in EXPIRING.into_iter().zip(counts) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            expiring.get_or_create(&WithinLabel { within }).set(count);
        }
        write(
            encoder,
            "keys_expiring",
            "Keys in force that expire within this time",
            &expiring,
        )?;
        let generation = i64::try_from(keys.generation()).unwrap_or(i64::MAX);
        write(
            encoder,
            "key_ring_generation",
            "Number of key sets loaded since the start",
            &ConstGauge::new(generation),
        )?;
        write(
            encoder,
            "key_ring",
            "Digest of the keys in force; replicas with the same keys have the same digest",
            &Info::new([("digest", ring.digest())]),
        )?;
        write(
            encoder,
            "key_ring_seconds_since_load",
            "Seconds since the keys in force were last read from their source",
            &ConstGauge::new(keys.since_load().as_secs_f64()),
        )?;
        write(
            encoder,
            "key_ring_failed_loads",
            "Changed key sets that could not be loaded; the previous keys stayed in force",
            &ConstCounter::new(keys.failed_loads()),
        )?;
        write(
            encoder,
            "key_ring_revocations",
            "Keys revoked without a new key set: by a file that could not be loaded, or by a command",
            &ConstCounter::new(keys.revoked()),
        )
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}
