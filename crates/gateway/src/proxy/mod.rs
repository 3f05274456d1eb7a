//! The reverse proxy: forwards the requests that the authentication layer accepted.
//!
//! Nothing is buffered. Bodies stream in both directions with back pressure, and dropping either
//! side cancels the other.

mod accepted;
mod catch_panic;
mod message_credentials;
mod request_body;
mod revocation;
mod spoken_messages;
mod tunnel;
mod upgrade;
mod upstream_failures;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::field::display;
use voxgate::gateway::is_grpc;
use voxgate::{DenialKind, RequestId, Secret};
use voxgate_forwarding::{HeaderRules, Identity};
use voxgate_request_tracing::{UpstreamSpan, UpstreamSpans};
use voxgate_upstream::{
    AnswerBody, Callers, Client, Protocol, SendContext, SendError, SendErrorKind, Upstream,
};

use self::accepted::{Accepted, abandoned, plain};
pub(crate) use self::catch_panic::CatchPanicLayer;
pub(crate) use self::message_credentials::{RIME_BINARY, credential_format, header_values};
pub(crate) use self::request_body::{ForwardedBody, RequestBody};
pub(crate) use self::revocation::Revocations;
use self::upgrade::Upgrade;
use self::upstream_failures::FailedRequest;
pub(crate) use self::upstream_failures::UpstreamFailures;
use super::upstreams::Routes;

/// The body of an answer: the upstream's, or a few bytes of our own.
pub(crate) type ResponseBody = Either<AnswerBody<ForwardedBody>, Full<Bytes>>;

/// The connections to HTTP/2 upstreams that one client connection uses.
pub(crate) type ClientConnection = Callers<ForwardedBody>;

/// What requests are forwarded with. Each worker has its own, so that cores share nothing.
pub(crate) struct Forwarding {
    pub(crate) routes: Routes,
    pub(crate) client: Arc<Client<ForwardedBody>>,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) headers: HeaderRules,
    /// Makes a span of each request to an upstream.
    pub(crate) spans: UpstreamSpans,
    /// How long the upstream may have the request without going on. It is checked here and not by
    /// a `TimeoutLayer`, which would also count the time that a slow client takes to send.
    pub(crate) upstream_timeout: Duration,
    /// How long a request may take from its acceptance to the end of its answer.
    pub(crate) request_timeout: Option<Duration>,
    /// How long a tunnel may carry nothing.
    pub(crate) tunnel_idle: Option<Duration>,
    pub(crate) revocations: Revocations,
    /// Shared by all workers, so that the log has one line for all of them.
    pub(crate) failures: Arc<UpstreamFailures>,
    /// Tunnels outlive the connection's own task; shutdown waits for them here.
    pub(crate) tunnels: TaskTracker,
}

/// The service that forwards requests.
#[derive(Clone)]
pub(crate) struct Forward(Arc<Forwarding>);

impl Forward {
    pub(crate) fn new(forwarding: Forwarding) -> Self {
        Self(Arc::new(forwarding))
    }
}

impl Service<Request<ForwardedBody>> for Forward {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ForwardedBody>) -> Self::Future {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let answer = this.forward(request).await;
            Ok(answer.unwrap_or_else(|own| own.map(Either::Right)))
        })
    }
}

/// An answer of the gateway's own, because no upstream gave one.
type OwnAnswer = Response<Full<Bytes>>;

