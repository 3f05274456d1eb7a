//! The metric of what was rejected before it was a request.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::ReasonLabel;
use crate::rejections::RejectReason;

/// Rejections by reason. Cloning shares them.
#[derive(Clone)]
pub(crate) struct RejectionCounts(Family<ReasonLabel, Counter>);

impl Default for RejectionCounts {
    fn default() -> Self {
        let counts = Self(Family::default());
        // A rate in an alert needs a zero before the first rejection.
        for reason in RejectReason::ALL {
            counts.counter(reason, |_| {});
        }
        counts
    }
}

impl RejectionCounts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "rejections",
            "Connections and streams that were rejected before there was a request",
            self.0.clone(),
        );
    }

    pub(crate) fn inc(&self, reason: RejectReason) {
        self.counter(reason, |counter| _ = counter.inc());
    }

    fn counter(&self, reason: RejectReason, use_it: impl FnOnce(&Counter)) {
        let reason = reason.as_str();
        use_it(&self.0.get_or_create(&ReasonLabel { reason }));
    }

    #[cfg(test)]
    pub(crate) fn get(&self, reason: RejectReason) -> u64 {
        let reason = reason.as_str();
        self.0.get_or_create(&ReasonLabel { reason }).get()
    }
}
