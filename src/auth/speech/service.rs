//! The service that reads bodies.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_speech::{BodyFormat, MediaType, Reading, Unreadable};

use super::super::body::AuthBody;
use super::body::{SpeechBody, Stream, Tap};
use super::budget::{Budget, Reservation};
use super::inspection::Inspection;
use super::layer::SpeechOptions;
use super::session::{SpeechSession, judge_body, reserve};
use super::verdict::Verdict;
use crate::audit::Ended;
use crate::dialect::{Dialect, RefusalContext};
use crate::principal::Caller;
use crate::speech::{self, SpeechMeter};
use crate::websocket::asks_for_websocket;

/// `Retry-After` when the memory for held bodies is used up.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Reads the bodies of requests that the authentication layer marked, and forwards them to `S`.
#[derive(Clone)]
pub struct Inspect<S> {
    inner: S,
    options: Arc<SpeechOptions>,
    budget: Budget,
}

impl<S> Inspect<S> {
    pub(super) fn new(inner: S, options: SpeechOptions, budget: Budget) -> Self {
        let options = Arc::new(options);
        Self {
            inner,
            options,
            budget,
        }
    }
}

pin_project! {
    /// The response future of [`Inspect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the body, or the inner service's future.
    pub struct InspectFuture<F, R, E> {
        #[pin]
        state: InspectState<F, R, E>,
    }
}

pin_project! {
    #[project = Projected]
    enum InspectState<F, R, E> {
        Serving {
            #[pin]
            response: F,
        },
        // The body is read, or the request is refused.
        Reading {
            response: BoxedResponse<R, E>,
        },
    }
}

type BoxedResponse<R, E> = Pin<Box<dyn Future<Output = Result<Response<AuthBody<R>>, E>> + Send>>;

impl<F, R, E> Future for InspectFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<AuthBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Serving { response } => response.poll(cx).map(|served| served.map(inner)),
            Projected::Reading { response } => response.as_mut().poll(cx),
        }
    }
}

impl<F, R, E> fmt::Debug for InspectFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InspectFuture")
    }
}

fn inner<R>(response: Response<R>) -> Response<AuthBody<R>> {
    response.map(|body| AuthBody::inner(body, None))
}

impl<S, B, R> Service<Request<B>> for Inspect<S>
where
    S: Service<Request<SpeechBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    R: Body + Send + 'static,
{
    type Response = Response<AuthBody<R>>;
    type Error = S::Error;
    type Future = InspectFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(inspection) = request.extensions_mut().remove::<Inspection>() else {
            return self.serve(request.map(SpeechBody::unread));
        };
        request.extensions_mut().insert(inspection.meter.clone());
        if asks_for_websocket(&request) {
            return self.upgrade(request, inspection);
        }
        match Plan::of(&request, &inspection, &self.options) {
            Plan::Forward => self.serve(request.map(SpeechBody::unread)),
            Plan::Refuse(kind) => self.refuse(&request, &inspection, kind),
            Plan::Tap(media_type) => {
                let (most, held) = (self.options.body_bytes, self.budget.reservation());
                let tap = Tap::new(inspection, media_type, most, held);
                self.serve(request.map(|body| SpeechBody::tapped(tap, body)))
            }
            Plan::Stream => {
                let service = self.ready();
                let (most, held) = (self.options.body_bytes, self.budget.reservation());
                reading(stream(service, request, inspection, most, held))
            }
            Plan::Hold(media_type) => {
                let service = self.ready();
                let (most, held) = (self.options.body_bytes, self.budget.reservation());
                reading(hold(service, request, inspection, media_type, most, held))
            }
        }
    }
}

fn reading<F, R, E>(
    response: impl Future<Output = Result<Response<AuthBody<R>>, E>> + Send + 'static,
) -> InspectFuture<F, R, E> {
    let response = Box::pin(response);
    InspectFuture {
        state: InspectState::Reading { response },
    }
}

/// What is done with a body.
enum Plan {
    Forward,
    Refuse(DenialKind),
    /// Counted while it passes.
    Tap(MediaType),
    /// Held until it is read as a whole.
    Hold(Result<MediaType, Unreadable>),
    /// Read message by message.
    Stream,
}

