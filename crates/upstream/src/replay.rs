//! A request's body that can be sent a second time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// How much of a body is kept until the answer begins. A request with more is not sent again.
const KEPT: usize = 64 * 1024;

/// A body whose beginning is kept, so that it can be sent again. One handle at a time reads it: a new
/// one ends those before it.
pub(crate) struct Replay<B> {
    state: Arc<Mutex<ReplayState<B>>>,
    /// This handle's number, counted from 0.
    handle: usize,
    /// The next kept part to read.
    next: usize,
}

struct ReplayState<B> {
    rest: B,
    kept: Vec<Bytes>,
    size: usize,
    keeps: bool,
    /// The handle that may read.
    reader: usize,
}

impl<B> Replay<B> {
    pub(crate) fn new(body: B) -> Self {
        let state = ReplayState {
            rest: body,
            kept: Vec::new(),
            size: 0,
            keeps: true,
            reader: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            handle: 0,
            next: 0,
        }
    }

    /// What is needed to send the body again.
    pub(crate) fn source(&self) -> ReplaySource<B> {
        ReplaySource(Arc::clone(&self.state))
    }

    fn state(&self) -> MutexGuard<'_, ReplayState<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a second handle of a body.
pub(crate) struct ReplaySource<B>(Arc<Mutex<ReplayState<B>>>);

impl<B> ReplaySource<B> {
    /// The body from its beginning; `None` when too much of it was sent.
    pub(crate) fn again(&self) -> Option<Replay<B>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.keeps.then(|| {
            state.reader += 1;
            Replay {
                state: Arc::clone(&self.0),
                handle: state.reader,
                next: 0,
            }
        })
    }

    /// The body is not sent again.
    pub(crate) fn release(self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.keeps = false;
        // A second handle may still have to read them.
        if state.reader == 0 {
            state.kept = Vec::new();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reader != this.handle {
            return Poll::Ready(None);
        }
        if let Some(part) = state.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        let frame = ready!(Pin::new(&mut state.rest).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && state.keeps
        {
            state.size += data.len();
            if state.size <= KEPT {
                state.kept.push(data.clone());
                this.next += 1;
            } else {
                state.keeps = false;
                state.kept = Vec::new();
                this.next = 0;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.reader != self.handle || (self.next >= state.kept.len() && state.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.state();
        let unread = state.kept.get(self.next..).unwrap_or_default();
        let unread: u64 = unread.iter().map(|part| part.len() as u64).sum();
        let rest = state.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unread));
        }
        hint.set_lower(rest.lower().saturating_add(unread));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    fn body(parts: &[usize]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let parts: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(index, length)| {
                let part = vec![u8::try_from(index).unwrap(); *length];
                Ok(Frame::data(Bytes::from(part)))
            })
            .collect();
        StreamBody::new(stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_sent_again_from_its_beginning() {
        for read_before in 0..3 {
            let mut first = Replay::new(body(&[3, 4, 5]));
            let source = first.source();
            for _ in 0..read_before {
                assert!(first.frame().await.unwrap().is_ok());
            }
            let again = source.again().unwrap();
            // The first handle reads no more, so that nothing is missing in the second.
            assert!(first.frame().await.is_none());
            source.release();
            let all = again.collect().await.unwrap().to_bytes();
            assert_eq!(
                all,
                Bytes::from_static(b"\0\0\0\x01\x01\x01\x01\x02\x02\x02\x02\x02")
            );
        }
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once() {
        let mut first = Replay::new(body(&[KEPT, 1, 7]));
        let source = first.source();
        assert_eq!(
            first
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .len(),
            KEPT
        );
        assert!(source.again().is_some());
        let mut first = Replay::new(body(&[KEPT, 1, 7]));
        let source = first.source();
        for _ in 0..2 {
            assert!(first.frame().await.unwrap().is_ok());
        }
        assert!(source.again().is_none());
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), 7);
    }
}
