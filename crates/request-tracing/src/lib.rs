//! The trace of each request.
//!
//! - [`TraceContextLayer`] continues the trace of a caller, or begins one (W3C Trace Context).
//!
//! - [`RequestLog`] follows requests by their audit records, and makes a [`Span`] and a line of the access
//!   log ([`ACCESS_TARGET`]) of each; [`UpstreamSpans`] makes those of the requests to upstreams.
//! - A [`SpanSink`] decides which traces are recorded, and takes the spans.
//!
//! A caller that may choose the trace id can join its requests to a trace of others, and one that may
//! choose the sampled flag decides how much is recorded and paid for. So the trace of a caller is
//! continued only if the operator says that this caller is trusted.

mod access_log;
mod layer;
mod requests;
mod span;
mod trace_state;

pub use self::access_log::ACCESS_TARGET;
pub use self::layer::{ContinueTraces, TraceContextLayer, TraceContextService};
pub use self::requests::RequestLog;
pub use self::span::{Attributes, Span, SpanKind, SpanSink, UpstreamSpan, UpstreamSpans, Value};
