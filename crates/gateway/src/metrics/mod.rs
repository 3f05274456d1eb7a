//! The metrics of the gateway, in the OpenMetrics format.

mod collectors;
mod keys;
mod limits;
mod rejections;
mod spans;
mod speech;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use voxgate::audit::{AuditQueue, Completion, Decision};
use voxgate::policy::SharedPolicy;
use voxgate::token::TokenError;
use voxgate::{AuditRecord, AuditSink, AuthMethod, DenialKind, Limiter, Principal, SharedKeyRing};
use voxgate_tls::{ClientTls, ServerTls};
use voxgate_usage::UsageBook;

use self::collectors::{
    AuditLogMetrics, AuditQueueMetrics, CertificateMetrics, KeyRingMetrics, LimitUsage, LostLines,
    OpenConnections, PolicyMetrics, SinkMetrics, UpstreamServers,
};
use self::keys::{DecisionLabels, KeyId, KeyLabel, OwnKeys};
use self::limits::LimitMetrics;
pub(crate) use self::rejections::RejectionCounts;
use self::spans::SpanMetrics;
use self::speech::{QuotaMetrics, SpeechMetrics};
use super::auditing::{AuditSinks, LogCounters};
use super::connection::ConnectionLimiter;
use super::key_watch::KeyWatch;
use super::upstreams::Routes;
use crate::spans::Spans;

/// All metrics. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    decisions: Family<DecisionLabels, Counter>,
    in_flight: Gauge,
    upstream_errors: Family<ReasonLabel, Counter>,
    content_refusals: Family<ReasonLabel, Counter>,
    tokens_made: Counter,
    tokens_refused: Family<ReasonLabel, Counter>,
    token_verdicts: Family<ReasonLabel, Counter>,
    rejections: RejectionCounts,
    preconfigured_exposed: Gauge,
    last_used: Family<KeyLabel, Gauge>,
    own_keys: OwnKeys,
    connections: OpenConnections,
    upstreams: UpstreamServers,
    certificates: CertificateMetrics,
    policy: PolicyMetrics,
    keys: KeyRingMetrics,
    limits: LimitMetrics,
    limit_usage: LimitUsage,
    speech: SpeechMetrics,
    quotas: QuotaMetrics,
    audit: Option<AuditQueue>,
    audit_log: AuditLogMetrics,
    spans: SpanMetrics,
}

/// The reason of a token that was accepted, as in records.
const TOKEN_ACCEPTED: &str = "ok";
/// Why accepted requests for a token get none.
const REFUSED_TOKEN_REQUESTS: [DenialKind; 5] = [
    DenialKind::InvalidTokenRequest,
    DenialKind::TokenCannotMint,
    DenialKind::InsufficientScope,
    DenialKind::MissingCredential,
    DenialKind::ExpiredCredential,
];

