//! The traces of requests.

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_client_address::ForwardedFields;
use voxgate_request_tracing::{ContinueTraces, TraceContextLayer};

use super::{Setting, default_of};

pub(crate) const CONTINUE_TRACES: &str = "VOXGATE_CONTINUE_TRACES";

const GROUP: &str = "Traces";

pub(super) const TRACES: &[Setting] = &[Setting::new(
    GROUP,
    CONTINUE_TRACES,
    "CALLERS",
    "Callers whose trace (`traceparent`) is continued: `trusted-proxies`, `all` or `none`; for the \
     requests of others, a trace begins at the gateway",
)
.with_default("trusted-proxies")];

/// Reads whose traces are continued.
pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> TraceContextLayer {
    let given = environment.get(CONTINUE_TRACES);
    let given = given.unwrap_or_else(|| default_of(CONTINUE_TRACES)).trim();
    let continued = ContinueTraces::parse(given).unwrap_or_else(|| {
        let message = "must be `trusted-proxies`, `all` or `none`";
        problems.push(Problem::new(CONTINUE_TRACES, message));
        ContinueTraces::Never
    });
    // Only requests of trusted proxies have these fields.
    TraceContextLayer::new(continued, |extensions| {
        extensions.get::<ForwardedFields>().is_some()
    })
}
