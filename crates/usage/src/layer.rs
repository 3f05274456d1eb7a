//! The layer that counts requests and the audio of their answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use voxgate::dialect::RefusalContext;
use voxgate::speech::SpeechMeter;
use voxgate::{Caller, Denial, DenialKind, Dialect, Principal, Tunnel};

use crate::answers;
use crate::body::{AudioTail, UsageBody};
use crate::book::{PendingTake, Taken, UsageBook};
use crate::spoken::{TunnelUsage, note_charges};

/// Counts requests and the audio of their answers, checks the quotas of requests and audio, gives
/// back what was taken for a request that failed, and answers questions about usage.
///
/// It belongs inside the authentication layer, which takes characters from the same [`UsageBook`]
/// (`AuthLayer::with_speech`) before it asks this layer. A request that did not pass the authentication layer is
/// passed on.
///
/// A request is refused in the words of its dialect: `quota_exhausted`, with the header fields of
/// draft-ietf-httpapi-ratelimit-headers-10. A refused request takes nothing. A request whose answer
/// is an error takes nothing either.
///
/// # Cancel safety
///
/// A request that is dropped before its answer stays counted, because its text was sent.
#[derive(Clone, Debug)]
pub struct UsageLayer {
    book: UsageBook,
    answers: bool,
}

impl UsageLayer {
    /// A layer that counts in this book.
    #[must_use]
    pub fn new(book: UsageBook) -> Self {
        Self {
            book,
            answers: false,
        }
    }

    /// Answers `GET /voxgate/v1/usage`, and the usage requests of vendors' clients, instead of the
    /// inner service. A key sees its own use and that of its account.
    #[must_use]
    pub fn with_answers(mut self) -> Self {
        self.answers = true;
        self
    }
}

impl<S> Layer<S> for UsageLayer {
    type Service = Usage<S>;

    fn layer(&self, inner: S) -> Usage<S> {
        Usage {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`UsageLayer`].
#[derive(Clone, Debug)]
pub struct Usage<S> {
    inner: S,
    layer: UsageLayer,
}

impl<S, B, R> Service<Request<B>> for Usage<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body,
{
    type Response = Response<UsageBody<R>>;
    type Error = S::Error;
    type Future = UsageFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let UsageLayer { book, answers } = &self.layer;
        let extensions = request.extensions();
        let Some(caller) = extensions.get::<Caller>() else {
            return UsageFuture::serving(self.inner.call(request), None);
        };
        let dialect = extensions.get::<Dialect>().copied().unwrap_or_default();
        let principal = caller.principal();
        if *answers && let Some(answer) = answers::answer(book, dialect, principal, &request) {
            if let Some(meter) = extensions.get::<SpeechMeter>() {
                meter.mark_uncounted();
            }
            return UsageFuture::answered(answer);
        }
        let meter = extensions.get::<SpeechMeter>().cloned();
        if !book.counts(principal) && meter.is_none() {
            return UsageFuture::serving(self.inner.call(request), None);
        }
        let tail = Tail {
            book: book.clone(),
            principal: principal.clone(),
            meter,
            taken_at: book.now(),
        };
        if let Some(meter) = &tail.meter
            && request.extensions().get::<Tunnel>().is_some()
        {
            let usage = TunnelUsage::new(meter.clone(), book.clone(), tail.principal.clone());
            request.extensions_mut().insert(usage);
        }
        let taken = book.take(&tail.principal, [0, 1, 0]);
        match taken {
            Taken::Now(Ok(())) => UsageFuture::serving(self.inner.call(request), Some(tail)),
            Taken::Now(Err(denial)) => {
                UsageFuture::answered(tail.refuse(&request, dialect, &denial))
            }
            Taken::Later(taken) => {
                // The instance that was polled ready serves the request.
                let next = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, next);
                UsageFuture {
                    state: State::Taking {
                        taken,
                        parked: Some(Box::new(Parked {
                            service,
                            request,
                            dialect,
                            tail,
                        })),
                    },
                }
            }
        }
    }
}

/// What is done with the answer of a request that was counted.
struct Tail {
    book: UsageBook,
    principal: Principal,
    meter: Option<SpeechMeter>,
    taken_at: SystemTime,
}

