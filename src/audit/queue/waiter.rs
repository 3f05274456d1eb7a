//! A request that waits for its record.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::audit::receipt::NotRecorded;

/// A request that waits for the writer thread.
pub(in crate::audit) struct Waiter {
    deadline: Instant,
    state: Mutex<WaiterState>,
}

enum WaiterState {
    Waiting(Option<Waker>),
    Done(Result<(), NotRecorded>),
}

impl Waiter {
    pub(super) fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            state: Mutex::new(WaiterState::Waiting(None)),
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Sets the result and wakes the request. Does nothing if a result is already set.
    pub(super) fn settle(&self, result: Result<(), NotRecorded>) {
        let mut state = self.state();
        if let WaiterState::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = WaiterState::Done(result);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(*self.state(), WaiterState::Done(_))
    }

    pub(in crate::audit) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), NotRecorded>> {
        match &mut *self.state() {
            WaiterState::Done(result) => Poll::Ready(*result),
            WaiterState::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, WaiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
