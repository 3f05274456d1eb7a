//! The response body of the layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::audit::Ended;

use super::request_guard::RequestGuard;

pin_project! {
    /// The inner service's body, or the bytes of a refusal.
    ///
    /// It counts the bytes sent. The completion record is written when it ends or is dropped.
    pub struct AuthBody<R> {
        #[pin]
        kind: BodyKind<R>,
    }
}

pin_project! {
    #[project = Projected]
    enum BodyKind<R> {
        Inner {
            #[pin]
            body: R,
            // `None` for a refusal, and when a `Tunnel` has taken the guard.
            guard: Option<RequestGuard>,
        },
        Refusal { bytes: Option<Bytes> },
    }
}

impl<R> AuthBody<R> {
    pub(super) fn refusal(bytes: Bytes) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            kind: BodyKind::Refusal { bytes },
        }
    }

    pub(super) fn inner(body: R, guard: Option<RequestGuard>) -> Self {
        Self {
            kind: BodyKind::Inner { body, guard },
        }
    }
}

/// An empty body. Layers that answer in place of the service, such as tower-http's `CorsLayer`,
/// need one.
impl<R> Default for AuthBody<R> {
    fn default() -> Self {
        Self::refusal(Bytes::new())
    }
}

impl<R> Body for AuthBody<R>
where
    R: Body,
    R::Data: From<Bytes>,
{
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        match self.project().kind.project() {
            Projected::Refusal { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Projected::Inner { mut body, guard } => {
                let polled = ready!(body.as_mut().poll_frame(cx));
                let Some(open) = guard else {
                    return Poll::Ready(polled);
                };
                match &polled {
                    Some(Ok(frame)) => {
                        open.sent(frame.data_ref().map_or(0, Buf::remaining));
                        // A server need not poll past this, so the end is noted now.
                        if body.is_end_stream() || frame.is_trailers() {
                            open.end(Ended::Ok);
                        }
                    }
                    Some(Err(_)) => {
                        open.end(Ended::UpstreamAbort);
                        *guard = None;
                    }
                    None => {
                        open.end(Ended::Ok);
                        *guard = None;
                    }
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodyKind::Refusal { bytes } => bytes.is_none(),
            BodyKind::Inner { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            BodyKind::Inner { body, .. } => body.size_hint(),
        }
    }
}

impl<R> fmt::Debug for AuthBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthBody")
    }
}
