//! The layer.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::Either;
use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, UPGRADE,
};
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_http::cors::{
    AllowHeaders, AllowMethods, AllowOrigin, Any, Cors, CorsLayer, ResponseFuture,
};
use tower_layer::Layer;
use tower_service::Service;
use voxgate::DenialKind;
use voxgate::gateway::RefuseAs;

use super::optional_body::OptionalBody;
use super::origins::Origins;

/// How long a browser may keep the answer to a preflight. Chromium keeps none for more than two hours.
const MAX_AGE: Duration = Duration::from_secs(3600);
const FIELDS: &str = "access-control-";

/// What happens to preflights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preflights {
    /// They are answered here: any method and any header is allowed, because the key decides.
    #[default]
    Answer,
    /// They go on like any other request, and so does their answer.
    Forward,
}

/// A tower [`Layer`] for requests of browsers. Cloning is cheap.
///
/// # Deployment caveat
///
/// It must be outside of the authentication layer, or refusals cannot be read by pages.
#[derive(Clone, Debug, Default)]
pub struct BrowserLayer(Option<Arc<Settings>>);

#[derive(Debug)]
struct Settings {
    origins: Origins,
    preflights: Preflights,
    cors: CorsLayer,
}

impl BrowserLayer {
    /// Allows pages of these origins. The [default](Self::default) changes nothing.
    #[must_use]
    pub fn new(origins: Origins, preflights: Preflights) -> Self {
        let allowed = match origins.is_any() {
            true => AllowOrigin::any(),
            false => {
                let origins = origins.clone();
                AllowOrigin::predicate(move |origin, _| origins.allow(origin))
            }
        };
        let cors = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods(AllowMethods::mirror_request())
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(Any)
            .max_age(MAX_AGE);
        Self(Some(Arc::new(Settings {
            origins,
            preflights,
            cors,
        })))
    }
}

impl BrowserLayer {
    /// Has the authentication layer refuse a WebSocket of a page that is not allowed, as the layer does.
    /// For a server that only answers questions about requests, and so answers no preflights.
    pub fn judge_origin<B>(&self, request: &mut Request<B>) {
        if let Some(settings) = &self.0 {
            settings.judge_origin(request);
        }
    }
}

impl Settings {
    fn judge_origin<B>(&self, request: &mut Request<B>) {
        let headers = request.headers();
        let origin = headers.get(ORIGIN);
        if headers.contains_key(UPGRADE) && origin.is_some_and(|origin| !self.origins.allow(origin))
        {
            let refuse = RefuseAs(DenialKind::OriginNotAllowed);
            request.extensions_mut().insert(refuse);
        }
    }
}

impl<S> Layer<S> for BrowserLayer {
    type Service = Browsers<S>;

    fn layer(&self, inner: S) -> Browsers<S> {
        let inner = WithOptionalBody {
            inner,
            removes_fields: false,
        };
        let cors = self.0.as_ref().map(|settings| settings.cors.clone());
        Browsers {
            cors: cors.unwrap_or_default().layer(inner),
            settings: self.0.clone(),
        }
    }
}

/// Answers browsers. Made by [`BrowserLayer`].
#[derive(Clone, Debug)]
pub struct Browsers<S> {
    cors: Cors<WithOptionalBody<S>>,
    settings: Option<Arc<Settings>>,
}

impl<S, Q, B> Service<Request<Q>> for Browsers<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<OptionalBody<B>>;
    type Error = S::Error;
    type Future = Either<ResponseFuture<Answer<S::Future>>, Answer<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.cors.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let Some(settings) = &self.settings else {
            return Either::Right(self.cors.get_mut().call(request));
        };
        settings.judge_origin(&mut request);
        let is_options = request.method() == Method::OPTIONS;
        let is_preflight = is_options && is_preflight(request.headers());
        let is_forwarded = is_preflight && settings.preflights == Preflights::Forward;
        let inner = self.cors.get_mut();
        // The server's own fields would contradict these.
        inner.removes_fields = !is_forwarded;
        // tower-http answers every `OPTIONS`.
        match is_forwarded || (is_options && !is_preflight) {
            true => Either::Right(inner.call(request)),
            false => Either::Left(self.cors.call(request)),
        }
    }
}

/// Fetch §3.2.2: `Origin` and `Access-Control-Request-Method`.
fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The inner service, whose answers get a body that an answer to a preflight can have, too.
#[derive(Clone, Debug)]
struct WithOptionalBody<S> {
    inner: S,
    removes_fields: bool,
}

impl<S, Q, B> Service<Request<Q>> for WithOptionalBody<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<OptionalBody<B>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        Answer {
            future: self.inner.call(request),
            removes_fields: self.removes_fields,
        }
    }
}

pin_project! {
    /// The answer of the inner service.
    #[derive(Debug)]
    pub struct Answer<F> {
        #[pin]
        future: F,
        removes_fields: bool,
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<OptionalBody<B>>, E>;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        if *this.removes_fields {
            remove_fields(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(OptionalBody::new)))
    }
}