impl Tail {
    fn refuse<B>(
        &self,
        request: &Request<B>,
        dialect: Dialect,
        denial: &Denial,
    ) -> Response<Bytes> {
        // The text was taken before this layer was asked.
        let characters = self.meter.as_ref().map_or(0, SpeechMeter::characters);
        self.book
            .give_back(&self.principal, [characters, 0, 0], self.taken_at);
        let caller = request.extensions().get::<Caller>();
        let id = caller.map(Caller::request_id);
        let mut response = match id {
            Some(id) => dialect.refuse(denial, RefusalContext::of(request, id)),
            // Only callers are counted.
            None => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        };
        self.write_fields(&mut response);
        response
    }

    fn finish<R>(self, mut response: Response<R>) -> Response<UsageBody<R>> {
        let is_refused = response.extensions().get::<DenialKind>().is_some();
        let is_failed = is_refused || response.status().as_u16() >= 400;
        if is_failed {
            let characters = self.meter.as_ref().map_or(0, SpeechMeter::characters);
            self.book
                .give_back(&self.principal, [characters, 1, 0], self.taken_at);
        }
        self.write_fields(&mut response);
        let has_body = !is_failed && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if let Some(meter) = self.meter.as_ref().filter(|_| !is_failed) {
            note_charges(meter, response.headers());
        }
        let audio = has_body
            .then(|| AudioTail::new(response.headers(), self.meter, self.book, self.principal))
            .flatten();
        response.map(|body| UsageBody::inner(body, audio))
    }

    /// Reports the quotas in `RateLimit-Policy` and `RateLimit`.
    fn write_fields<R>(&self, response: &mut Response<R>) {
        if let Some(fields) = self.book.quota_fields(&self.principal) {
            response.extensions_mut().insert(fields);
        }
    }
}

pin_project! {
    /// The response future of [`Usage`].
    pub struct UsageFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S: Service<Request<B>>, B> {
        Answered { response: Option<Response<Bytes>> },
        Taking { taken: PendingTake, parked: Option<Box<Parked<S, B>>> },
        Serving { #[pin] response: S::Future, tail: Option<Tail> },
    }
}

struct Parked<S, B> {
    service: S,
    request: Request<B>,
    dialect: Dialect,
    tail: Tail,
}

impl<S: Service<Request<B>>, B> UsageFuture<S, B> {
    fn answered(response: Response<Bytes>) -> Self {
        let response = Some(response);
        Self {
            state: State::Answered { response },
        }
    }

    fn serving(response: S::Future, tail: Option<Tail>) -> Self {
        Self {
            state: State::Serving { response, tail },
        }
    }
}

impl<S, B, R> Future for UsageFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Output = Result<Response<UsageBody<R>>, S::Error>;

    /// # Panics
    ///
    /// If it is polled again after it returned `Poll::Ready`.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Answered { response } => {
                    let response = unfinished(response.take());
                    return Poll::Ready(Ok(response.map(UsageBody::own)));
                }
                Projected::Taking { taken, parked } => {
                    let taken = ready!(Pin::new(taken).poll(context));
                    let Parked {
                        mut service,
                        request,
                        dialect,
                        tail,
                    } = *unfinished(parked.take());
                    match taken {
                        Ok(()) => State::Serving {
                            response: service.call(request),
                            tail: Some(tail),
                        },
                        Err(denial) => State::Answered {
                            response: Some(tail.refuse(&request, dialect, &denial)),
                        },
                    }
                }
                Projected::Serving { response, tail } => {
                    let response = ready!(response.poll(context))?;
                    return Poll::Ready(Ok(match tail.take() {
                        Some(tail) => tail.finish(response),
                        None => response.map(|body| UsageBody::inner(body, None)),
                    }));
                }
            };
            state.set(next);
        }
    }
}

/// What a state holds until the future is ready.
fn unfinished<T>(part: Option<T>) -> T {
    part.unwrap_or_else(|| panic!("UsageFuture polled after it was ready"))
}

impl<S: Service<Request<B>>, B> fmt::Debug for UsageFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageFuture")
    }
}
