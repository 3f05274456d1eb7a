//! The body of an answer. When it ends, its connection is free for the next request.

use std::error::Error;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::RequestBody;
use crate::client::SendContext;
use crate::endpoint::InFlight;
use crate::http1::Http1Connection;
use crate::http2::Http2Stream;
use crate::turn::Turn;

/// The body of an answer.
pub struct AnswerBody<B: RequestBody> {
    body: Incoming,
    held: Option<Held<B>>,
    pause: Option<Pause>,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What an answer keeps in use until it ends.
struct Held<B: RequestBody> {
    in_flight: InFlight<B>,
    connection: HeldConnection<B>,
}

pub(crate) enum HeldConnection<B> {
    Http1(Http1Connection<B>, usize),
    Http2 {
        /// The stream counts until it is dropped.
        _stream: Http2Stream<B>,
    },
}

/// Why an answer ended early.
#[derive(Debug)]
pub enum AnswerError {
    /// The server broke off.
    Server(hyper::Error),
    /// The server sent nothing for so long.
    Pause(Duration),
    /// The whole request took too long.
    Late,
}

impl<B: RequestBody> AnswerBody<B> {
    pub(crate) fn new(
        body: Incoming,
        status: StatusCode,
        in_flight: InFlight<B>,
        connection: HeldConnection<B>,
        pause: Option<Duration>,
        context: &SendContext<'_, B>,
    ) -> Self {
        let mut answer = Self {
            body,
            held: Some(Held {
                in_flight,
                connection,
            }),
            pause: pause.map(|limit| Pause {
                limit,
                turn: context.turn.clone(),
                since: None,
                timer: None,
            }),
            deadline: context.deadline.map(|at| Box::pin(sleep_until(at))),
        };
        // A connection that switches protocols is the tunnel's.
        if status != StatusCode::SWITCHING_PROTOCOLS {
            answer.free_at_end();
        }
        answer
    }

    /// Takes the count of this request over, for a tunnel. The connection belongs to the tunnel, too.
    pub fn into_in_flight(mut self) -> Option<InFlight<B>> {
        Some(self.held.take()?.in_flight)
    }

    /// Frees the connection if the body has ended.
    fn free_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.free();
        }
    }

    fn free(&mut self) {
        self.pause = None;
        let Some(Held {
            in_flight,
            connection: HeldConnection::Http1(connection, worker),
        }) = self.held.take()
        else {
            return;
        };
        let endpoint = Arc::clone(in_flight.endpoint());
        drop(in_flight);
        endpoint.put_back(worker, connection);
    }
}

impl<B: RequestBody> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.deadline = None;
            this.held = None;
            return Poll::Ready(Some(Err(AnswerError::Late)));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(pause) = &mut this.pause {
                    pause.since = None;
                }
                match &frame {
                    Some(Ok(_)) => this.free_at_end(),
                    Some(Err(_)) => this.held = None,
                    None => this.free(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Server)))
            }
            Poll::Pending => {
                let over = this.pause.as_mut().and_then(|pause| pause.over(cx));
                let Some(limit) = over else {
                    return Poll::Pending;
                };
                this.pause = None;
                this.held = None;
                Poll::Ready(Some(Err(AnswerError::Pause(limit))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: RequestBody> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        // hyper's server does not read on when it has sent as much as `Content-Length` says. A
        // connection whose answer was not read to its end is closed.
        self.free_at_end();
    }
}

/// How long the server has sent nothing while it was its turn.
struct Pause {
    limit: Duration,
    turn: Turn,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    /// The limit, when it is over.
    fn over(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let (limit, now) = (self.limit, Instant::now());
        let since = *self.since.get_or_insert(now);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(now + limit)));
        // The timer runs on while parts arrive, and is set again when it has run out.
        while timer.as_mut().poll(cx).is_ready() {
            let begun = self.turn.since().map(|turn| turn.max(since));
            let over = begun.map_or(now + limit, |begun| begun + limit);
            if over <= now {
                return Some(limit);
            }
            timer.as_mut().reset(over);
        }
        None
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Pause(limit) => write!(
                f,
                "the upstream sent nothing for {} s amid its answer",
                limit.as_secs()
            ),
            Self::Late => f.write_str("the request did not end in time"),
        }
    }
}

impl Error for AnswerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Server(error) => Some(error),
            Self::Pause(_) | Self::Late => None,
        }
    }
}

impl<B: RequestBody> fmt::Debug for AnswerBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerBody")
    }
}
