//! The settings of the exporter, by the names of OpenTelemetry.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::Sampler;
use voxgate::Problem;
use voxgate::env::Environment;

/// Where spans are sent (OpenTelemetry, "OpenTelemetry Protocol Exporter").
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Headers of each export.
pub const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// The encoding.
pub const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
/// How long one export may take.
pub const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
/// The name of the service.
pub const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// Further attributes of the process.
pub const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// Which traces are recorded.
pub const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
/// The share of traces.
pub const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// Turns it all off.
pub const DISABLED: &str = "OTEL_SDK_DISABLED";

const PATH: &str = "v1/traces";
const NAME: &str = "voxgate";
/// The specification's default, in milliseconds.
const DEFAULT_TIMEOUT: u64 = 10_000;

/// The validated settings of the exporter.
#[derive(Clone)]
pub struct Settings {
    pub(crate) endpoint: Uri,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) resource: Resource,
    pub(crate) sampler: Sampler,
}

impl Settings {
    /// Reads the settings. `None` if spans are not exported, or if a setting is wrong.
    ///
    /// As the specification says, an empty value counts as not set. A wrong value is a problem and not a
    /// warning: a gateway whose spans are lost for a typing error is noticed too late.
    pub fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Self> {
        if is_disabled(environment, problems) {
            return None;
        }
        let before = problems.len();
        let endpoint = endpoint(environment.get(ENDPOINT)?.trim());
        let mut problem = |variable: &str, message: &str| {
            problems.push(Problem::new(variable, message));
        };
        if endpoint.is_none() {
            problem(
                ENDPOINT,
                "must be an http:// or https:// URL without a user and a query, such as \
                 http://collector:4318",
            );
        }
        let protocol = environment.get(PROTOCOL).map_or("http/protobuf", str::trim);
        if protocol != "http/protobuf" {
            problem(
                PROTOCOL,
                "must be `http/protobuf`, the only protocol that this program speaks; collectors \
                 expect it on port 4318",
            );
        }
        let timeout = environment.get(TIMEOUT).map(|text| text.trim().parse());
        let timeout = timeout.unwrap_or(Ok(DEFAULT_TIMEOUT));
        let timeout = timeout
            .ok()
            .filter(|timeout| (1..=300_000).contains(timeout));
        if timeout.is_none() {
            problem(TIMEOUT, "must be a number of milliseconds from 1 to 300000");
        }
        let resource = resource(environment);
        if resource.is_none() {
            problem(
                RESOURCE_ATTRIBUTES,
                "must be `name=value` pairs, separated by commas",
            );
        }
        let sampler = sampler(environment, &mut problem);
        let secret = environment.secret(HEADERS, problems);
        let headers = match &secret {
            Some(secret) => headers(secret.expose()),
            None => Some(HashMap::new()),
        };
        if headers.is_none() {
            let message = "must be `name=value` pairs of header fields, separated by commas";
            problems.push(Problem::new(HEADERS, message));
        }
        if problems.len() > before {
            return None;
        }
        Some(Self {
            endpoint: endpoint?,
            headers: headers?,
            timeout: Duration::from_millis(timeout?),
            resource: resource?,
            sampler: sampler?,
        })
    }

    /// Where spans are sent.
    #[must_use]
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// How long one export may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The specification knows only `true`, in any case; anything else is `false`.
fn is_disabled(environment: &Environment, problems: &mut Vec<Problem>) -> bool {
    let given = environment
        .get(DISABLED)
        .map(|text| text.trim().to_ascii_lowercase());
    match given.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            problems.push(Problem::new(DISABLED, "must be `true` or `false`"));
            true
        }
    }
}

/// The URL for traces: the endpoint of all signals, and `/v1/traces` behind it.
fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    if !has_scheme || !is_plain {
        return None;
    }
    format!("{}/{PATH}", text.trim_end_matches('/'))
        .parse()
        .ok()
}

/// Pairs in the form of W3C Baggage: values are percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim());
        let value = value.decode_utf8().ok()?.into_owned();
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    pairs.map(pair).collect()
}

fn headers(text: &str) -> Option<HashMap<String, String>> {
    let pairs = pairs(text)?;
    let is_field = |(name, value): &(String, String)| {
        name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok()
    };
    pairs
        .iter()
        .all(is_field)
        .then(|| pairs.into_iter().collect())
}

/// `OTEL_SERVICE_NAME` wins over `service.name` among the attributes.
fn resource(environment: &Environment) -> Option<Resource> {
    let given = environment.get(RESOURCE_ATTRIBUTES).unwrap_or_default();
    let mut attributes = vec![
        KeyValue::new("service.name", NAME),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    attributes.extend(
        pairs(given)?
            .into_iter()
            .map(|(name, value)| KeyValue::new(name, value)),
    );
    if let Some(name) = environment.get(SERVICE_NAME) {
        attributes.push(KeyValue::new("service.name", name.trim().to_owned()));
    }
    // A later attribute replaces an earlier one of the same name.
    Some(
        Resource::builder_empty()
            .with_attributes(attributes)
            .build(),
    )
}

fn sampler(environment: &Environment, problem: &mut impl FnMut(&str, &str)) -> Option<Sampler> {
    let name = environment
        .get(SAMPLER)
        .map_or("parentbased_always_on", str::trim);
    let (root, of_parent) = match name.strip_prefix("parentbased_") {
        Some(root) => (root, true),
        None => (name, false),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => {
            let ratio = environment
                .get(SAMPLER_ARG)
                .map(|text| text.trim().parse::<f64>());
            let ratio = ratio.unwrap_or(Ok(1.0)).ok();
            let Some(ratio) = ratio.filter(|ratio| (0.0..=1.0).contains(ratio)) else {
                problem(
                    SAMPLER_ARG,
                    "must be a share of traces from 0 to 1, such as 0.1",
                );
                return None;
            };
            Sampler::TraceIdRatioBased(ratio)
        }
        _ => {
            problem(
                SAMPLER,
                "must be `always_on`, `always_off` or `traceidratio`, or one of these with \
                 `parentbased_` before it",
            );
            return None;
        }
    };
    Some(match of_parent {
        true => Sampler::ParentBased(Box::new(root)),
        false => root,
    })
}
