//! Whether a connection serves anybody who was let in.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep};
use voxgate::DenialKind;

/// What one connection is doing. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<State>>);

struct State {
    /// Requests that are being answered. A refusal is none: whoever never reads his must not keep
    /// a connection by it.
    busy: usize,
    /// Somebody was let in here, so that what is still being sent may be theirs.
    served: bool,
    idle_since: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = State {
            busy: 0,
            served: false,
            idle_since: Instant::now(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A request has come. It is busy until the guard, or the body that takes it over, is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    /// Something of an answer was sent. An answer is handed over before its last bytes are sent;
    /// until they are, a slow reader is still being served.
    pub(super) fn progress(&self) {
        let mut state = self.state();
        if state.served {
            state.idle_since = Instant::now();
        }
    }

    /// Begins the idle time anew, and tells whether somebody was ever served.
    pub(super) fn restart(&self) -> bool {
        let mut state = self.state();
        state.idle_since = Instant::now();
        state.served
    }

    /// Resolves when nobody has been served for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let left = {
                let state = self.state();
                match state.busy {
                    0 => limit.saturating_sub(state.idle_since.elapsed()),
                    _ => limit,
                }
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is being answered.
pub(crate) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.idle_since = Instant::now();
    }
}

impl Busy {
    /// Lasts as long as the answer does, unless that is a refusal.
    pub(crate) fn last<B>(self, response: Response<B>) -> Response<BusyBody<B>> {
        let refused = response.extensions().get::<DenialKind>().is_some();
        self.0.state().served |= !refused;
        let busy = (!refused).then_some(self);
        response.map(|body| BusyBody { body, _busy: busy })
    }
}

pin_project! {
    /// A body whose connection is busy until it is dropped.
    pub(crate) struct BusyBody<B> {
        #[pin]
        body: B,
        _busy: Option<Busy>,
    }
}

impl<B: Body> Body for BusyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_is_served_keeps_a_connection() {
        let limit = Duration::from_secs(10);
        let begun = Instant::now();
        let activity = Activity::new();
        activity.idle(limit).await;
        assert_eq!(begun.elapsed(), limit);

        let served = activity.begin();
        let other = activity.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(100)).await;
            drop(served.last(Response::new(String::new())));
        });
        let begun = Instant::now();
        other.idle(limit).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(110));

        let mut refusal = Response::new(String::new());
        refusal
            .extensions_mut()
            .insert(DenialKind::MissingCredential);
        let unread = activity.begin().last(refusal);
        let begun = Instant::now();
        activity.idle(limit).await;
        assert_eq!(begun.elapsed(), limit);
        drop(unread);
    }
}
