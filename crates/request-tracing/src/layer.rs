//! The layer that gives each request its place in a trace.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap, Request};
use tower_layer::Layer;
use tower_service::Service;
use voxgate_core::trace::{TRACEPARENT, TRACESTATE, TraceContext, TraceId};

use super::span::SpanSink;
use super::trace_state;

/// Whose traces are continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContinueTraces {
    /// Those that come through a trusted proxy.
    #[default]
    OfTrustedProxies,
    /// Those of all callers.
    OfAll,
    /// None.
    Never,
}

impl ContinueTraces {
    /// The value of a setting: `trusted-proxies`, `all` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "trusted-proxies" => Some(Self::OfTrustedProxies),
            "all" => Some(Self::OfAll),
            "none" => Some(Self::Never),
            _ => None,
        }
    }
}

/// A tower [`Layer`] that gives each request its place in a trace: a [`TraceContext`] in its extensions,
/// for audit records, log lines and the next server.
///
/// - A trace is continued if its `traceparent` is valid, is the only one, and comes from a caller that
///   [`ContinueTraces`] names. Another request begins a trace, and loses its `tracestate`.
/// - `traceparent` itself stays, because the audit record of the request shows what the caller sent. A
///   proxy replaces it with [`TraceContext::to_header_value`].
/// - A trace id that is also in another header or in the URL is not continued: it may be a credential.
/// - A [`SpanSink`] decides which traces are sampled. Without one, a trace that begins here is marked as
///   sampled: the servers behind decide by themselves how many of these they record.
#[derive(Clone, Debug)]
pub struct TraceContextLayer {
    continued: ContinueTraces,
    is_trusted: fn(&Extensions) -> bool,
    spans: Option<Arc<dyn SpanSink>>,
}

impl TraceContextLayer {
    /// A layer. `is_trusted` tells by its extensions whether a request came through a trusted proxy.
    #[must_use]
    pub fn new(continued: ContinueTraces, is_trusted: fn(&Extensions) -> bool) -> Self {
        Self {
            continued,
            is_trusted,
            spans: None,
        }
    }

    /// Has each request become a span for this sink, which also decides whether its trace is sampled.
    #[must_use]
    pub fn with_spans(mut self, spans: Option<Arc<dyn SpanSink>>) -> Self {
        self.spans = spans;
        self
    }

    /// Finds the place of a request in a trace, and removes a `tracestate` that does not belong to it.
    fn place<B>(&self, request: &mut Request<B>) -> TraceContext {
        let is_continued = match self.continued {
            ContinueTraces::OfTrustedProxies => (self.is_trusted)(request.extensions()),
            ContinueTraces::OfAll => true,
            ContinueTraces::Never => false,
        };
        let parent = sent(request.headers())
            .filter(|_| is_continued)
            .filter(|parent| !is_elsewhere(request, parent.trace_id()));
        if parent.is_none() || !trace_state::is_valid(request.headers()) {
            request.headers_mut().remove(TRACESTATE);
        }
        let trace_id = parent.map_or_else(TraceId::random, |parent| parent.trace_id());
        match (&self.spans, parent) {
            // There is no span here, so that the next server is a part of the caller's.
            (None, Some(parent)) => parent,
            (None, None) => TraceContext::new(trace_id, true),
            (Some(spans), parent) => {
                let is_sampled = spans.is_sampled(parent.as_ref(), trace_id);
                match parent {
                    Some(parent) => parent.child().with_sampled(is_sampled),
                    None => TraceContext::new(trace_id, is_sampled),
                }
            }
        }
    }
}

/// The context that the caller sent. Two of them are none.
fn sent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceContext::parse(value.as_bytes())
}

/// Whether the request has the trace id at another place than `traceparent`.
fn is_elsewhere<B>(request: &Request<B>, trace_id: TraceId) -> bool {
    let text = trace_id.to_string();
    let has = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    };
    let uri = request.uri();
    let of_uri = uri.path_and_query().map_or("", |target| target.as_str());
    let mut headers = request.headers().iter();
    has(of_uri.as_bytes())
        || headers.any(|(name, value)| name != TRACEPARENT && has(value.as_bytes()))
}