fn remove_fields(headers: &mut HeaderMap<HeaderValue>) {
    let named = headers
        .keys()
        .filter(|name| name.as_str().starts_with(FIELDS));
    let named: Vec<HeaderName> = named.cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;

    use http::StatusCode;
    use http_body_util::{BodyExt as _, Full};
    use tower::{ServiceExt as _, service_fn};

    /// Sends a request through the layer to a server that has fields of its own, and refuses everything.
    async fn ask(
        layer: &BrowserLayer,
        method: &str,
        headers: &[(&str, &str)],
    ) -> (Response<()>, String) {
        let inner = service_fn(|request: Request<()>| async move {
            let refused = request.extensions().get::<RefuseAs>().is_some();
            let response = Response::builder()
                .status(if refused { 403 } else { 401 })
                .header("access-control-allow-origin", "https://server.example")
                .header("access-control-allow-credentials", "true")
                .header("vary", "accept-encoding")
                .body(Full::<&[u8]>::from(&b"refused"[..]));
            Ok::<_, Infallible>(response.expect("a response"))
        });
        let request = Request::builder().method(method).uri("/v1/x");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let request = request.body(()).expect("a request");
        let Ok(response) = layer.layer(inner).oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (Response::from_parts(parts, ()), body)
    }

    fn field<'a>(response: &'a Response<()>, name: &str) -> Option<&'a str> {
        response.headers().get(name)?.to_str().ok()
    }

    const OURS: (&str, &str) = ("origin", "https://app.example");
    const OTHER: (&str, &str) = ("origin", "https://evil.example");
    const ASKS: [(&str, &str); 2] = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-api-key"),
    ];

    fn layer(preflights: Preflights) -> BrowserLayer {
        let origins = Origins::parse("https://app.example").expect("an origin");
        BrowserLayer::new(origins, preflights)
    }

    #[tokio::test]
    async fn a_preflight_is_answered_and_a_refusal_can_be_read() {
        let layer = layer(Preflights::Answer);
        let (answer, body) = ask(&layer, "OPTIONS", &[OURS, ASKS[0], ASKS[1]]).await;
        assert_eq!((answer.status(), body.as_str()), (StatusCode::OK, ""));
        let name = "access-control-allow-origin";
        assert_eq!(field(&answer, name), Some(OURS.1));
        let headers = field(&answer, "access-control-allow-headers");
        assert_eq!(headers, Some(ASKS[1].1));
        assert_eq!(field(&answer, "access-control-allow-methods"), Some("POST"));
        let (answer, body) = ask(&layer, "POST", &[OURS]).await;
        assert_eq!((answer.status().as_u16(), body.as_str()), (401, "refused"));
        assert_eq!(field(&answer, name), Some(OURS.1));
        assert_eq!(field(&answer, "access-control-allow-credentials"), None);
        let vary = answer.headers().get_all("vary").iter();
        let vary: Vec<&str> = vary.filter_map(|value| value.to_str().ok()).collect();
        let vary = vary.join(",");
        assert!(
            vary.contains("origin") && vary.contains("accept-encoding"),
            "{vary}"
        );
    }

    #[tokio::test]
    async fn other_origins_get_no_permission() {
        let layer = layer(Preflights::Answer);
        for (method, headers) in [
            ("OPTIONS", &[OTHER, ASKS[0], ASKS[1]][..]),
            ("POST", &[OTHER]),
        ] {
            let (answer, _) = ask(&layer, method, headers).await;
            assert_eq!(
                field(&answer, "access-control-allow-origin"),
                None,
                "{method}"
            );
        }
        // A request of no browser, and an `OPTIONS` that is no preflight, are as before.
        assert_eq!(ask(&layer, "OPTIONS", &[OURS]).await.0.status(), 401);
        assert_eq!(ask(&layer, "POST", &[]).await.0.status(), 401);
    }

    #[tokio::test]
    async fn websockets_of_other_origins_are_refused() {
        let layer = layer(Preflights::Answer);
        let upgrade = ("upgrade", "websocket");
        for (headers, status) in [
            (&[upgrade, OTHER][..], 403),
            (&[upgrade, ("origin", "null")], 403),
            (&[upgrade, OURS], 401),
            // No browser.
            (&[upgrade], 401),
        ] {
            assert_eq!(
                ask(&layer, "GET", headers).await.0.status(),
                status,
                "{headers:?}"
            );
        }
        let any = BrowserLayer::new(Origins::parse("*").expect("any"), Preflights::Answer);
        assert_eq!(ask(&any, "GET", &[upgrade, OTHER]).await.0.status(), 401);
    }

    #[tokio::test]
    async fn preflights_go_on_if_they_are_to() {
        let forward = layer(Preflights::Forward);
        for layer in [forward, BrowserLayer::default()] {
            let (answer, _) = ask(&layer, "OPTIONS", &[OURS, ASKS[0]]).await;
            assert_eq!(answer.status(), 401);
            let name = "access-control-allow-origin";
            assert_eq!(field(&answer, name), Some("https://server.example"));
        }
    }
}
