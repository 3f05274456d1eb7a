//! What is asked for when the metrics are read.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use voxgate::audit::AuditQueue;
use voxgate::rate_limit::StoreStatus;
use voxgate::{Limiter, SharedKeyRing};

use crate::auditing::{Copies, Copy};

/// The number of lost lines.
pub(super) struct Lost<F> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) count: F,
}

impl<F> fmt::Debug for Lost<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Collector for Lost<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lost = ConstCounter::new((self.count)());
        write(&mut encoder, self.name, self.help, &lost)
    }
}

/// What became of audit records.
#[derive(Clone)]
pub(super) struct Audit(pub(super) AuditQueue);

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

impl Collector for Audit {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        write(
            encoder,
            "audit_records_written",
            "Audit records that were written",
            &ConstCounter::new(self.0.written()),
        )?;
        write(
            encoder,
            "audit_records_lost",
            "Audit records that were not written",
            &ConstCounter::new(self.0.lost()),
        )?;
        write(
            encoder,
            "audit_failing",
            "1 when the last attempt to write audit records failed",
            &ConstGauge::new(i64::from(self.0.is_failing())),
        )
    }
}

/// What limited requests use at this moment.
#[derive(Clone, Debug, Default)]
pub(super) struct InUse(pub(super) Arc<OnceLock<Limiter>>);

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(limiter) = self.0.get() else {
            return Ok(());
        };
        let (usage, encoder) = (limiter.usage(), &mut encoder);
        write(
            encoder,
            "limit_waiting",
            "Requests that wait for a slot",
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
            "Requests and tunnels in flight that the limit of the upstream counts",
            &ConstGauge::new(i64::from(usage.in_flight)),
        )?;
        write(
            encoder,
            "limit_upstream_concurrency",
            "How many of them there may be",
            &ConstGauge::new(i64::from(most.get())),
        )
    }
}

fn shared(encoder: &mut DescriptorEncoder<'_>, status: &StoreStatus) -> fmt::Result {
    write(
        encoder,
        "limit_shared_up",
        "1 when the limits that replicas share can be asked",
        &ConstGauge::new(i64::from(status.is_up)),
    )?;
    write(
        encoder,
        "limit_replicas",
        "Replicas that share limits, as seen last",
        &ConstGauge::new(i64::from(status.replicas)),
    )?;
    write(
        encoder,
        "limit_shared_failures",
        "Times that the shared limits could not be asked",
        &ConstCounter::new(status.failures),
    )?;
    write(
        encoder,
        "limit_shared_answers",
        "Answers of the shared limits",
        &ConstCounter::new(status.answers),
    )?;
    write(
        encoder,
        "limit_shared_answer_seconds",
        "Time from question to answer, of all answers together",
        &ConstCounter::new(status.answer_time.as_secs_f64()),
    )
}

/// What became of the copies of audit records.
#[derive(Debug)]
pub(super) struct AuditCopies(pub(super) Copies);

impl Collector for AuditCopies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut each = |name, help, metric_type, value: &dyn Fn(&Copy) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for copy in self.0.iter() {
                let label = [("sink", copy.name())];
                let metric = family.encode_family(&label)?;
                match metric_type {
                    MetricType::Counter => ConstCounter::new(value(copy)).encode(metric)?,
                    _ => ConstGauge::new(i64::from(value(copy) > 0)).encode(metric)?,
                }
            }
            Ok(())
        };
        each(
            "audit_copies_delivered",
            "Audit records that the receiver of a copy has taken",
            MetricType::Counter,
            &Copy::delivered,
        )?;
        each(
            "audit_copies_lost",
            "Audit records that the receiver of a copy will not get",
            MetricType::Counter,
            &Copy::lost,
        )?;
        each(
            "audit_copy_failing",
            "1 when the last attempt to deliver a copy of audit records failed, or takes too long",
            MetricType::Gauge,
            &|copy| copy.is_failing().into(),
        )
    }
}

/// The keys in force. There are none while they are not set, and in preconfigured mode.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(pub(super) Arc<OnceLock<SharedKeyRing>>);

impl Collector for Keys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(keys) = self.0.get() else {
            return Ok(());
        };
        let ring = keys.ring();
        let encoder = &mut encoder;
        let count = i64::try_from(ring.len()).unwrap_or(i64::MAX);
        write(
            encoder,
            "keys",
            "Keys in force, disabled and expired ones included",
            &ConstGauge::new(count),
        )?;
        let generation = i64::try_from(keys.generation()).unwrap_or(i64::MAX);
        write(
            encoder,
            "key_ring_generation",
            "How many sets of keys there have been",
            &ConstGauge::new(generation),
        )?;
        write(
            encoder,
            "key_ring",
            "The digest of the keys in force: the same wherever the same keys are",
            &Info::new([("digest", ring.digest())]),
        )?;
        write(
            encoder,
            "key_ring_seconds_since_load",
            "Time since the keys in force were last found where they come from",
            &ConstGauge::new(keys.since_load().as_secs_f64()),
        )?;
        write(
            encoder,
            "key_ring_failed_loads",
            "Changed keys that could not be loaded, so that the last good ones stayed in force",
            &ConstCounter::new(keys.failed_loads()),
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
