//! The response future of the layer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::audit::{Ended, NotRecorded};
use crate::rate_limit::Delay;
use crate::verify::Verify;

use super::body::AuthBody;
use super::inner_uri::InnerUri;
use super::pipeline::{Pipeline, Progress, Stage};
use super::request_guard::{RequestGuard, Tunnel};
use super::request_start::RequestStart;
use super::stages::{PendingAdmission, PendingAuthentication, Recorded, Refusal, Validated};

pin_project! {
    /// The response future of [`Auth`](super::Auth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops what the request waits for: the verifier's future, its place in the wait
    /// queue, or the inner service's future. The completion record of an accepted request then says
    /// that the caller ended it.
    pub struct AuthFuture<S, V, B>
    where
        S: Service<Request<B>>,
        V: Verify,
    {
        #[pin]
        state: AuthState<S, V, B>,
    }
}

pin_project! {
    #[project = Projected]
    enum AuthState<S, V, B>
    where
        S: Service<Request<B>>,
        V: Verify,
    {
        Delayed {
            #[pin]
            delay: Delay,
            response: Option<Response<Bytes>>,
        },
        Refused {
            response: Option<Response<Bytes>>,
        },
        Verifying {
            #[pin]
            verdict: V::Future,
            validated: Option<Validated>,
            parked: Option<Box<Parked<S, V, B>>>,
        },
        Queued {
            pending: Option<PendingAdmission>,
            parked: Option<Box<Parked<S, V, B>>>,
        },
        Recording {
            recorded: Option<Recorded>,
            parked: Option<Box<Parked<S, V, B>>>,
        },
        Serving {
            #[pin]
            response: S::Future,
            guard: Option<RequestGuard>,
            tunnel: Option<Tunnel>,
        },
    }
}

/// What a request needs to continue after a wait. Boxed, so that only requests that wait pay for it.
pub(super) struct Parked<S, V, B> {
    pub(super) pipeline: Arc<Pipeline<V>>,
    /// The instance that was polled ready.
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) start: RequestStart,
}

impl<S, V, B> AuthFuture<S, V, B>
where
    S: Service<Request<B>>,
    V: Verify,
{
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            state: AuthState::refused(refusal),
        }
    }

    pub(super) fn serving(service: &mut S, request: Request<B>, guard: RequestGuard) -> Self {
        Self {
            state: AuthState::serving(service, request, guard),
        }
    }

    pub(super) fn waiting(progress: Progress<V::Future>, parked: Parked<S, V, B>) -> Self {
        Self {
            state: AuthState::waiting(progress, Box::new(parked)),
        }
    }
}

impl<S, V, B> AuthState<S, V, B>
where
    S: Service<Request<B>>,
    V: Verify,
{
    /// The request is dropped before the delay, so that it holds no memory meanwhile.
    fn refused(refusal: Refusal) -> Self {
        let Refusal { response, delay } = refusal;
        let response = Some(response);
        match delay {
            Some(delay) => Self::Delayed { delay, response },
            None => Self::Refused { response },
        }
    }

    /// Continues a request with the stage that its wait led to.
    fn resumed(stage: impl Into<Stage>, mut parked: Box<Parked<S, V, B>>) -> Self {
        let Parked {
            pipeline, request, ..
        } = &mut *parked;
        let progress = pipeline.advance(request, stage.into());
        Self::waiting(progress, parked)
    }

    /// Waits for what the request needs next.
    fn waiting(progress: Progress<V::Future>, parked: Box<Parked<S, V, B>>) -> Self {
        let parked = Some(parked);
        match progress {
            Progress::Verifying(PendingAuthentication { verdict, request }) => Self::Verifying {
                verdict,
                validated: Some(request),
                parked,
            },
            Progress::Queued(pending) => Self::Queued {
                pending: Some(pending),
                parked,
            },
            Progress::Recorded(recorded) => Self::Recording {
                recorded: Some(recorded),
                parked,
            },
        }
    }

    /// Carries the decision out if it is recorded, and refuses the request otherwise.
    fn decided(
        receipt: Result<(), NotRecorded>,
        recorded: Recorded,
        parked: Parked<S, V, B>,
    ) -> Self {
        let Parked {
            pipeline,
            mut service,
            request,
            start,
        } = parked;
        let (decision, dialect) = recorded.into_decision();
        match (receipt, decision) {
            (Ok(()), Ok(guard)) => Self::serving(&mut service, request, guard),
            (Ok(()), Err(refusal)) => Self::refused(refusal),
            (Err(NotRecorded), decision) => {
                let response = pipeline.not_recorded(&request, start, dialect);
                if let Ok(mut guard) = decision {
                    guard.unrecorded(response.status());
                }
                let delay = None;
                Self::refused(Refusal { response, delay })
            }
        }
    }

    fn serving(service: &mut S, mut request: Request<B>, guard: RequestGuard) -> Self {
        InnerUri::restore(&mut request);
        let tunnel = request.headers().contains_key(UPGRADE).then(Tunnel::new);
        if let Some(tunnel) = &tunnel {
            request.extensions_mut().insert(tunnel.clone());
        }
        Self::Serving {
            response: service.call(request),
            guard: Some(guard),
            tunnel,
        }
    }
}

