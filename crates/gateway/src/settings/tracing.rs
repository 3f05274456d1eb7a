//! The traces of requests.

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_client_address::ForwardedFields;
use voxgate_request_tracing::{ContinueTraces, TraceContextLayer};

use super::{Setting, default_of};

pub(crate) const CONTINUE_TRACES: &str = "VOXGATE_CONTINUE_TRACES";

pub(crate) const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
#[cfg(feature = "otlp")]
pub(crate) const OTLP_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

const GROUP: &str = "Traces";

pub(super) const TRACES: &[Setting] = &[
    Setting::new(GROUP, CONTINUE_TRACES, "CALLERS", "Callers whose trace (`traceparent`) is continued: `trusted-proxies`, `all` or `none`; for the requests of others, a trace begins at the gateway").with_default("trusted-proxies"),
    Setting::new(GROUP, OTLP_ENDPOINT, "ENDPOINT", "URL of the collector of OpenTelemetry that spans are exported to, by OTLP over HTTP, such as `http://collector:4318`; `/v1/traces` is added to it").with_default("spans are not exported"),
    Setting::new(GROUP, "OTEL_EXPORTER_OTLP_HEADERS", "PAIRS", "Header fields that the collector requires: `name=value`, percent-encoded, separated by commas").with_secrecy(),
    Setting::new(GROUP, "OTEL_EXPORTER_OTLP_HEADERS_FILE", "PATH", "File that contains `OTEL_EXPORTER_OTLP_HEADERS`").with_secret_file(),
    Setting::new(GROUP, "OTEL_EXPORTER_OTLP_CERTIFICATE", "PATH", "CA bundle (PEM) used to verify an `https://` collector").with_default("the CA certificates of the system"),
    Setting::new(GROUP, "OTEL_EXPORTER_OTLP_PROTOCOL", "NAME", "Protocol of the collector; `http/protobuf` is the only one").with_default("http/protobuf"),
    Setting::new(GROUP, "OTEL_EXPORTER_OTLP_TIMEOUT", "MILLISECONDS", "Longest time of one export with its retries; spans that are not exported by then are lost").with_default("10000"),
    Setting::new(GROUP, "OTEL_SERVICE_NAME", "NAME", "Name of the service in spans (`service.name`)").with_default("voxgate"),
    Setting::new(GROUP, "OTEL_RESOURCE_ATTRIBUTES", "PAIRS", "Attributes of the process in spans: `name=value`, percent-encoded, separated by commas").with_default("none"),
    Setting::new(GROUP, "OTEL_TRACES_SAMPLER", "NAME", "Which traces are recorded: `always_on`, `always_off` or `traceidratio`; or one of these with `parentbased_` before it, which applies where a caller's trace that is continued does not decide").with_default("parentbased_always_on"),
    Setting::new(GROUP, "OTEL_TRACES_SAMPLER_ARG", "SHARE", "Share of traces that `traceidratio` records, from `0` to `1`").with_default("1"),
    Setting::new(GROUP, "OTEL_SDK_DISABLED", "BOOLEAN", "Whether spans are not exported, whatever the other settings are").with_default("false"),
];

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
