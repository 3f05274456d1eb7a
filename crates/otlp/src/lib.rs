//! Exports the spans of a gateway by the OpenTelemetry protocol (OTLP) over HTTP, in protobuf.
//!
//! [`Settings`] are read by the names of OpenTelemetry, and [`OtlpExporter`] is the
//! [`SpanSink`](voxgate_request_tracing::SpanSink): sampling, batches, encoding and retries are the SDK's.
//! What is our own is the HTTP client, which the program uses elsewhere, and the count of lost spans.

mod client;
mod exporter;
mod settings;

pub use self::exporter::{OtlpExporter, SpanCounters, StartError};
pub use self::settings::{
    DISABLED, ENDPOINT, HEADERS, PROTOCOL, RESOURCE_ATTRIBUTES, SAMPLER, SAMPLER_ARG, SERVICE_NAME,
    Settings, TIMEOUT,
};
