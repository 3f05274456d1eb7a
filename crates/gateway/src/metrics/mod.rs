//! The metrics of the gateway, in the OpenMetrics format.

mod collectors;
mod limits;
mod rejections;

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use voxgate::audit::{AuditQueue, Completion, Decision};
use voxgate::{AuditRecord, AuditSink, AuthMethod, DenialKind, Limiter, Principal, SharedKeyRing};

use self::collectors::{AuditQueueMetrics, KeyRingMetrics, LimitUsage, LostLines, SinkMetrics};
use self::limits::LimitMetrics;
pub(crate) use self::rejections::RejectionCounts;
use super::auditing::AuditSinks;

/// All metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    decisions: Family<DecisionLabels, Counter>,
    in_flight: Gauge,
    upstream_errors: Family<ReasonLabel, Counter>,
    rejections: RejectionCounts,
    preconfigured_exposed: Gauge,
    last_used: Family<KeyLabel, Gauge>,
    keys: KeyRingMetrics,
    limits: LimitMetrics,
    limit_usage: LimitUsage,
    audit: Option<AuditQueue>,
}

impl Metrics {
    /// `log_lost` returns how many log lines were lost so far. `audit` is `None` in the demo, which
    /// only shows records. `sinks` are the audit sinks.
    pub(crate) fn new(
        audit: Option<AuditQueue>,
        sinks: AuditSinks,
        log_lost: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let decisions = Family::<DecisionLabels, Counter>::default();
        let in_flight = Gauge::default();
        let upstream_errors = Family::<ReasonLabel, Counter>::default();
        let rejections = RejectionCounts::default();
        let preconfigured_exposed = Gauge::default();
        let last_used = Family::<KeyLabel, Gauge>::default();
        let keys = KeyRingMetrics::default();
        // A rate in an alert needs a zero before the first error.
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
            "Requests by decision; the key id is empty for unknown callers",
            decisions.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Accepted requests and tunnels in flight",
            in_flight.clone(),
        );
        registry.register(
            "upstream_errors",
            "Accepted requests without an answer from the upstream",
            upstream_errors.clone(),
        );
        rejections.register(&mut registry);
        registry.register(
            "preconfigured_exposed",
            "1 if callers need no credential and the listen address is not a loopback address",
            preconfigured_exposed.clone(),
        );
        registry.register(
            "key_last_used_timestamp_seconds",
            "Time of the last accepted request with this key, in Unix time",
            last_used.clone(),
        );
        registry.register_collector(Box::new(keys.clone()));
        let limits = LimitMetrics::register(&mut registry);
        let limit_usage = LimitUsage::default();
        registry.register_collector(Box::new(limit_usage.clone()));
        if let Some(audit) = audit.clone() {
            registry.register_collector(Box::new(AuditQueueMetrics(audit)));
        }
        if sinks.iter().next().is_some() {
            registry.register_collector(Box::new(SinkMetrics(sinks)));
        }
        registry.register_collector(Box::new(LostLines {
            name: "log_lines_lost",
            help: "Log lines that could not be written and are lost",
            count: log_lost,
        }));
        registry.register(
            "build",
            "Version of the running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: Arc::new(registry),
            decisions,
            in_flight,
            upstream_errors,
            rejections,
            preconfigured_exposed,
            last_used,
            keys,
            limits,
            limit_usage,
            audit,
        }
    }

    /// Removes the metrics of a key that was removed.
    pub(crate) fn forget(&self, key: &Principal) {
        let key_id = KeyId(Some(key.clone()));
        self.last_used.remove(&KeyLabel { key_id });
    }

    /// The counts of what was rejected before it was a request.
    pub(crate) fn rejections(&self) -> &RejectionCounts {
        &self.rejections
    }

    /// The audit queue that is observed.
    pub(crate) fn audit(&self) -> Option<&AuditQueue> {
        self.audit.as_ref()
    }

    /// Reports these keys from now on.
    pub(crate) fn observe_keys(&self, keys: SharedKeyRing) {
        // One process has one set of keys; a second would be a second gateway.
        let _ = self.keys.0.set(keys);
    }

    /// Reports the use of this limiter from now on.
    pub(crate) fn observe_limits(&self, limiter: Limiter) {
        let _ = self.limit_usage.0.set(limiter);
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
        self.limits.decided(decision);
        if decision.denial.is_none() {
            self.in_flight.inc();
        }
        if decision.auth_method == Some(AuthMethod::ApiKey) {
            let time = decision.time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let key_id = labels.key_id;
            let last_used = self.last_used.get_or_create(&KeyLabel { key_id });
            last_used.set(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabel {
    key_id: KeyId,
}

/// The id of a principal. The principal is shared, so that a label allocates no text.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_lines_and_the_version_are_reported() {
        let metrics = Metrics::new(None, AuditSinks::default(), || 8);
        let text = metrics.render().expect("text");
        assert!(text.contains("log_lines_lost_total 8\n"), "{text}");
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