/// What a decision says about the token of the request. `None` without a token, and if something
/// other than the token is refused.
fn token_verdict(decision: &Decision<'_>) -> Option<&'static str> {
    match decision.denial {
        Some(denial) => denial.token_error(),
        None => (decision.auth_method == Some(AuthMethod::Jwt)).then_some(TOKEN_ACCEPTED),
    }
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
        let content_refusals = Family::<ReasonLabel, Counter>::default();
        let tokens_made = Counter::default();
        let tokens_refused = Family::<ReasonLabel, Counter>::default();
        let token_verdicts = Family::<ReasonLabel, Counter>::default();
        let rejections = RejectionCounts::default();
        let preconfigured_exposed = Gauge::default();
        let last_used = Family::<KeyLabel, Gauge>::default();
        let keys = KeyRingMetrics::default();
        // A rate in an alert needs a zero before the first error.
        for kind in [
            DenialKind::UpstreamUnreachable,
            DenialKind::UpstreamTimeout,
            DenialKind::UpstreamUnavailable,
            DenialKind::Unavailable,
            DenialKind::InternalError,
        ] {
            let _ = upstream_errors.get_or_create(&ReasonLabel {
                reason: kind.as_str(),
            });
        }

        for kind in [
            DenialKind::VoiceNotAllowed,
            DenialKind::VoiceNotSeen,
            DenialKind::ModelNotAllowed,
            DenialKind::ModelNotSeen,
            DenialKind::LanguageNotAllowed,
            DenialKind::LanguageNotSeen,
            DenialKind::FetchNotAllowed,
            DenialKind::UnreadableBody,
            DenialKind::ContentTooLarge,
        ] {
            let _ = content_refusals.get_or_create(&ReasonLabel {
                reason: kind.as_str(),
            });
        }

        for kind in REFUSED_TOKEN_REQUESTS {
            let _ = tokens_refused.get_or_create(&ReasonLabel {
                reason: kind.as_str(),
            });
        }
        let reasons = TokenError::ALL.iter().map(|error| error.as_str());
        for reason in reasons.chain([TOKEN_ACCEPTED]) {
            let _ = token_verdicts.get_or_create(&ReasonLabel { reason });
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
        registry.register(
            "content_refusals",
            "Accepted requests whose body or message was refused",
            content_refusals.clone(),
        );
        registry.register(
            "tokens_made",
            "Short-lived tokens that were made for callers",
            tokens_made.clone(),
        );
        registry.register(
            "token_requests_refused",
            "Accepted requests for a token that got none",
            tokens_refused.clone(),
        );
        registry.register(
            "token_verdicts",
            "Short-lived tokens that callers presented, by why they were refused",
            token_verdicts.clone(),
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
        let connections = OpenConnections::default();
        registry.register_collector(Box::new(connections.clone()));
        let upstreams = UpstreamServers::default();
        registry.register_collector(Box::new(upstreams.clone()));
        let certificates = CertificateMetrics::default();
        registry.register_collector(Box::new(certificates.clone()));
        let policy = PolicyMetrics::default();
        registry.register_collector(Box::new(policy.clone()));
        let limits = LimitMetrics::register(&mut registry);
        let limit_usage = LimitUsage::default();
        registry.register_collector(Box::new(limit_usage.clone()));
        let speech = SpeechMetrics::register(&mut registry);
        let quotas = QuotaMetrics::default();
        registry.register_collector(Box::new(quotas.clone()));
        if let Some(audit) = audit.clone() {
            registry.register_collector(Box::new(AuditQueueMetrics(audit)));
        }
        let audit_log = AuditLogMetrics::default();
        registry.register_collector(Box::new(audit_log.clone()));
        let spans = SpanMetrics::default();
        registry.register_collector(Box::new(spans.clone()));
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
            content_refusals,
            tokens_made,
            tokens_refused,
            token_verdicts,
            rejections,
            preconfigured_exposed,
            spans,
            last_used,
            own_keys: OwnKeys::new(usize::MAX),
            connections,
            upstreams,
            certificates,
            policy,
            keys,
            limits,
            limit_usage,
            speech,
            quotas,
            audit,
            audit_log,
        }
    }

    /// At most so many keys have metrics of their own. Those of further keys are summed.
    pub(crate) fn with_most_keys(mut self, most: usize) -> Self {
        self.own_keys = OwnKeys::new(most);
        self.speech.limit_keys(most);
        self.quotas.limit_keys(most);
        self
    }

    /// Removes the metrics of a key that was removed. Its decisions count among those of other keys, so
    /// that their sum never falls.
    pub(crate) fn forget(&self, key: &Principal) {
        let key_id = KeyId::of(Some(key));
        for labels in self.own_keys.remove(&key_id) {
            let counted = self.decisions.get(&labels).map(|counter| counter.get());
            self.decisions.remove(&labels);
            let labels = DecisionLabels {
                key_id: KeyId::Other,
                ..labels
            };
            let others = self.decisions.get_or_create(&labels);
            others.inc_by(counted.unwrap_or(0));
        }
        self.speech.forget(&key_id);
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

    /// Reports what happens to the files of the audit log.
    pub(crate) fn observe_audit_log(&self, counters: LogCounters) {
        // One process has one audit log.
        let _ = self.audit_log.0.set(counters);
    }

    /// Reports the export of spans from now on.
    pub(crate) fn observe_spans(&self, spans: Spans) {
        // One process has one exporter.
        let _ = self.spans.0.set(spans);
    }

    /// Reports these keys from now on.
    pub(crate) fn observe_keys(&self, keys: SharedKeyRing) {
        // One process has one set of keys; a second would be a second gateway.
        let _ = self.keys.0.set(keys);
    }

    /// Reports this watch of keys from now on.
    pub(crate) fn observe_key_watch(&self, watch: KeyWatch) {
        let _ = self.keys.1.set(watch);
    }

    /// Reports the connections of this listener from now on.
    pub(crate) fn observe_connections(&self, connections: ConnectionLimiter) {
        let _ = self.connections.0.set(connections);
    }

    /// Reports these upstreams from now on.
    pub(crate) fn observe_upstreams(&self, routes: Routes) {
        let _ = self.upstreams.0.set(routes);
    }

    /// Reports the certificate of the admin listener from now on.
    pub(crate) fn observe_admin_certificate(&self, tls: ServerTls) {
        let _ = self.certificates.admin.set(tls);
    }

    /// Reports the certificate that is presented to upstreams from now on.
    pub(crate) fn observe_client_certificate(&self, tls: ClientTls) {
        let _ = self.certificates.client.set(tls);
    }

    /// Reports the certificates of this listener from now on.
    pub(crate) fn observe_certificates(&self, tls: ServerTls) {
        let _ = self.certificates.server.set(tls);
    }

    /// Reports this policy from now on.
    pub(crate) fn observe_policy(&self, policy: SharedPolicy) {
        let _ = self.policy.0.set(policy);
    }

    /// Reports the use of this limiter from now on.
    pub(crate) fn observe_limits(&self, limiter: Limiter) {
        let _ = self.limit_usage.0.set(limiter);
    }

    /// Reports the quotas of this book from now on.
    pub(crate) fn observe_quotas(&self, book: UsageBook) {
        // One process has one book.
        let _ = self.quotas.book.set(book);
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
            key_id: KeyId::of(decision.principal),
        };
        let is_used = matches!(
            decision.auth_method,
            Some(AuthMethod::ApiKey | AuthMethod::Jwt | AuthMethod::Certificate)
        );
        self.count(labels, is_used.then_some(decision.time));
        self.limits.decided(decision);
        if let Some(reason) = token_verdict(decision) {
            self.token_verdicts
                .get_or_create(&ReasonLabel { reason })
                .inc();
        }
        // The end of a request that a proxy forwards is not seen.
        if decision.denial.is_none() && decision.via.is_none() {
            self.in_flight.inc();
        }
    }

    /// Counts a decision, and notes when the key was used.
    fn count(&self, labels: DecisionLabels, used: Option<SystemTime>) {
        let known = self.decisions.get(&labels).map(|counter| counter.inc());
        let labels = match known {
            Some(_) => labels,
            None => {
                let labels = self.own_keys.labels(labels);
                self.decisions.get_or_create(&labels).inc();
                labels
            }
        };
        if let Some(time) = used {
            let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let key_id = labels.key_id;
            let last_used = self.last_used.get_or_create(&KeyLabel { key_id });
            last_used.set(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        }
    }

    fn completed(&self, completion: &Completion<'_>) {
        if completion.via.is_none() {
            self.in_flight.dec();
        }
        self.speech.completed(completion);
        if let Some(failure) = completion.failure {
            let labels = ReasonLabel {
                reason: failure.as_str(),
            };
            let is_upstreams =
                failure == DenialKind::NoUpstream || failure.status().is_server_error();
            let family = match failure {
                kind if REFUSED_TOKEN_REQUESTS.contains(&kind) => &self.tokens_refused,
                _ if is_upstreams => &self.upstream_errors,
                // The content of the request was refused, after its head had been accepted.
                _ => &self.content_refusals,
            };
            family.get_or_create(&labels).inc();
        }
    }
}

impl AuditSink for Metrics {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            AuditRecord::Start(start) => _ = self.preconfigured_exposed.set(start.exposed.into()),
            AuditRecord::Decision(decision) => self.decided(decision),
            AuditRecord::Completion(completion) => self.completed(completion),
            AuditRecord::Token(_) => _ = self.tokens_made.inc(),
            _ => {}
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(None, AuditSinks::default(), || 0)
    }

    fn decide(metrics: &Metrics, key: &Principal, reason: &'static str) {
        let key_id = KeyId::of(Some(key));
        let labels = DecisionLabels {
            outcome: "accepted",
            reason,
            key_id,
        };
        metrics.count(labels, Some(SystemTime::now()));
    }

    /// The decisions of each key, as they are exported.
    fn exported(metrics: &Metrics) -> Vec<(String, u64)> {
        let text = metrics.render().expect("text");
        let decisions = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("voxgate_decisions_total{")?;
            let (labels, count) = rest.split_once("} ")?;
            let key = labels.split("key_id=\"").nth(1)?.trim_end_matches('"');
            Some((key.to_owned(), count.parse().expect("a number")))
        });
        let mut decisions: Vec<_> = decisions.collect();
        decisions.sort();
        decisions
    }

    fn expected(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        let counts = counts.iter();
        counts
            .map(|(key, count)| ((*key).to_owned(), *count))
            .collect()
    }

    #[test]
    fn keys_beyond_the_limit_are_summed() {
        let metrics = metrics().with_most_keys(2);
        let keys = ["a", "b", "c", "d"].map(Principal::new);
        for key in &keys {
            decide(&metrics, key, "ok");
            decide(&metrics, key, "ok");
        }
        let counts = expected(&[("(other)", 4), ("a", 2), ("b", 2)]);
        assert_eq!(exported(&metrics), counts);
        let text = metrics.render().expect("text");
        let last_used = text.matches("key_last_used_timestamp_seconds{").count();
        assert_eq!(last_used, 3, "{text}");

        // A key that is removed makes room for another, and no decision is lost from the sum.
        metrics.forget(&keys[0]);
        decide(&metrics, &keys[3], "ok");
        decide(&metrics, &keys[2], "ok");
        let counts = expected(&[("(other)", 7), ("b", 2), ("d", 1)]);
        assert_eq!(exported(&metrics), counts);

        let none = self::metrics().with_most_keys(0);
        decide(&none, &keys[0], "ok");
        assert_eq!(exported(&none), expected(&[("(other)", 1)]));
    }

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
