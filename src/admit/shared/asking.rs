//! A question under way.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Unavailable;
use super::question::Answer;

/// The answer to come. It needs no runtime, and may be dropped at any time.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Asking(State);

#[derive(Debug)]
enum State {
    Ready(Ready<Answer>),
    Told(oneshot::Receiver<Answer>),
}

impl Asking {
    pub(super) fn ready(answer: Answer) -> Self {
        Self(State::Ready(ready(answer)))
    }

    pub(super) fn told(answer: oneshot::Receiver<Answer>) -> Self {
        Self(State::Told(answer))
    }
}

impl Future for Asking {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.0 {
            State::Ready(ready) => Pin::new(ready).poll(context),
            State::Told(told) => {
                let told = Pin::new(told).poll(context);
                told.map(|answer| answer.unwrap_or(Err(Unavailable)))
            }
        }
    }
}
