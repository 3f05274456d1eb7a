//! Tracks whether a connection has accepted requests in progress.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use voxgate::DenialKind;
use voxgate::gateway::CloseConnection;

use super::limiter::ConnectionPermit;
use super::streams::Parts;

/// The requests in progress on one connection. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Activity {
    state: Arc<Mutex<ActivityState>>,
    /// Told when the connection is in use, so that it is not closed for another one.
    permit: ConnectionPermit,
    /// Notified when a refusal asks for the connection to be closed.
    close: Arc<Notify>,
}

struct ActivityState {
    /// Requests that are being answered. Refusals do not count, so that a client cannot keep a
    /// connection open with refusals that it does not read.
    busy: usize,
    /// The requests on this connection so far.
    requests: u64,
    /// A request was accepted on this connection, so data in flight may be part of its answer.
    served: bool,
    /// The connection speaks HTTP no longer.
    upgraded: bool,
    idle_since: Instant,
}

impl Activity {
    pub(crate) fn new(permit: ConnectionPermit) -> Self {
        let state = ActivityState {
            busy: 0,
            requests: 0,
            served: false,
            upgraded: false,
            idle_since: Instant::now(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            permit,
            close: Arc::default(),
        }
    }

    /// Notes a new request. It is in progress until the guard, or the body that takes it over, is
    /// dropped.
    pub(crate) fn begin(&self) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        state.requests += 1;
        if state.busy == 1 && !state.served {
            self.permit.keep();
        }
        drop(state);
        Busy(self.clone())
    }

    /// The permit of this connection.
    pub(crate) fn permit(&self) -> &ConnectionPermit {
        &self.permit
    }

    /// Whether there ever was a request on this connection.
    pub(super) fn has_begun(&self) -> bool {
        self.state().requests > 0
    }

    /// How many requests there were so far, and whether one is being answered.
    pub(super) fn requests(&self) -> (u64, bool) {
        let state = self.state();
        (state.requests, state.busy > 0)
    }

    /// Whether the connection has become a tunnel, so that what it carries is no request.
    pub(super) fn has_upgraded(&self) -> bool {
        self.state().upgraded
    }

    /// Notes that a part of an answer was sent. hyper drops a body before its last bytes are sent, so
    /// a slow reader counts as served for as long as bytes go out.
    pub(super) fn progress(&self) {
        let mut state = self.state();
        if state.served {
            state.idle_since = Instant::now();
        }
    }

    /// Restarts the idle time. Returns whether a request was ever accepted.
    pub(super) fn restart(&self) -> bool {
        let mut state = self.state();
        state.idle_since = Instant::now();
        state.served
    }

    /// Resolves when there was no first request within `first`, or when no request has been in progress
    /// for `idle` after it.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        loop {
            let left = {
                let state = self.state();
                let limit = if state.requests == 0 { first } else { idle };
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

    /// Resolves when a refusal asks for the connection to be closed.
    pub(super) async fn closing(&self) {
        self.close.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, ActivityState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is being answered.
pub(crate) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.idle_since = Instant::now();
        if state.busy == 0 && !state.served {
            self.0.permit.offer();
        }
    }
}

impl Busy {
    /// Keeps the guard until the answer's body is dropped, unless the answer is a refusal.
    pub(crate) fn last<B>(self, response: Response<B>) -> Response<BusyBody<B>> {
        let refused = response.extensions().get::<DenialKind>().is_some();
        let mut state = self.0.state();
        state.served |= !refused;
        state.upgraded |= response.status() == StatusCode::SWITCHING_PROTOCOLS;
        drop(state);
        if response.extensions().get::<CloseConnection>().is_some() {
            self.0.close.notify_one();
        }
        let busy = (!refused).then_some(self);
        response.map(|body| BusyBody {
            body,
            parts: Parts::default(),
            _busy: busy,
        })
    }
}

pin_project! {
    /// A body that keeps the guard of its request.
    pub(crate) struct BusyBody<B> {
        #[pin]
        body: B,
        parts: Parts,
        _busy: Option<Busy>,
    }
}

impl<B: Body<Data = Bytes>> Body for BusyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let body = this.body;
        this.parts.poll(|| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.rest() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.parts.rest() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole.set_lower(hint.lower().saturating_add(rest));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::connection::ConnectionLimiter;

    #[tokio::test(start_paused = true)]
    async fn only_accepted_requests_keep_a_connection() {
        let limit = Duration::from_secs(10);
        let begun = Instant::now();
        let limiter = ConnectionLimiter::new(1, 1);
        let permit = limiter
            .try_acquire(Some([127, 0, 0, 1].into()))
            .expect("room");
        let activity = Activity::new(permit);
        activity.idle(limit, limit).await;
        assert_eq!(begun.elapsed(), limit);

        let served = activity.begin();
        let other = activity.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(100)).await;
            drop(served.last(Response::new(String::new())));
        });
        let begun = Instant::now();
        other.idle(limit, limit).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(110));

        let mut refusal = Response::new(String::new());
        refusal
            .extensions_mut()
            .insert(DenialKind::MissingCredential);
        let unread = activity.begin().last(refusal);
        let begun = Instant::now();
        activity.idle(limit, limit).await;
        assert_eq!(begun.elapsed(), limit);
        drop(unread);
    }
}
