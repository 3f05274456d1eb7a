//! The export of spans by OTLP, in builds with the feature `otlp`. Builds without it say so.

use std::io;
use std::sync::Arc;

use voxgate::Problem;
use voxgate::env::Environment;
use voxgate_request_tracing::SpanSink;

#[cfg(feature = "otlp")]
use super::http_client;
#[cfg(feature = "otlp")]
use super::settings::tracing::OTLP_CERTIFICATE;
use super::settings::tracing::OTLP_ENDPOINT;
#[cfg(feature = "otlp")]
use super::tls::{Roots, load_roots, ureq_client};

/// Where spans are exported to, if they are.
pub(crate) struct SpanExport {
    #[cfg(feature = "otlp")]
    settings: Option<(voxgate_otlp::Settings, Roots)>,
    /// A collector is set, and this build cannot export spans.
    is_missing: bool,
}

impl SpanExport {
    /// Reads the settings.
    #[cfg(feature = "otlp")]
    pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Self {
        let settings = voxgate_otlp::Settings::read(environment, problems);
        let settings = settings.and_then(|settings| {
            let roots = roots(environment, &settings, problems)?;
            Some((settings, roots))
        });
        Self {
            settings,
            is_missing: false,
        }
    }

    /// Only finds out whether spans should be exported.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn read(environment: &Environment, _: &mut Vec<Problem>) -> Self {
        Self {
            is_missing: environment.get(OTLP_ENDPOINT).is_some(),
        }
    }

    /// What the operator asks for and this build cannot do. It is no error: operators of Kubernetes
    /// inject these settings into pods of any program.
    pub(crate) fn notice(&self) -> Option<Problem> {
        let message = "has no effect: this build lacks the feature `otlp`; use a build with it, or remove \
                       this setting";
        self.is_missing
            .then(|| Problem::new(OTLP_ENDPOINT, message))
    }

    /// The URL that spans are sent to.
    pub(crate) fn url(&self) -> Option<String> {
        #[cfg(feature = "otlp")]
        return self
            .settings
            .as_ref()
            .map(|(settings, _)| settings.endpoint().to_string());
        #[cfg(not(feature = "otlp"))]
        None
    }

    /// Starts the export.
    ///
    /// # Errors
    ///
    /// If the exporter cannot be started.
    #[cfg(feature = "otlp")]
    pub(crate) fn start(&self) -> io::Result<Spans> {
        let Some((settings, roots)) = &self.settings else {
            return Ok(Spans::default());
        };
        let agent = http_client::agent(ureq_client(roots), settings.timeout());
        let exporter = voxgate_otlp::OtlpExporter::start(settings, agent);
        let exporter = exporter.map_err(io::Error::other)?;
        Ok(Spans(Some(Arc::new(exporter))))
    }

    /// There is nothing to start.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn start(&self) -> io::Result<Spans> {
        Ok(Spans::default())
    }
}

/// The CA certificates for the collector. `None` after a problem.
#[cfg(feature = "otlp")]
fn roots(
    environment: &Environment,
    settings: &voxgate_otlp::Settings,
    problems: &mut Vec<Problem>,
) -> Option<Roots> {
    let file = environment.get(OTLP_CERTIFICATE).map(std::path::Path::new);
    if settings.endpoint().scheme_str() != Some("https") {
        // The setting is for all programs of a pod or host, so that it may be for others.
        return Some(Roots::new());
    }
    let mut problem = |message: String| problems.push(Problem::new(OTLP_CERTIFICATE, message));
    match load_roots(file) {
        Ok(roots) if roots.is_empty() => {
            problem("must be set: this system has no CA certificates".to_owned());
        }
        Ok(roots) => return Some(roots),
        Err(error) => problem(format!(
            "cannot be used ({error}); set it to the path of a PEM file with CA certificates"
        )),
    }
    None
}

impl std::fmt::Debug for SpanExport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SpanExport").field(&self.url()).finish()
    }
}

/// The running export, if there is one. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(
    #[cfg(feature = "otlp")] Option<Arc<voxgate_otlp::OtlpExporter>>,
    #[cfg(not(feature = "otlp"))] Option<std::convert::Infallible>,
);

#[cfg(feature = "otlp")]
impl Spans {
    /// What takes the spans.
    pub(crate) fn sink(&self) -> Option<Arc<dyn SpanSink>> {
        let exporter = self.0.clone();
        exporter.map(|exporter| exporter as Arc<dyn SpanSink>)
    }

    /// How many spans were exported, and how many were lost for each reason.
    pub(crate) fn counts(&self) -> Option<(u64, [(&'static str, u64); 2])> {
        let counters = self.0.as_ref()?.counters();
        Some((counters.exported(), counters.lost()))
    }

    /// Exports what is left, for a few seconds at most.
    pub(crate) fn finish(&self) {
        if let Some(exporter) = &self.0 {
            exporter.finish();
        }
    }
}

#[cfg(not(feature = "otlp"))]
impl Spans {
    /// There is none.
    pub(crate) fn sink(&self) -> Option<Arc<dyn SpanSink>> {
        None
    }

    /// There are none.
    pub(crate) fn counts(&self) -> Option<(u64, [(&'static str, u64); 2])> {
        None
    }

    /// There is nothing to do.
    pub(crate) fn finish(&self) {}
}
