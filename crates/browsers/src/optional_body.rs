//! A body that may be absent: that of an answer to a preflight.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer; none for the answer to a preflight.
    #[derive(Debug)]
    pub struct OptionalBody<B> {
        #[pin]
        body: Option<B>,
    }
}

impl<B> OptionalBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body: Some(body) }
    }
}

// Not derived: a body does not have to have a default.
impl<B> Default for OptionalBody<B> {
    fn default() -> Self {
        Self { body: None }
    }
}

impl<B: Body> Body for OptionalBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(none, Body::size_hint)
    }
}
