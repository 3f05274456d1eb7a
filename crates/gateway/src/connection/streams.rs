//! Ends HTTP/2 streams whose client takes nothing.
//!
//! In HTTP/2 the client opens a window for each stream. While it is closed, the HTTP implementation
//! keeps a part of the answer and does not ask the body for more, however long that takes. The body
//! therefore notes when it was last asked, and the task of the stream ends when that was too long ago:
//! the stream is reset, and the request ends as if its client had gone.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    /// The stream whose task runs. HTTP/1.1 has none.
    static STREAM: Stream;
}

/// The longest part of an answer that is given to a stream. What is kept for a stream that is stuck
/// is at most one part, beside what the HTTP implementation buffers.
const LONGEST_PART: usize = 16 * 1024;

/// One stream. Cloning shares it.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Option<Instant>>>);

impl Stream {
    /// When a part of the answer was given that the client has not taken yet.
    fn given(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the tasks of streams.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// How long a client may take nothing.
    pub(super) limit: Duration,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(StreamTask {
            future,
            stream: Stream::default(),
            limit: self.limit,
            timer: None,
        });
    }
}

pin_project! {
    /// The task of one stream.
    struct StreamTask<F> {
        #[pin]
        future: F,
        stream: Stream,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let future = this.future;
        let polled = STREAM.sync_scope(this.stream.clone(), || future.poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        let Some(given) = *this.stream.given() else {
            *this.timer = None;
            return Poll::Pending;
        };
        let deadline = given + *this.limit;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        let ended = timer.as_mut().poll(cx);
        ended.map(|()| tracing::debug!("ended a stream whose client takes nothing"))
    }
}

/// The parts of an answer, cut for a stream.
#[derive(Default)]
pub(super) struct Parts {
    rest: Bytes,
}

impl Parts {
    /// What is left of the last part of the body.
    pub(super) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Passes a frame on: what is left of the last one, or what `poll` returns. In HTTP/2 it is cut, and
    /// the stream notes that it was given.
    pub(super) fn poll<E>(
        &mut self,
        poll: impl FnOnce() -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let in_stream = STREAM.try_with(|stream| *stream.given() = None).is_ok();
        if !in_stream {
            return poll();
        }
        let polled = match self.rest.is_empty() {
            true => poll().map_ok(|frame| self.cut(frame)),
            false => {
                let rest = std::mem::take(&mut self.rest);
                Poll::Ready(Some(Ok(self.cut(Frame::data(rest)))))
            }
        };
        if let Poll::Ready(Some(Ok(_))) = polled {
            let _ = STREAM.try_with(|stream| *stream.given() = Some(Instant::now()));
        }
        polled
    }

    fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        frame.map_data(|mut data| {
            self.rest = data.split_off(data.len().min(LONGEST_PART));
            data
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::{sleep, timeout};

    const LIMIT: Duration = Duration::from_secs(60);

    /// Takes one part of a body that always has more.
    fn take(parts: &mut Parts) -> usize {
        let more = || {
            Poll::Ready(Some(Ok::<_, ()>(Frame::data(Bytes::from_static(
                &[7; 40_000],
            )))))
        };
        match parts.poll(more) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().map_or(0, |data| data.len()),
            _ => 0,
        }
    }

    /// Runs a future as the task of a stream. The receiver fails when the task ended it.
    fn run(future: impl Future<Output = ()> + Send + 'static) -> (oneshot::Receiver<()>, Instant) {
        let (done, ended) = oneshot::channel();
        let executor = StreamExecutor { limit: LIMIT };
        executor.execute(async move {
            future.await;
            let _ = done.send(());
        });
        (ended, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_nothing_is_taken_for_too_long() {
        let (ended, begun) = run(async {
            let mut parts = Parts::default();
            for _ in 0..3 {
                sleep(LIMIT / 2).await;
                take(&mut parts);
            }
            std::future::pending().await
        });
        assert!(ended.await.is_err(), "it was ended");
        assert_eq!(begun.elapsed(), 3 * (LIMIT / 2) + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_and_a_slow_server_are_waited_for() {
        let (reader, _) = run(async {
            let mut parts = Parts::default();
            for _ in 0..20 {
                take(&mut parts);
                sleep(LIMIT - Duration::from_secs(1)).await;
            }
        });
        assert!(reader.await.is_ok(), "it came to its own end");
        let (server, _) = run(async {
            let mut parts = Parts::default();
            take(&mut parts);
            yield_now().await;
            // Everything is taken, and the server has no more for now.
            while parts.rest() > 0 {
                take(&mut parts);
            }
            let none = parts.poll(|| Poll::<Option<Result<_, ()>>>::Pending);
            assert!(none.is_pending());
            std::future::pending().await
        });
        assert!(timeout(100 * LIMIT, server).await.is_err(), "it goes on");
    }

    #[tokio::test]
    async fn parts_are_short_in_http2_only() {
        let (ended, _) = run(async {
            let mut parts = Parts::default();
            let sizes = [(); 4].map(|()| take(&mut parts));
            assert_eq!(
                sizes,
                [
                    LONGEST_PART,
                    LONGEST_PART,
                    40_000 - 2 * LONGEST_PART,
                    LONGEST_PART
                ]
            );
            assert_eq!(parts.rest(), 40_000 - LONGEST_PART);
        });
        ended.await.expect("no panic");
        let mut parts = Parts::default();
        assert_eq!((take(&mut parts), parts.rest()), (40_000, 0));
    }
}
