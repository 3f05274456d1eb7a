//! A request that waits for its record.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::audit::receipt::NotRecorded;

/// One request that waits.
pub(in crate::audit) struct Waiter {
    deadline: Instant,
    state: Mutex<State>,
}

enum State {
    Waiting(Option<Waker>),
    Done(Result<(), NotRecorded>),
}

impl Waiter {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            state: Mutex::new(State::Waiting(None)),
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Settles it, unless it is settled.
    pub(super) fn settle(&self, result: Result<(), NotRecorded>) {
        let mut state = self.state();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Done(result);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(*self.state(), State::Done(_))
    }

    pub(in crate::audit) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), NotRecorded>> {
        match &mut *self.state() {
            State::Done(result) => Poll::Ready(*result),
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
