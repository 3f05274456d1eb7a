//! Metrics of limits: refusals by limit, and time in the wait queue.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use voxgate::audit::Decision;
use voxgate::rate_limit::Limit;

/// Seconds in the wait queue.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

#[derive(Clone)]
pub(super) struct LimitMetrics {
    refusals: Family<LimitLabel, Counter>,
    queued: Family<OutcomeLabel, Histogram, fn() -> Histogram>,
}

impl LimitMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refusals = Family::<LimitLabel, Counter>::default();
        // A rate in an alert needs a zero before the first refusal.
        for limit in Limit::ALL {
            let _ = refusals.get_or_create(&limit.into());
        }
        registry.register(
            "limit_refusals",
            "Requests refused because of a limit",
            refusals.clone(),
        );
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let queued = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "limit_queue",
            "Time that requests spent in the wait queue",
            Unit::Seconds,
            queued.clone(),
        );
        Self { refusals, queued }
    }

    pub(super) fn decided(&self, decision: &Decision<'_>) {
        if let Some(limit) = decision.limit {
            self.refusals.get_or_create(&limit.into()).inc();
        }
        if let Some(queued) = decision.queued {
            let outcome = decision.outcome();
            let histogram = self.queued.get_or_create(&OutcomeLabel { outcome });
            histogram.observe(queued.as_secs_f64());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

impl From<Limit> for LimitLabel {
    fn from(limit: Limit) -> Self {
        let limit = limit.as_str();
        Self { limit }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}