impl Plan {
    fn of<B: Body>(request: &Request<B>, inspection: &Inspection, options: &SpeechOptions) -> Self {
        let must = inspection.limited || inspection.quota.is_some();
        let mut formats = inspection.reader.profile().formats();
        let media_type = media_type(request.headers());
        let is_large = request.body().size_hint().lower() > options.body_bytes as u64;
        match (formats.next(), media_type) {
            // All of it is in the head.
            (None, _) if inspection.quota.is_none() => {
                inspection.meter.add_characters(inspection.head_characters);
                Self::Forward
            }
            (Some(BodyFormat::Protobuf), Ok(media_type)) if media_type.is_grpc() => Self::Stream,
            (Some(_), _) if inspection.limited && is_large => {
                Self::Refuse(DenialKind::ContentTooLarge)
            }
            (_, Ok(media_type)) if !must && !is_large => Self::Tap(media_type),
            (_, _) if !must => {
                inspection.meter.mark_unmetered();
                Self::Forward
            }
            (_, media_type) => Self::Hold(media_type),
        }
    }
}

/// The type of a body that is not encoded.
fn media_type(headers: &HeaderMap) -> Result<MediaType, Unreadable> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Unreadable::Encoding);
    }
    let types = headers.get_all(CONTENT_TYPE).iter();
    MediaType::parse(types.map(HeaderValue::as_bytes))
}

impl<S: Clone> Inspect<S> {
    fn serve<B, R, E>(&mut self, request: Request<SpeechBody<B>>) -> InspectFuture<S::Future, R, E>
    where
        S: Service<Request<SpeechBody<B>>, Response = Response<R>, Error = E>,
    {
        let response = self.inner.call(request);
        InspectFuture {
            state: InspectState::Serving { response },
        }
    }

    /// The instance that was polled ready.
    fn ready(&mut self) -> S {
        let clone = self.inner.clone();
        mem::replace(&mut self.inner, clone)
    }

    fn refuse<F, B, R: Send + 'static, E: Send + 'static>(
        &self,
        request: &Request<B>,
        inspection: &Inspection,
        kind: DenialKind,
    ) -> InspectFuture<F, R, E> {
        let refusal = Refusal::of(request).answer(&inspection.meter, &kind.into());
        reading(std::future::ready(Ok(refusal)))
    }

    /// A WebSocket: its messages are read by the service, or not at all.
    fn upgrade<B, R, E>(
        &mut self,
        mut request: Request<B>,
        inspection: Inspection,
    ) -> InspectFuture<S::Future, R, E>
    where
        S: Service<Request<SpeechBody<B>>, Response = Response<R>, Error = E>,
        R: Send + 'static,
        E: Send + 'static,
    {
        if self.options.reads_messages {
            let session = SpeechSession::new(inspection);
            request.extensions_mut().insert(session);
            return self.serve(request.map(SpeechBody::unread));
        }
        inspection.meter.mark_unmetered();
        let profile = inspection.reader.profile();
        if inspection.limited && !profile.messages().is_empty() {
            let names = speech::require_unchanged(&inspection.principal, profile);
            if let Err(kind) = names {
                return self.refuse(&request, &inspection, kind);
            }
        }
        self.serve(request.map(SpeechBody::unread))
    }
}

/// Answers a request in the form of its dialect.
#[derive(Clone, Copy)]
struct Refusal {
    dialect: Dialect,
    context: Option<RefusalContext>,
}

impl Refusal {
    fn of<B>(request: &Request<B>) -> Self {
        let caller = request.extensions().get::<Caller>();
        let dialect = request.extensions().get::<Dialect>().copied();
        Self {
            dialect: dialect.unwrap_or_default().for_refusal(request),
            context: caller.map(|caller| RefusalContext::of(request, caller.request_id())),
        }
    }

    fn answer<R>(self, meter: &SpeechMeter, denial: &Denial) -> Response<AuthBody<R>> {
        meter.deny(denial.kind());
        let response = match self.context {
            Some(context) => self.dialect.refuse(denial, context),
            // Only the authentication layer makes an inspection, and it makes a caller first.
            None => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = denial.status();
                response
            }
        };
        response.map(AuthBody::refusal)
    }
}

