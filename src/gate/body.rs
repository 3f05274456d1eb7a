//! The body of an answer that passed the gate.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::audit::Ended;

use super::exchange::Exchange;

pin_project! {
    /// The inner service's body, or the few bytes of a refusal.
    ///
    /// It counts what is sent, and the end record is written when it ends or is dropped.
    pub struct GateBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = Projected]
    enum Kind<R> {
        Inner {
            #[pin]
            body: R,
            // `None` when a tunnel has taken it over.
            exchange: Option<Exchange>,
        },
        Refusal { bytes: Option<Bytes> },
    }
}

impl<R> GateBody<R> {
    pub(super) fn refusal(bytes: Bytes) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            kind: Kind::Refusal { bytes },
        }
    }

    pub(super) fn inner(body: R, exchange: Option<Exchange>) -> Self {
        Self {
            kind: Kind::Inner { body, exchange },
        }
    }
}

impl<R> Body for GateBody<R>
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
            Projected::Inner { mut body, exchange } => {
                let polled = ready!(body.as_mut().poll_frame(cx));
                let Some(open) = exchange else {
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
                        *exchange = None;
                    }
                    None => {
                        open.end(Ended::Ok);
                        *exchange = None;
                    }
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Refusal { bytes } => bytes.is_none(),
            Kind::Inner { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Inner { body, .. } => body.size_hint(),
        }
    }
}

impl<R> fmt::Debug for GateBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateBody")
    }
}
