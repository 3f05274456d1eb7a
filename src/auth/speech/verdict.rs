//! Tells the response future that the body of its request is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use voxgate_core::denial::Denial;

/// The refusal of a request whose body is read while it is forwarded.
#[derive(Clone, Default)]
pub(super) struct Verdict(Arc<Mutex<VerdictState>>);

#[derive(Default)]
struct VerdictState {
    denial: Option<Denial>,
    waker: Option<Waker>,
}

impl Verdict {
    /// Refuses the request.
    pub(super) fn deny(&self, denial: Denial) {
        let mut state = self.state();
        state.denial.get_or_insert(denial);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The refusal, or `None` until there is one.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Option<Denial> {
        let mut state = self.state();
        if state.denial.is_none() {
            state.waker = Some(cx.waker().clone());
        }
        state.denial.take()
    }

    fn state(&self) -> MutexGuard<'_, VerdictState> {
        // A panic leaves no half-changed state behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