/// Reads a whole body, and forwards it if its key may use what it names.
async fn hold<S, B, R>(
    mut service: S,
    request: Request<B>,
    inspection: Inspection,
    media_type: Result<MediaType, Unreadable>,
    most: usize,
    mut reservation: Reservation,
) -> Result<Response<AuthBody<R>>, S::Error>
where
    S: Service<Request<SpeechBody<B>>, Response = Response<R>>,
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, mut body) = request.into_parts();
    let refuse = |parts, denial: &Denial| {
        let refusal = Refusal::of(&Request::from_parts(parts, ()));
        refusal.answer(&inspection.meter, denial)
    };
    let judged = match read_whole(&mut body, most, &mut reservation).await {
        Ok(held) => judge_held(&inspection, held, media_type),
        Err(NotHeld::Failed) => {
            // The client is gone, or broke the framing. The answer is for the audit record.
            let mut response = refuse(parts, &DenialKind::UnreadableBody.into());
            response.extensions_mut().insert(Ended::ClientAbort);
            return Ok(response);
        }
        Err(NotHeld::TooLarge(_)) if inspection.limited => Err(DenialKind::ContentTooLarge.into()),
        Err(NotHeld::NoMemory(_)) if inspection.limited => Err(Denial::unavailable(RETRY_AFTER)),
        Err(NotHeld::TooLarge(part) | NotHeld::NoMemory(part)) => {
            // Only a quota asked for it. It is told that the text is not counted.
            inspection.meter.mark_unmetered();
            Ok((part, inspection.head_characters))
        }
    };
    let allowed = match judged {
        Ok((held, characters)) => reserve(&inspection, characters).await.map(|()| held),
        Err(denial) => Err(denial),
    };
    match allowed {
        Ok(held) => {
            let body = SpeechBody::held(held, reservation, body);
            let request = Request::from_parts(parts, body);
            service.call(request).await.map(inner)
        }
        Err(denial) => Ok(refuse(parts, &denial)),
    }
}

/// The body, and its characters, if its key may use what it names.
fn judge_held(
    inspection: &Inspection,
    held: Bytes,
    media_type: Result<MediaType, Unreadable>,
) -> Result<(Bytes, u64), Denial> {
    let read = match inspection.reader.profile().formats().next() {
        Some(_) => {
            media_type.and_then(|media_type| inspection.reader.read_body(&media_type, &held))
        }
        // All of it is in the head.
        None => Ok(Reading::default()),
    };
    let characters = judge_body(inspection, read)?;
    Ok((held, characters))
}

/// Why a body is not held as a whole, with what was read of it.
enum NotHeld {
    Failed,
    TooLarge(Bytes),
    NoMemory(Bytes),
}

async fn read_whole<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    most: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, NotHeld> {
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while !body.is_end_stream() {
        let frame = match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Err(NotHeld::Failed),
            None => break,
        };
        // Trailers end a body. They are not forwarded: a server could merge them into the headers.
        let Ok(data) = frame.into_data() else { break };
        let has_room = reservation.grow(data.len());
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            // Small frames are copied, so that they do not keep their larger buffers.
            if more.is_empty() {
                more.extend_from_slice(&mem::take(&mut first));
            }
            more.extend_from_slice(&data);
        }
        let length = first.len() + more.len();
        if length > most || !has_room {
            let held = whole(first, more);
            return Err(match length > most {
                true => NotHeld::TooLarge(held),
                false => NotHeld::NoMemory(held),
            });
        }
    }
    Ok(whole(first, more))
}

fn whole(first: Bytes, more: BytesMut) -> Bytes {
    match more.is_empty() {
        true => first,
        false => more.freeze(),
    }
}

/// Forwards a gRPC stream whose messages are checked one by one.
async fn stream<S, B, R>(
    mut service: S,
    request: Request<B>,
    inspection: Inspection,
    most: usize,
    reservation: Reservation,
) -> Result<Response<AuthBody<R>>, S::Error>
where
    S: Service<Request<SpeechBody<B>>, Response = Response<R>>,
    B: Body<Data = Bytes> + Unpin,
{
    let (refusal, meter) = (Refusal::of(&request), inspection.meter.clone());
    let verdict = Verdict::default();
    let session = SpeechSession::new(inspection);
    let stream = Stream::new(session, verdict.clone(), most, reservation);
    let request = request.map(|body| SpeechBody::stream(stream, body));
    let mut response = pin!(service.call(request));
    let decided = poll_fn(|cx| {
        // The refusal first: the inner service may have failed because of it.
        if let Some(denial) = verdict.poll(cx) {
            return Poll::Ready(Err(denial));
        }
        let served = response.as_mut().poll(cx);
        match verdict.poll(cx) {
            Some(denial) => Poll::Ready(Err(denial)),
            None => served.map(Ok),
        }
    });
    match decided.await {
        Ok(served) => served.map(inner),
        Err(denial) => Ok(refusal.answer(&meter, &denial)),
    }
}

impl<S> fmt::Debug for Inspect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspect")
    }
}
