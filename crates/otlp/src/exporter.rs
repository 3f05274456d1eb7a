//! The exporter: a bounded queue, and a thread that sends batches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind as OtelKind, Status, TraceContextExt as _, TraceFlags,
    TraceId as OtelTraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value as OtelValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample as _, SpanData,
    SpanExporter, SpanLinks, SpanProcessor as _,
};
use ureq::Agent;
use voxgate_core::trace::{TraceContext, TraceId};
use voxgate_request_tracing::{Span, SpanKind, SpanSink, Value};

use super::client::BlockingClient;
use super::settings::{ENDPOINT, Settings};

/// Most spans that wait to be exported, those of a batch on its way included.
const QUEUE: usize = 8192;
/// Most spans of one export, and the longest time that a span waits for others: the defaults of the
/// specification are 512 and 5 seconds.
const BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(1);
/// How long the end of the program waits for the last spans.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// The exporter could not be started.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot export spans: {}", self.0)
    }
}

impl std::error::Error for StartError {}

/// Exports spans. A span beyond the limit of the queue is lost, so that no request waits.
pub struct OtlpExporter {
    sampler: Sampler,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    counters: Arc<Counters>,
}

/// How many spans were exported, lost, and are waiting.
#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicUsize,
    exported: AtomicU64,
    queue_full: AtomicU64,
    not_accepted: AtomicU64,
    /// The last export failed.
    is_failing: AtomicBool,
}

/// Reads how many spans were exported and lost. Cloning shares the counters.
#[derive(Clone, Debug)]
pub struct SpanCounters(Arc<Counters>);

impl SpanCounters {
    /// The spans that a collector has accepted.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.0.exported.load(Ordering::Relaxed)
    }

    /// The spans that are lost, by reason: `queue_full`, and `export_failed`.
    #[must_use]
    pub fn lost(&self) -> [(&'static str, u64); 2] {
        [
            ("queue_full", self.0.queue_full.load(Ordering::Relaxed)),
            ("export_failed", self.0.not_accepted.load(Ordering::Relaxed)),
        ]
    }
}

impl OtlpExporter {
    /// Starts the exporter, with a thread of its own. `agent` sends its requests; it must have a timeout,
    /// must not follow redirects, and must return an error status as an answer.
    ///
    /// # Errors
    ///
    /// If the environment has a setting of OpenTelemetry that the SDK reads itself and refuses, such as
    /// a compression.
    pub fn start(settings: &Settings, agent: Agent) -> Result<Self, StartError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(BlockingClient(agent))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.to_string())
            .with_headers(settings.headers.clone())
            .with_timeout(settings.timeout)
            .build()
            .map_err(|error| StartError(error.to_string()))?;
        let counters = Arc::new(Counters::default());
        let exporter = Counted {
            exporter,
            counters: Arc::clone(&counters),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY);
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config.build())
            .build();
        processor.set_resource(&settings.resource);
        let scope =
            InstrumentationScope::builder("voxgate").with_version(env!("CARGO_PKG_VERSION"));
        Ok(Self {
            sampler: settings.sampler.clone(),
            processor,
            scope: scope.build(),
            counters,
        })
    }

    /// The counters, for metrics.
    #[must_use]
    pub fn counters(&self) -> SpanCounters {
        SpanCounters(Arc::clone(&self.counters))
    }

    /// Exports what is left, for at most five seconds. Spans that come later are lost.
    pub fn finish(&self) {
        let _ = self.processor.shutdown_with_timeout(FLUSH_WITHIN);
        let left = self.counters.waiting.load(Ordering::Relaxed);
        if left > 0 {
            tracing::warn!(spans = left, "spans were not exported before the end");
        }
    }
}

impl SpanSink for OtlpExporter {
    fn is_sampled(&self, parent: Option<&TraceContext>, trace_id: TraceId) -> bool {
        let remote = parent.map(|parent| {
            Context::new().with_remote_span_context(span_context(parent, parent.span_id(), true))
        });
        let trace_id = OtelTraceId::from_bytes(trace_id.to_bytes());
        let result =
            self.sampler
                .should_sample(remote.as_ref(), trace_id, "", &OtelKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    fn export(&self, span: Span) {
        let counters = &self.counters;
        // The processor would drop it as well, and not say so.
        if counters.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            counters.waiting.fetch_sub(1, Ordering::Relaxed);
            counters.queue_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.processor.on_end(self.data(span));
    }
}

impl OtlpExporter {
    fn data(&self, span: Span) -> SpanData {
        let mut links = SpanLinks::default();
        links.links.extend(span.link.map(|link| {
            let context = span_context(&link, link.span_id(), true);
            Link::new(context, Vec::new(), 0)
        }));
        let parent = span.context.parent();
        let parent = parent.map(|id| SpanId::from_bytes(id.to_bytes()));
        let attribute = |(name, value)| {
            let value = match value {
                Value::Text(text) => OtelValue::from(text),
                Value::Number(number) => OtelValue::from(number),
            };
            KeyValue::new(name, value)
        };
        SpanData {
            span_context: span_context(&span.context, span.context.span_id(), false),
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: span.parent_is_remote,
            span_kind: match span.kind {
                SpanKind::Server => OtelKind::Server,
                SpanKind::Client => OtelKind::Client,
            },
            name: span.name,
            start_time: span.start,
            end_time: span.end,
            attributes: span.attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links,
            status: match span.is_error {
                true => Status::error(""),
                false => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn span_context(
    context: &TraceContext,
    span_id: voxgate_core::trace::SpanId,
    is_remote: bool,
) -> SpanContext {
    SpanContext::new(
        OtelTraceId::from_bytes(context.trace_id().to_bytes()),
        SpanId::from_bytes(span_id.to_bytes()),
        TraceFlags::new(context.flags()),
        is_remote,
        TraceState::NONE,
    )
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OtlpExporter").field(&self.counters).finish()
    }
}

/// Counts what becomes of the spans of each export.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    counters: Arc<Counters>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        let counters = &self.counters;
        let counter = match &exported {
            Ok(()) => &counters.exported,
            Err(_) => &counters.not_accepted,
        };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        counters.waiting.fetch_sub(spans, Ordering::Relaxed);
        let was_failing = counters
            .is_failing
            .swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !was_failing => {
                tracing::warn!(%error, spans, "cannot export spans to the collector of {ENDPOINT}; they are lost");
            }
            Ok(()) if was_failing => tracing::info!("spans are exported again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.exporter.set_resource(resource);
    }
}
