//! The spans of a request, before they are exported.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use http::Method;
use voxgate::RequestId;
use voxgate_core::trace::{TraceContext, TraceId};

/// Whether a span is about a request that was received, or one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that was received.
    Server,
    /// A request that was sent.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// The names of the attributes are those of the semantic conventions of OpenTelemetry for HTTP; the
/// gateway's own begin with `voxgate.`.
pub type Attributes = Vec<(&'static str, Value)>;

/// Something that took time: one operation of a trace that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its place in the trace.
    pub context: TraceContext,
    /// Whether its parent is an operation of another program.
    pub parent_is_remote: bool,
    /// Its kind.
    pub kind: SpanKind,
    /// Its name: few names, and none that a caller chooses.
    pub name: Cow<'static, str>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What else is known.
    pub attributes: Attributes,
    /// An operation of another trace that led to this one.
    pub link: Option<TraceContext>,
    /// Whether it failed.
    pub is_error: bool,
}

/// Takes the spans of requests. The methods are called on the request's thread and must not block.
pub trait SpanSink: Debug + Send + Sync {
    /// Whether the spans of a request are recorded. `parent` is the operation of the caller, if its trace
    /// is continued.
    fn is_sampled(&self, parent: Option<&TraceContext>, trace_id: TraceId) -> bool;

    /// Takes a span whose trace is sampled.
    fn export(&self, span: Span);
}

/// Makes the spans of requests to upstreams. Cloning shares the sink.
#[derive(Clone, Debug, Default)]
pub struct UpstreamSpans(Option<Arc<dyn SpanSink>>);

impl UpstreamSpans {
    /// Spans for this sink; without one, there are none.
    #[must_use]
    pub fn new(sink: Option<Arc<dyn SpanSink>>) -> Self {
        Self(sink)
    }

    /// A request to an upstream begins, for a request with this place in a trace. Returns the place that
    /// the upstream is told, and the span.
    #[must_use]
    pub fn begin(
        &self,
        trace: Option<TraceContext>,
        request_id: RequestId,
        method: &Method,
    ) -> (Option<TraceContext>, UpstreamSpan) {
        let (Some(sink), Some(trace)) = (&self.0, trace) else {
            // There is no span that the upstream could be a part of.
            return (trace, UpstreamSpan(None));
        };
        let context = trace.child();
        let pending = trace.is_sampled().then(|| Pending {
            sink: Arc::clone(sink),
            context,
            method: method_name(method),
            start: SystemTime::now(),
            attributes: vec![("voxgate.request_id", request_id.to_string().into())],
        });
        (Some(context), UpstreamSpan(pending))
    }
}

/// The methods that the semantic conventions know. Another would be a name that the caller chooses.
pub(crate) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    let known = KNOWN.into_iter().find(|known| method.as_str() == *known);
    known.unwrap_or("_OTHER")
}

/// The span of a request to an upstream, until the head of the answer is there. Dropping it ends it:
/// the caller has gone.
#[derive(Debug)]
pub struct UpstreamSpan(Option<Pending>);

#[derive(Debug)]
struct Pending {
    sink: Arc<dyn SpanSink>,
    context: TraceContext,
    method: &'static str,
    start: SystemTime,
    attributes: Attributes,
}

impl UpstreamSpan {
    /// Whether anything that is said about it is kept.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// The server that the request is sent to: its host and port, or the path of its Unix socket.
    pub fn server(&mut self, host: &str, port: Option<u16>) {
        if let Some(pending) = &mut self.0 {
            let host = host.to_owned().into();
            pending.attributes.push(("server.address", host));
            let port = port.map(|port| ("server.port", port.into()));
            pending.attributes.extend(port);
        }
    }

    /// The upstream answers with this status.
    pub fn answered(mut self, status: u16) {
        // To a client, every error of the server's is a failure (semantic conventions, HTTP client).
        let failure = (status >= 400).then(|| status.to_string().into());
        self.end(Some(status), failure);
    }

    /// The request failed, for a reason in one word.
    pub fn failed(mut self, reason: &'static str) {
        self.end(None, Some(reason.into()));
    }

    fn end(&mut self, status: Option<u16>, failure: Option<Value>) {
        let Some(pending) = self.0.take() else { return };
        let mut attributes = pending.attributes;
        attributes.push(("http.request.method", pending.method.into()));
        if let Some(status) = status {
            attributes.push(("http.response.status_code", status.into()));
        }
        let is_error = failure.is_some();
        if let Some(failure) = failure {
            attributes.push(("error.type", failure));
        }
        pending.sink.export(Span {
            context: pending.context,
            parent_is_remote: false,
            kind: SpanKind::Client,
            name: span_name(pending.method).into(),
            start: pending.start,
            end: SystemTime::now(),
            attributes,
            link: None,
            is_error,
        });
    }
}

/// The name of a span without a route.
pub(crate) fn span_name(method: &'static str) -> &'static str {
    match method {
        "_OTHER" => "HTTP",
        method => method,
    }
}

impl Drop for UpstreamSpan {
    fn drop(&mut self) {
        self.end(None, Some("client_abort".into()));
    }
}
