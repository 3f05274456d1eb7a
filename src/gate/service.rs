//! The service that the layer makes.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::verify::Verify;

use super::arrival::Arrival;
use super::body::GateBody;
use super::future::{AuthFuture, Waiting};
use super::pipeline::{Gate, Step, Told};

/// Lets requests through to `S`, or refuses them. Made by [`AuthLayer`](super::AuthLayer).
///
/// A refusal is an `Ok` response: the error type is the inner service's own. Readiness is the
/// inner service's own, too, and a request goes to the very instance that was polled ready.
pub struct Auth<S, V> {
    inner: S,
    gate: Arc<Gate<V>>,
}

impl<S, V> Auth<S, V> {
    pub(super) fn new(inner: S, gate: Arc<Gate<V>>) -> Self {
        Self { inner, gate }
    }
}

impl<S, V, B, R> Service<Request<B>> for Auth<S, V>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    V: Verify,
    R: Body,
{
    type Response = Response<GateBody<R>>;
    type Error = S::Error;
    type Future = AuthFuture<S, V, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let arrival = Arrival::now();
        match self.gate.pass(&mut request, arrival, Told::default()) {
            Step::Decided(decided) if decided.receipt.is_recorded() => match decided.outcome {
                Ok(exchange) => AuthFuture::serving(&mut self.inner, request, exchange),
                Err(response) => AuthFuture::refused(response),
            },
            step => AuthFuture::waiting(step, self.wait(request, arrival)),
        }
    }
}

impl<S: Clone, V> Auth<S, V> {
    /// The clone has not been polled ready, so it stays here and the ready instance waits with the
    /// request (tower-http#561).
    fn wait<B>(&mut self, request: Request<B>, arrival: Arrival) -> Waiting<S, V, B> {
        let clone = self.inner.clone();
        Waiting {
            gate: Arc::clone(&self.gate),
            service: mem::replace(&mut self.inner, clone),
            request,
            arrival,
        }
    }
}

impl<S: Clone, V> Clone for Auth<S, V> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            gate: Arc::clone(&self.gate),
        }
    }
}

impl<S, V> fmt::Debug for Auth<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}