impl<S, V, B, R> Future for AuthFuture<S, V, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    V: Verify,
    R: Body,
{
    type Output = Result<Response<AuthBody<R>>, S::Error>;

    /// # Panics
    ///
    /// If it is polled again after it returned `Poll::Ready`.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Delayed { delay, response } => {
                    ready!(delay.poll(cx));
                    let response = unfinished(response.take());
                    return Poll::Ready(Ok(response.map(AuthBody::refusal)));
                }
                Projected::Refused { response } => {
                    let response = unfinished(response.take());
                    return Poll::Ready(Ok(response.map(AuthBody::refusal)));
                }
                Projected::Verifying {
                    verdict,
                    validated,
                    parked,
                } => {
                    let verdict = ready!(verdict.poll(cx));
                    let authenticated = unfinished(validated.take()).verified(verdict);
                    AuthState::resumed(authenticated, unfinished(parked.take()))
                }
                Projected::Queued { pending, parked } => {
                    let permit = &mut unfinished(pending.as_mut()).permit;
                    let admitted = ready!(permit.as_mut().poll(cx));
                    let authorized = unfinished(pending.take()).request;
                    let parked = unfinished(parked.take());
                    let stage = authorized.admitted(&parked.pipeline.policy, admitted);
                    AuthState::resumed(stage, parked)
                }
                Projected::Recording { recorded, parked } => {
                    let receipt = unfinished(recorded.as_mut()).receipt();
                    let receipt = ready!(Pin::new(receipt).poll(cx));
                    let parked = unfinished(parked.take());
                    AuthState::decided(receipt, unfinished(recorded.take()), *parked)
                }
                Projected::Serving {
                    response,
                    guard,
                    tunnel,
                } => {
                    let response = ready!(response.poll(cx));
                    let guard = unfinished(guard.take());
                    return Poll::Ready(respond(response, guard, tunnel.take()));
                }
            };
            state.set(next);
        }
    }
}

/// Attaches the guard to the response body, or to the tunnel of an upgraded connection.
fn respond<R: Body, E>(
    response: Result<Response<R>, E>,
    mut guard: RequestGuard,
    tunnel: Option<Tunnel>,
) -> Result<Response<AuthBody<R>>, E> {
    let mut response = match response {
        Ok(response) => response,
        Err(error) => {
            guard.end(Ended::UpstreamAbort);
            return Err(error);
        }
    };
    guard.answered(&mut response);
    let of_body = match tunnel {
        Some(tunnel) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            tunnel.take_over(guard);
            None
        }
        _ => Some(guard),
    };
    Ok(response.map(|body| AuthBody::inner(body, of_body)))
}

/// What a state holds until the future is ready.
fn unfinished<T>(part: Option<T>) -> T {
    part.unwrap_or_else(|| panic!("AuthFuture polled after it was ready"))
}

impl<S, V, B> fmt::Debug for AuthFuture<S, V, B>
where
    S: Service<Request<B>>,
    V: Verify,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthFuture")
    }
}
