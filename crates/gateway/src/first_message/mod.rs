//! WebSockets whose credential is in the first message of the client.
//!
//! Browsers cannot set a header on a handshake, so some vendors' clients send their credential when
//! the WebSocket is open. Such a handshake is accepted here, before the authentication layer. When the
//! first message has come, the layer gets the client's request with the credential in the vendor's
//! header, and decides as it always does. No upstream is asked before. A connection that waits holds no place: it
//! may be closed for any other one.
//!
//! Each of these connections has one decision in the audit trail. If no credential came, it is that
//! of a request without one.

mod handshake;
mod held;
mod refusal;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either as EitherFuture, MapOk};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Either, Empty};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Layer, Service};
use voxgate::{ClientAddr, Dialect};

use self::handshake::Handshake;
pub(crate) use self::held::HeldClient;
use self::held::Hold;
use super::connection::{Activity, ConnectionLimiter};
use super::proxy::RequestBody;

/// How long a handshake waits for a place among those that wait for their first message. Another one
/// is closed for it after 50 ms.
const PLACE_WITHIN: Duration = Duration::from_secs(1);

/// The WebSockets of one worker that wait for their first message.
#[derive(Clone)]
pub(crate) struct FirstMessages {
    dialect: Dialect,
    /// How many wait, in all workers: all together, and those of one client.
    waiting: ConnectionLimiter,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl FirstMessages {
    /// Those of clients of this dialect. Shutdown waits for `tasks`, and `stop` ends the waiting.
    pub(crate) fn new(
        dialect: Dialect,
        waiting: ConnectionLimiter,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            dialect,
            waiting,
            tasks,
            stop,
        }
    }
}

/// Makes a [`FirstMessage`] service for one client connection.
#[derive(Clone)]
pub(crate) struct FirstMessageLayer {
    first_messages: Option<FirstMessages>,
    activity: Activity,
}

impl FirstMessageLayer {
    /// Without `first_messages`, every request passes as it is.
    pub(crate) fn new(first_messages: Option<FirstMessages>, activity: Activity) -> Self {
        Self {
            first_messages,
            activity,
        }
    }
}

impl<S> Layer<S> for FirstMessageLayer {
    type Service = FirstMessage<S>;

    fn layer(&self, inner: S) -> FirstMessage<S> {
        FirstMessage {
            inner,
            layer: self.clone(),
        }
    }
}

/// Accepts WebSockets whose credential is in their first message. Passes every other request.
#[derive(Clone)]
pub(crate) struct FirstMessage<S> {
    inner: S,
    layer: FirstMessageLayer,
}

/// The answer of the inner service, or that to a handshake.
type Answer<B> = Response<Either<B, Empty<Bytes>>>;

impl<S, B> Service<Request<RequestBody>> for FirstMessage<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = EitherFuture<
        MapOk<S::Future, fn(Response<B>) -> Answer<B>>,
        Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let first_messages = self.layer.first_messages.as_ref();
        let accepted = first_messages.and_then(|first_messages| {
            let handshake = Handshake::of(first_messages.dialect, &request)?;
            Some((first_messages.clone(), handshake))
        });
        let Some((first_messages, handshake)) = accepted else {
            return EitherFuture::Left(self.inner.call(request).map_ok(own_body));
        };
        // The instance that was polled ready goes with the request.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        EitherFuture::Right(Box::pin(accept(
            inner,
            request,
            handshake,
            first_messages,
            layer,
        )))
    }
}

fn own_body<B>(response: Response<B>) -> Answer<B> {
    response.map(Either::Left)
}

/// Answers the handshake, and waits for the first message in a task. If there is no place to wait, the
/// request goes on without a credential, and is refused.
async fn accept<S, B>(
    mut inner: S,
    mut request: Request<RequestBody>,
    handshake: Handshake,
    first_messages: FirstMessages,
    layer: FirstMessageLayer,
) -> Result<Answer<B>, Infallible>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let client = request.extensions().get::<ClientAddr>();
    let waiting = first_messages
        .waiting
        .acquire(client.map(|client| client.0));
    let Ok(Some(place)) = timeout(PLACE_WITHIN, waiting).await else {
        return inner.call(request).await.map(own_body);
    };
    let response = handshake.answer().map(Either::Right);
    let hold = Hold {
        upgrade: hyper::upgrade::on(&mut request),
        connection: layer.activity.permit().clone(),
        place,
        handshake,
        stop: first_messages.stop,
    };
    first_messages.tasks.spawn(hold.run(inner, request));
    Ok(response)
}
