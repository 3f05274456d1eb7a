//! The service of the layer.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::verify::Verify;

use super::body::AuthBody;
use super::future::{AuthFuture, Parked};
use super::inner_uri::InnerUri;
use super::pipeline::{Pipeline, Progress, Stage};
use super::request_start::RequestStart;

/// Forwards accepted requests to `S`, and refuses the others. Made by
/// [`AuthLayer`](super::AuthLayer).
///
/// A refusal is an `Ok` response, so the error type is the inner service's. Readiness is also the
/// inner service's, and a request goes to the instance that was polled ready.
pub struct Auth<S, V> {
    inner: S,
    pipeline: Arc<Pipeline<V>>,
}

impl<S, V> Auth<S, V> {
    pub(super) fn new(inner: S, pipeline: Arc<Pipeline<V>>) -> Self {
        Self { inner, pipeline }
    }
}

impl<S, V, B, R> Service<Request<B>> for Auth<S, V>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    V: Verify,
    R: Body,
{
    type Response = Response<AuthBody<R>>;
    type Error = S::Error;
    type Future = AuthFuture<S, V, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let start = RequestStart::now(request.extensions());
        if let Some(find) = self.pipeline.original_uri {
            InnerUri::exchange(&mut request, find);
        }
        let progress = self.pipeline.advance(&mut request, Stage::Received(start));
        let progress = match progress {
            Progress::Recorded(recorded) if recorded.is_ready() => {
                let (decision, _) = recorded.into_decision();
                return match decision {
                    Ok(guard) => AuthFuture::serving(&mut self.inner, request, guard),
                    Err(refusal) => AuthFuture::refused(refusal),
                };
            }
            waiting => waiting,
        };
        AuthFuture::waiting(progress, self.parked(request, start))
    }
}

impl<S: Clone, V> Auth<S, V> {
    /// What a request needs to continue after a wait. The clone has not been polled ready, so it
    /// stays here, and the ready instance goes with the request (tower-http#561).
    fn parked<B>(&mut self, request: Request<B>, start: RequestStart) -> Parked<S, V, B> {
        let clone = self.inner.clone();
        Parked {
            pipeline: Arc::clone(&self.pipeline),
            service: mem::replace(&mut self.inner, clone),
            request,
            start,
        }
    }
}

impl<S: Clone, V> Clone for Auth<S, V> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            pipeline: Arc::clone(&self.pipeline),
        }
    }
}

impl<S, V> fmt::Debug for Auth<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}
