//! The trace of each request.
//!
//! - [`TraceContextLayer`] continues the trace of a caller, or begins one (W3C Trace Context).
//!
//! A caller that may choose the trace id can join its requests to a trace of others, and one that may
//! choose the sampled flag decides how much is recorded and paid for. So the trace of a caller is
//! continued only if the operator says that this caller is trusted.

mod layer;
mod trace_state;

pub use self::layer::{ContinueTraces, TraceContextLayer, TraceContextService};
