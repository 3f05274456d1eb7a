//! What the gateway tells Prometheus.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use voxgate::audit::{Completion, Decision};
use voxgate::{AuditRecord, AuditSink, DenialKind, Principal};

/// All metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    decisions: Family<DecisionLabels, Counter>,
    in_flight: Gauge,
    upstream_errors: Family<ReasonLabel, Counter>,
    preconfigured_exposed: Gauge,
}

impl Metrics {
    /// `audit_lost` and `log_lost` tell how many audit records and log lines were not written so
    /// far.
    pub(crate) fn new(
        audit_lost: impl Fn() -> u64 + Send + Sync + 'static,
        log_lost: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let decisions = Family::<DecisionLabels, Counter>::default();
        let in_flight = Gauge::default();
        let upstream_errors = Family::<ReasonLabel, Counter>::default();
        let preconfigured_exposed = Gauge::default();
        // An alert on a rate needs the zero before the first error.
        for kind in [
            DenialKind::UpstreamUnreachable,
            DenialKind::UpstreamTimeout,
            DenialKind::Unavailable,
        ] {
            let _ = upstream_errors.get_or_create(&ReasonLabel {
                reason: kind.as_str(),
            });
        }

        let mut registry = Registry::with_prefix("voxgate");
        registry.register(
            "decisions",
            "Requests by decision; the key id is empty for callers that are not known",
            decisions.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Accepted requests and tunnels that have not ended",
            in_flight.clone(),
        );
        registry.register(
            "upstream_errors",
            "Accepted requests that no upstream answered",
            upstream_errors.clone(),
        );
        registry.register(
            "preconfigured_exposed",
            "1 when callers need no credential and the address is not a loopback address",
            preconfigured_exposed.clone(),
        );
        registry.register_collector(Box::new(Lost {
            name: "audit_records_lost",
            help: "Audit records that were not written",
            count: audit_lost,
        }));
        registry.register_collector(Box::new(Lost {
            name: "log_lines_lost",
            help: "Log lines that were not written",
            count: log_lost,
        }));
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: Arc::new(registry),
            decisions,
            in_flight,
            upstream_errors,
            preconfigured_exposed,
        }
    }

    /// The metrics in the OpenMetrics text format, version 1.0.0.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written as text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn decided(&self, decision: &Decision<'_>) {
        let labels = DecisionLabels {
            outcome: decision.outcome(),
            reason: decision.reason(),
            key_id: KeyId(decision.principal.cloned()),
        };
        self.decisions.get_or_create(&labels).inc();
        if decision.denial.is_none() {
            self.in_flight.inc();
        }
    }

    fn completed(&self, completion: &Completion<'_>) {
        self.in_flight.dec();
        if let Some(failure) = completion.failure {
            let labels = ReasonLabel {
                reason: failure.as_str(),
            };
            self.upstream_errors.get_or_create(&labels).inc();
        }
    }
}

impl AuditSink for Metrics {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            AuditRecord::Start(start) => _ = self.preconfigured_exposed.set(start.exposed.into()),
            AuditRecord::Decision(decision) => self.decided(decision),
            AuditRecord::Completion(completion) => self.completed(completion),
            _ => {}
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    outcome: &'static str,
    reason: &'static str,
    key_id: KeyId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// A principal that stands for its id. It is shared, so that counting copies no text.
#[derive(Clone, Debug)]
struct KeyId(Option<Principal>);

impl KeyId {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Principal::id)
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for KeyId {}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for KeyId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

/// Asks for the number of lost lines when the metrics are read.
struct Lost<F> {
    name: &'static str,
    help: &'static str,
    count: F,
}

impl<F> fmt::Debug for Lost<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Collector for Lost<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new((self.count)());
        let metric =
            encoder.encode_descriptor(self.name, self.help, None, counter.metric_type())?;
        counter.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_when_asked() {
        let metrics = Metrics::new(|| 7, || 8);
        let text = metrics.render().expect("text");
        for line in ["audit_records_lost_total 7\n", "log_lines_lost_total 8\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(
            text.contains(concat!(
                "voxgate_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1\n"
            )),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
