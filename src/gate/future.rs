//! The future of a request's answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::admit::Admitted;
use crate::audit::{Ended, NotRecorded};
use crate::verify::{Verdict, Verify};

use super::arrival::Arrival;
use super::body::GateBody;
use super::exchange::{Exchange, Tunnel};
use super::pipeline::{Decided, Gate, Step, Told};

pin_project! {
    /// The future that [`Auth`](super::Auth) answers with.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops what it waits for: the verifier's future, its place in the waiting room, or the
    /// inner service's future. An
    /// accepted request is then on record as ended by the caller.
    pub struct AuthFuture<S, V, B>
    where
        S: Service<Request<B>>,
        V: Verify,
    {
        #[pin]
        state: State<S, V, B>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, V, B>
    where
        S: Service<Request<B>>,
        V: Verify,
    {
        Refused {
            response: Option<Response<Bytes>>,
        },
        Verifying {
            #[pin]
            verdict: V::Future,
            waiting: Option<Box<Waiting<S, V, B>>>,
        },
        Admitting {
            admitted: Pin<Box<dyn Future<Output = Admitted> + Send>>,
            verdict: Option<Verdict>,
            waiting: Option<Box<Waiting<S, V, B>>>,
        },
        Recording {
            decided: Option<Decided>,
            waiting: Option<Box<Waiting<S, V, B>>>,
        },
        Serving {
            #[pin]
            answer: S::Future,
            exchange: Option<Exchange>,
            tunnel: Option<Tunnel>,
        },
    }
}

/// What a request needs when it goes on. Boxed: only those who wait pay for it.
pub(super) struct Waiting<S, V, B> {
    pub(super) gate: Arc<Gate<V>>,
    /// The instance that was polled ready.
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) arrival: Arrival,
}

impl<S, V, B> AuthFuture<S, V, B>
where
    S: Service<Request<B>>,
    V: Verify,
{
    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self {
            state: State::refused(response),
        }
    }

    pub(super) fn serving(service: &mut S, request: Request<B>, exchange: Exchange) -> Self {
        Self {
            state: State::serving(service, request, exchange),
        }
    }

    pub(super) fn waiting(step: Step<V::Future>, waiting: Waiting<S, V, B>) -> Self {
        Self {
            state: State::waiting(step, Box::new(waiting)),
        }
    }
}

impl<S, V, B> State<S, V, B>
where
    S: Service<Request<B>>,
    V: Verify,
{
    fn refused(response: Response<Bytes>) -> Self {
        Self::Refused {
            response: Some(response),
        }
    }

    /// Goes on where the request had to wait, with what it was told.
    fn told(told: Told, mut waiting: Box<Waiting<S, V, B>>) -> Self {
        let Waiting {
            gate,
            request,
            arrival,
            ..
        } = &mut *waiting;
        let step = gate.pass(request, *arrival, told);
        Self::waiting(step, waiting)
    }

    /// Waits for what the next step depends on.
    fn waiting(step: Step<V::Future>, waiting: Box<Waiting<S, V, B>>) -> Self {
        let waiting = Some(waiting);
        match step {
            Step::Verifying(verdict) => Self::Verifying { verdict, waiting },
            Step::Admitting(admitted, verdict) => Self::Admitting {
                admitted,
                verdict,
                waiting,
            },
            Step::Decided(decided) => Self::Recording {
                decided: Some(decided),
                waiting,
            },
        }
    }

    /// Goes on with what was decided if that is on record, and refuses otherwise.
    fn recorded(
        recorded: Result<(), NotRecorded>,
        decided: Decided,
        waiting: Waiting<S, V, B>,
    ) -> Self {
        let Waiting {
            gate,
            mut service,
            request,
            arrival,
        } = waiting;
        match (recorded, decided.outcome) {
            (Ok(()), Ok(exchange)) => Self::serving(&mut service, request, exchange),
            (Ok(()), Err(response)) => Self::refused(response),
            (Err(NotRecorded), outcome) => {
                let response = gate.unrecorded(&request, arrival, decided.dialect);
                if let Ok(mut exchange) = outcome {
                    exchange.unrecorded(response.status());
                }
                Self::refused(response)
            }
        }
    }

    fn serving(service: &mut S, mut request: Request<B>, exchange: Exchange) -> Self {
        let tunnel = request.headers().contains_key(UPGRADE).then(Tunnel::new);
        if let Some(tunnel) = &tunnel {
            request.extensions_mut().insert(tunnel.clone());
        }
        Self::Serving {
            answer: service.call(request),
            exchange: Some(exchange),
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
    type Output = Result<Response<GateBody<R>>, S::Error>;

    /// # Panics
    ///
    /// When polled after it was ready, as futures may.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Refused { response } => {
                    let response = response.take().unwrap_or_else(|| polled_after_ready());
                    return Poll::Ready(Ok(response.map(GateBody::refusal)));
                }
                Projected::Verifying { verdict, waiting } => {
                    let verdict = ready!(verdict.poll(cx));
                    let waiting = waiting.take().unwrap_or_else(|| polled_after_ready());
                    let told = Told {
                        verdict: Some(verdict),
                        admitted: None,
                    };
                    State::told(told, waiting)
                }
                Projected::Admitting {
                    admitted,
                    verdict,
                    waiting,
                } => {
                    let told = Told {
                        admitted: Some(ready!(admitted.as_mut().poll(cx))),
                        verdict: verdict.take(),
                    };
                    let waiting = waiting.take().unwrap_or_else(|| polled_after_ready());
                    State::told(told, waiting)
                }
                Projected::Recording { decided, waiting } => {
                    let Some(Decided { receipt, .. }) = decided else {
                        polled_after_ready()
                    };
                    let recorded = ready!(Pin::new(receipt).poll(cx));
                    let decided = decided.take().unwrap_or_else(|| polled_after_ready());
                    let waiting = waiting.take().unwrap_or_else(|| polled_after_ready());
                    State::recorded(recorded, decided, *waiting)
                }
                Projected::Serving {
                    answer,
                    exchange,
                    tunnel,
                } => {
                    let answer = ready!(answer.poll(cx));
                    let exchange = exchange.take().unwrap_or_else(|| polled_after_ready());
                    return Poll::Ready(conclude(answer, exchange, tunnel.take()));
                }
            };
            state.set(next);
        }
    }
}

fn conclude<R: Body, E>(
    answer: Result<Response<R>, E>,
    mut exchange: Exchange,
    tunnel: Option<Tunnel>,
) -> Result<Response<GateBody<R>>, E> {
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => {
            exchange.end(Ended::UpstreamAbort);
            return Err(error);
        }
    };
    exchange.answered(&mut response);
    let body_ends_it = match tunnel {
        Some(tunnel) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            tunnel.take_over(exchange);
            None
        }
        _ => Some(exchange),
    };
    Ok(response.map(|body| GateBody::inner(body, body_ends_it)))
}

#[cold]
fn polled_after_ready() -> ! {
    panic!("AuthFuture polled after it was ready")
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