impl Forwarding {
    /// The path of an accepted request: route, prepare, send, answer.
    async fn forward(
        &self,
        mut request: Request<ForwardedBody>,
    ) -> Result<Response<ResponseBody>, OwnAnswer> {
        let mut accepted = Accepted::of(&request).ok_or_else(|| {
            tracing::error!("a request did not pass the authentication layer; it is not forwarded");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Err(accepted.no_content());
        }
        let upstream = self.routes.route(request.uri().path());
        let upstream = upstream.ok_or_else(|| accepted.refuse(DenialKind::NoUpstream))?;

        let upgrade = Upgrade::take(&mut request, &accepted, self.deployment_key.is_some());
        self.break_off_when_revoked(&mut request, &accepted);
        let turn = request.body().get_ref().turn();
        let from = request.extensions_mut().remove::<ClientConnection>();
        let from = from.unwrap_or_default();
        let http2 = request.version() == Version::HTTP_2 && is_grpc(request.headers());
        let request_id = accepted.request_id();
        let (trace, mut span) = self
            .spans
            .begin(accepted.trace, request_id, request.method());
        accepted.trace = trace;
        name_server(&mut span, upstream);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let request = prepare(
            request,
            &accepted,
            upgrade.as_ref(),
            self.deployment_key.as_ref(),
            &self.headers,
        );

        let deadline = self.request_timeout.map(|limit| Instant::now() + limit);
        let context = SendContext {
            http2,
            callers: &from,
            caller: accepted.caller.key_id(),
            turn: &turn,
            deadline: deadline.filter(|_| upgrade.is_none()),
        };
        let sent = tokio::select! {
            sent = self.client.send(upstream, request, context) => sent,
            () = turn.exceeds(self.upstream_timeout) => Err(SendError::timeout()),
            () = until(deadline) => Err(SendError::timeout()),
        };
        let trace_id = accepted.caller.trace_id().map(display);
        match &sent {
            Ok(response) => span.answered(response.status().as_u16()),
            Err(failure) => {
                let kind = denial(failure).filter(|_| !turn.is_broken_off());
                span.failed(kind.map_or("client_abort", DenialKind::as_str));
            }
        }
        let response =
            sent.map_err(
                |failure| match denial(&failure).filter(|_| !turn.is_broken_off()) {
                    Some(kind) => {
                        let key_id = accepted.caller.key_id();
                        let trace_id = accepted.caller.trace_id();
                        let request = FailedRequest {
                            request_id,
                            trace_id,
                            key_id,
                            dialect: accepted.dialect,
                            method: &method,
                            path: uri.path(),
                        };
                        self.failures.failed(upstream, request, &failure);
                        accepted.refuse(kind)
                    }
                    None => {
                        tracing::debug!(%request_id, trace_id, ?upstream, "the client broke off: {failure}");
                        abandoned()
                    }
                },
            )?;
        self.failures.answered(upstream);

        let context = AnswerContext {
            request_id,
            upstream,
            headers: &self.headers,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(pass_on(response, context).map(Either::Left));
        }
        match upgrade {
            Some(upgrade) if upgrade.is_agreed(response.headers()) => {
                let revoked = self.revocations.of(&accepted.caller);
                let idle = self.tunnel_idle;
                Ok(upgrade.switch(response, context, revoked, idle, &self.tunnels))
            }
            _ => {
                tracing::warn!(%request_id, trace_id, ?upstream, "the upstream switched protocols in another way than the client asked for");
                Err(accepted.refuse(DenialKind::UpstreamUnreachable))
            }
        }
    }

    /// A body of unknown length may go on for hours. It ends when the caller's key is revoked.
    fn break_off_when_revoked(&self, request: &mut Request<ForwardedBody>, accepted: &Accepted) {
        if request.body().get_ref().is_open_ended() {
            let revoked = self.revocations.of(&accepted.caller);
            request.body_mut().get_mut().break_off_when(revoked);
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Tells a span which server the request is for. With several, the upstream chooses.
fn name_server(span: &mut UpstreamSpan, upstream: &Upstream<ForwardedBody>) {
    let [server] = upstream.servers() else { return };
    if !span.is_recorded() {
        return;
    }
    let (name, authority) = (server.to_string(), server.authority());
    match name.strip_prefix("unix:") {
        Some(path) => span.server(path, None),
        None => {
            let default = match server.protocol() {
                Protocol::Negotiated => 443,
                _ => 80,
            };
            span.server(authority.host(), authority.port_u16().or(Some(default)));
        }
    }
}

/// The kind for the audit record; `None` when the client broke off.
fn denial(error: &SendError) -> Option<DenialKind> {
    match error.kind() {
        SendErrorKind::NoPermit => Some(DenialKind::Unavailable),
        SendErrorKind::AllOut => Some(DenialKind::UpstreamUnavailable),
        SendErrorKind::Timeout => Some(DenialKind::UpstreamTimeout),
        SendErrorKind::Client => None,
        _ => Some(DenialKind::UpstreamUnreachable),
    }
}

/// Turns the client's request into the upstream's.
fn prepare<B>(
    mut request: Request<B>,
    accepted: &Accepted,
    upgrade: Option<&Upgrade>,
    deployment_key: Option<&Secret>,
    headers: &HeaderRules,
) -> Request<B> {
    let identity = Identity {
        caller: &accepted.caller,
        dialect: accepted.dialect,
        trace: accepted.trace,
        deployment_key,
    };
    headers.to_upstream(&mut request, identity);
    if let Some(upgrade) = upgrade {
        upgrade.prepare(request.headers_mut());
    }
    request.extensions_mut().clear();
    request
}

/// What the server behind must get for a request that the authentication layer accepted and that a proxy
/// forwards. `None` if the request did not pass that layer.
pub(crate) fn as_forwarded(
    request: Request<()>,
    deployment_key: Option<&Secret>,
    headers: &HeaderRules,
) -> Option<Request<()>> {
    let accepted = Accepted::of(&request)?;
    Some(prepare(request, &accepted, None, deployment_key, headers))
}

/// The refusal of a request that the authentication layer accepted.
pub(crate) fn refusal<B>(request: &Request<B>, kind: DenialKind) -> Response<Full<Bytes>> {
    match Accepted::of(request) {
        Some(accepted) => accepted.refuse(kind),
        None => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// What the client is told about an answer besides the upstream's own headers.
#[derive(Clone, Copy)]
struct AnswerContext<'a> {
    request_id: RequestId,
    upstream: &'a Upstream<ForwardedBody>,
    headers: &'a HeaderRules,
}

/// Turns the upstream's answer into the client's.
fn pass_on<B>(mut response: Response<B>, context: AnswerContext<'_>) -> Response<B> {
    let is_upstream = |authority: &str| context.upstream.is_named(authority);
    context
        .headers
        .to_client(&mut response, context.request_id, is_upstream);
    response.extensions_mut().clear();
    *response.version_mut() = Version::default();
    response
}
