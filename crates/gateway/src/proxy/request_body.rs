//! The client's body on its way to the upstream.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;
use voxgate::SpeechBody;
use voxgate_upstream::Turn;

use super::revocation::Revoked;
use crate::connection::ClientEnd;

/// How much of an unread body is drained, so that the client can read its answer: a connection that
/// is closed while data arrives is reset, and the answer is lost with it (RFC 9112 §9.6). Many clients
/// read only when they have sent everything.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// A request's body. It measures whether the client or the upstream is slow, and drains what the
/// upstream did not read. The default is an empty body.
#[derive(Default)]
pub(crate) struct RequestBody {
    /// `None` after the body was broken off or drained.
    inner: Option<Incoming>,
    drain: bool,
    turn: Turn,
    /// Of the last request on an HTTP/1.1 connection.
    end: Option<ClientEnd>,
    /// Resolves when the caller's key is no longer valid.
    revoked: Option<Revoked>,
}

/// The client's body, as the layer that reads bodies passes it on.
pub(crate) type ForwardedBody = SpeechBody<RequestBody>;

/// Why a body ended early.
#[derive(Debug)]
pub(crate) enum BodyError {
    Client(hyper::Error),
    /// The client closed its side of the connection.
    Incomplete,
    Revoked,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Incomplete => f.write_str("the client closed the connection amid its request"),
            Self::Revoked => f.write_str("the caller's key is no longer valid"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Incomplete | Self::Revoked => None,
        }
    }
}

impl RequestBody {
    /// Wraps the body of a request. `end` tells of the client of the last request on a connection.
    pub(crate) fn wrap(request: Request<Incoming>, end: Option<ClientEnd>) -> Request<Self> {
        // A client that waits for `100 Continue` has sent nothing, and reading would send that answer.
        // HTTP/2 has streams of its own and needs none of this.
        let drain =
            request.version() < http::Version::HTTP_2 && !request.headers().contains_key(EXPECT);
        request.map(|inner| Self {
            inner: Some(inner),
            drain,
            turn: Turn::default(),
            end,
            revoked: None,
        })
    }

    /// Whether the length is unknown, as in a stream that can go on for hours.
    pub(super) fn is_open_ended(&self) -> bool {
        !self.is_end_stream() && self.size_hint().exact().is_none()
    }

    /// Breaks it off when `revoked` resolves.
    pub(super) fn break_off_when(&mut self, revoked: Revoked) {
        self.revoked = Some(revoked);
    }

    /// A handle that measures how long the upstream has kept the request waiting.
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(revoked) = &mut this.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            this.revoked = None;
            this.inner = None;
            this.turn.break_off();
            return Poll::Ready(Some(Err(BodyError::Revoked)));
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let mut polled = Pin::new(&mut *inner).poll_frame(cx);
        let end = this.end.as_ref().filter(|_| polled.is_pending());
        if end.is_some_and(|end| end.has_ended(cx.waker())) {
            // The last bytes can have arrived since.
            polled = Pin::new(inner).poll_frame(cx);
            if polled.is_pending() {
                this.inner = None;
                this.turn.break_off();
                return Poll::Ready(Some(Err(BodyError::Incomplete)));
            }
        }
        match polled {
            Poll::Pending => this.turn.is_the_clients(),
            Poll::Ready(_) => this.turn.is_the_servers(),
        }
        match ready!(polled) {
            // A server can merge trailers into the headers (RFC 9110 §6.5.1), which were checked
            // without them.
            Some(Ok(frame)) if frame.is_trailers() => Poll::Ready(None),
            Some(Err(error)) => {
                this.turn.break_off();
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            other => Poll::Ready(other.map(|frame| frame.map_err(BodyError::Client))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // The upstream does not wait for more.
        self.turn.is_the_servers();
        let wanted = self.drain && !self.is_end_stream();
        let Some(inner) = self.inner.take().filter(|_| wanted) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(DRAIN_TIME, drain(inner)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            break;
        }
    }
}
