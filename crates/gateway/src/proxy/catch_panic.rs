//! Answers a panic of the proxy with a 500 in the form of the caller's dialect.

use std::any::Any;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tower::{BoxError, Layer, Service};
use tower_http::catch_panic::{CatchPanic, ResponseForPanic};
use voxgate::DenialKind;
use voxgate::audit::Ended;

use super::accepted::{RefusalForm, plain};

/// Makes [`CatchPanicInDialect`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanicInDialect<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanicInDialect { inner }
    }
}

/// [`CatchPanic`] with a handler of its own for each request, since the form of the answer depends
/// on the request.
#[derive(Clone, Debug)]
pub(crate) struct CatchPanicInDialect<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for CatchPanicInDialect<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = <CatchPanic<S, PanicHandler> as Service<Request<B>>>::Response;
    type Error = S::Error;
    type Future = <CatchPanic<S, PanicHandler> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let handler = PanicHandler(RefusalForm::of(&request));
        CatchPanic::custom(&mut self.inner, handler).call(request)
    }
}

/// Makes the answer to a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanicHandler(Option<RefusalForm>);

impl ResponseForPanic for PanicHandler {
    type ResponseBody = Full<Bytes>;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let Some(form) = self.0 else {
            tracing::error!(
                panic = message,
                "the proxy panicked; the request is answered with 500"
            );
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let request_id = form.request_id();
        let trace_id = form.trace_id().map(tracing::field::display);
        tracing::error!(%request_id, trace_id, panic = message, "the proxy panicked; the request is answered with 500");
        let mut response = form.refuse(DenialKind::InternalError);
        response.extensions_mut().insert(Ended::UpstreamAbort);
        response
    }
}
