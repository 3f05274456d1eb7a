//! Metrics of the export of spans.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::spans::Spans;

/// How many spans were exported and lost. Nothing without an exporter.
#[derive(Clone, Debug, Default)]
pub(super) struct SpanMetrics(pub(super) Arc<OnceLock<Spans>>);

impl Collector for SpanMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((exported, lost)) = self.0.get().and_then(Spans::counts) else {
            return Ok(());
        };
        let help = "Spans that the collector has accepted";
        let own = encoder.encode_descriptor("spans_exported", help, None, MetricType::Counter)?;
        ConstCounter::new(exported).encode(own)?;
        let help = "Spans that were not exported, by reason";
        let mut of_reason =
            encoder.encode_descriptor("spans_lost", help, None, MetricType::Counter)?;
        for (reason, spans) in lost {
            let label = [("reason", reason)];
            let own = of_reason.encode_family(&label)?;
            ConstCounter::new(spans).encode(own)?;
        }
        Ok(())
    }
}