/// A layer that trusts no proxy.
impl Default for TraceContextLayer {
    fn default() -> Self {
        Self::new(ContinueTraces::default(), |_| false)
    }
}

impl<S> Layer<S> for TraceContextLayer {
    type Service = TraceContextService<S>;

    fn layer(&self, inner: S) -> TraceContextService<S> {
        let layer = Arc::new(self.clone());
        TraceContextService { inner, layer }
    }
}

/// Gives each request for `S` its place in a trace. Made by [`TraceContextLayer`].
#[derive(Clone, Debug)]
pub struct TraceContextService<S> {
    inner: S,
    layer: Arc<TraceContextLayer>,
}

impl<S, B> Service<Request<B>> for TraceContextService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let context = self.layer.place(&mut request);
        request.extensions_mut().insert(context);
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[derive(Clone)]
    struct Trusted;

    /// The place of a request, and its `tracestate`.
    async fn seen(
        continued: ContinueTraces,
        is_trusted: bool,
        headers: &[(&str, &str)],
        target: &str,
    ) -> (TraceContext, Vec<String>) {
        let layer = TraceContextLayer::new(continued, |extensions| {
            extensions.get::<Trusted>().is_some()
        });
        let service = layer.layer(service_fn(|request: Request<()>| async move {
            let context = *request.extensions().get::<TraceContext>().expect("a place");
            let states = request.headers().get_all(TRACESTATE).iter();
            let states = states.map(|state| state.to_str().expect("text").to_owned());
            Ok::<_, Infallible>((context, states.collect()))
        }));
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("a request");
        if is_trusted {
            request.extensions_mut().insert(Trusted);
        }
        let Ok(seen) = service.oneshot(request).await;
        seen
    }

    #[tokio::test]
    async fn only_the_trace_of_a_trusted_caller_is_continued() {
        use ContinueTraces::{Never, OfAll, OfTrustedProxies};
        let sent = [
            ("traceparent", PARENT),
            ("tracestate", "foo=1"),
            ("tracestate", "bar=2"),
        ];
        for (continued, is_trusted, is_continued) in [
            (OfTrustedProxies, true, true),
            (OfTrustedProxies, false, false),
            (OfAll, false, true),
            (OfAll, true, true),
            (Never, true, false),
            (Never, false, false),
        ] {
            let (context, states) = seen(continued, is_trusted, &sent, "/").await;
            let case = format!("{continued:?} {is_trusted}");
            assert_eq!(
                context.trace_id().to_string() == TRACE,
                is_continued,
                "{case}"
            );
            // A stranger's flag does not count.
            assert_eq!(context.is_sampled(), !is_continued, "{case}");
            assert_eq!(states.len(), if is_continued { 2 } else { 0 }, "{case}");
        }
    }

    #[tokio::test]
    async fn what_is_not_valid_is_ignored() {
        let state = ("tracestate", "foo=1");
        for headers in [
            &[state][..],
            &[("traceparent", "1"), state],
            &[("traceparent", PARENT), ("traceparent", PARENT), state],
        ] {
            let (context, states) = seen(ContinueTraces::OfAll, false, headers, "/").await;
            assert_ne!(context.trace_id().to_string(), TRACE, "{headers:?}");
            assert!(states.is_empty(), "{headers:?}");
        }
        // A list with a fault does not break the trace.
        let headers = [("traceparent", PARENT), ("tracestate", "foo")];
        let (context, states) = seen(ContinueTraces::OfAll, false, &headers, "/").await;
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert!(states.is_empty());
    }

    #[tokio::test]
    async fn a_trace_id_that_may_be_a_credential_is_not_continued() {
        let key = TRACE.to_uppercase();
        for (header, value, target) in [
            ("authorization", format!("Bearer {TRACE}"), "/"),
            ("x-api-key", key, "/"),
            (
                "accept",
                "*/*".to_owned(),
                &*format!("/speak?api_key={TRACE}"),
            ),
        ] {
            let headers = [("traceparent", PARENT), (header, &value)];
            let (context, _) = seen(ContinueTraces::OfAll, false, &headers, target).await;
            assert_ne!(context.trace_id().to_string(), TRACE, "{header}");
        }
    }
}
