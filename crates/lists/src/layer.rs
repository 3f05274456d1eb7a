//! The layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;
use voxgate::dialect::RefusalContext;
use voxgate::{Caller, Denial, DenialKind, Dialect};

use crate::filter::filtered;
use crate::routes::{Asked, List, asked};

/// The longest list that is read, in bytes.
pub const MAX_LIST: usize = 4 * 1024 * 1024;
/// How many lists are read at a time. Further ones wait.
const AT_A_TIME: usize = 4;
/// How long the server may take to send a list.
const WITHIN: Duration = Duration::from_secs(30);

/// Filters the lists of voices and models in the answers of a service, by what the caller may use.
///
/// It needs the [`Caller`] and the [`Dialect`] that [`AuthLayer`](voxgate::AuthLayer) puts into the
/// request's extensions. Cloning is cheap; clones share the bound on how many lists are read at a
/// time.
///
/// # Panics
///
/// The service panics outside a Tokio runtime with a timer when it reads a list.
#[derive(Clone, Debug)]
pub struct FilterListsLayer {
    /// `None` if the layer does nothing.
    permits: Option<Arc<Semaphore>>,
}

impl FilterListsLayer {
    /// A layer that filters, or that does nothing.
    #[must_use]
    pub fn new(filters: bool) -> Self {
        let permits = filters.then(|| Arc::new(Semaphore::new(AT_A_TIME)));
        Self { permits }
    }
}

impl<S> Layer<S> for FilterListsLayer {
    type Service = FilterLists<S>;

    fn layer(&self, inner: S) -> FilterLists<S> {
        let permits = self.permits.clone();
        FilterLists { inner, permits }
    }
}

/// The service of [`FilterListsLayer`].
#[derive(Clone, Debug)]
pub struct FilterLists<S> {
    inner: S,
    permits: Option<Arc<Semaphore>>,
}

impl<S, B, R> Service<Request<B>> for FilterLists<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = S::Error;
    /// Boxed only for requests that are filtered.
    type Future = FilterFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let permits = self.permits.as_ref();
        let Some((permits, filtering)) = permits.zip(Filtering::of(&request)) else {
            return FilterFuture::Passing {
                future: self.inner.call(request),
            };
        };
        let may_use = |name: &str| filtering.may_use(name);
        match &filtering.asked {
            Asked::All => {}
            Asked::One(name) if may_use(name) => {
                return FilterFuture::Passing {
                    future: self.inner.call(request),
                };
            }
            Asked::One(_) | Asked::Unclear => {
                let refused = filtering.refuse(DenialKind::InsufficientScope);
                return FilterFuture::Filtering {
                    future: Box::pin(std::future::ready(Ok(refused))),
                };
            }
        }
        // The whole list, and not compressed.
        for name in [
            ACCEPT_ENCODING,
            RANGE,
            IF_RANGE,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
        ] {
            request.headers_mut().remove(name);
        }
        let permits = Arc::clone(permits);
        let answer = self.inner.call(request);
        FilterFuture::Filtering {
            future: Box::pin(async move {
                let answer = answer.await?;
                let _permit = permits.acquire().await;
                Ok(filtering.filter(answer).await)
            }),
        }
    }
}

pin_project_lite::pin_project! {
    /// The response future of [`FilterLists`].
    #[project = Projected]
    pub enum FilterFuture<F, R, E> {
        /// The answer of the inner service is passed on.
        Passing {
            #[pin]
            future: F,
        },
        /// The answer is filtered.
        Filtering {
            future: Pin<Box<dyn Future<Output = Result<Response<Either<R, Full<Bytes>>>, E>> + Send>>,
        },
    }
}

impl<F, R, E> Future for FilterFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, Full<Bytes>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Passing { future } => {
                let passed = |answer: Result<Response<R>, E>| Ok(answer?.map(Either::Left));
                future.poll(cx).map(passed)
            }
            Projected::Filtering { future } => future.as_mut().poll(cx),
        }
    }
}

/// What is known about a request whose answer is filtered.
struct Filtering {
    list: &'static List,
    asked: Asked,
    caller: Caller,
    dialect: Dialect,
    context: RefusalContext,
    is_head: bool,
}

impl Filtering {
    /// `None` if the answer is not filtered.
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let is_head = request.method() == Method::HEAD;
        if !is_head && request.method() != Method::GET {
            return None;
        }
        let caller = request.extensions().get::<Caller>()?;
        let dialect = *request.extensions().get::<Dialect>()?;
        let principal = caller.principal();
        if !principal.is_limited_to_voices() && !principal.is_limited_to_models() {
            return None;
        }
        let (list, asked) = asked(dialect, request.uri().path())?;
        list.listed.is_limited(principal).then(|| Self {
            list,
            asked,
            caller: caller.clone(),
            dialect,
            context: RefusalContext::of(request, caller.request_id()),
            is_head,
        })
    }

    fn may_use(&self, name: &str) -> bool {
        self.list.listed.allows(self.caller.principal(), name)
    }

    async fn filter<R>(self, answer: Response<R>) -> Response<Either<R, Full<Bytes>>>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let status = answer.status();
        // A refusal of the gateway itself, a redirect, or an error of the server.
        if !status.is_success() && !status.is_informational() {
            return answer.map(Either::Left);
        }
        let (mut parts, body) = answer.into_parts();
        if status != StatusCode::OK || is_encoded(&parts.headers) {
            return self.not_understood("it is partial or compressed");
        }
        let filtered = match self.is_head {
            true => None,
            false => {
                let whole = timeout(WITHIN, Limited::new(body, MAX_LIST).collect());
                let Ok(Ok(whole)) = whole.await else {
                    return self.not_understood("it is too long or too slow, or broke off");
                };
                let may_use = |name: &str| self.may_use(name);
                let filtered = filtered(self.list, &whole.to_bytes(), &may_use);
                let Some(filtered) = filtered else {
                    return self.not_understood("it has no list where one is expected");
                };
                Some(filtered)
            }
        };
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, ETAG, LAST_MODIFIED] {
            parts.headers.remove(name);
        }
        let json = HeaderValue::from_static("application/json");
        parts.headers.insert(CONTENT_TYPE, json);
        let body = Full::from(filtered.unwrap_or_default());
        Response::from_parts(parts, Either::Right(body))
    }

    fn not_understood<R>(&self, why: &str) -> Response<Either<R, Full<Bytes>>> {
        let request_id = self.caller.request_id();
        tracing::error!(
            %request_id,
            dialect = %self.dialect,
            "the TTS server's list cannot be filtered for this key, so it is not passed on: {why}"
        );
        self.refuse(DenialKind::UpstreamUnreachable)
    }

    fn refuse<R>(&self, kind: DenialKind) -> Response<Either<R, Full<Bytes>>> {
        let refusal = self.dialect.refuse(&Denial::new(kind), self.context);
        refusal.map(|body| Either::Right(Full::new(body)))
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
