//! The reverse proxy: what happens to a request that was let in.
//!
//! Nothing is buffered. Bodies stream in both directions with back pressure, and dropping either
//! side cancels the other.

mod connector;
mod headers;
mod request_body;
mod revocation;
mod tunnel;
mod upstream;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use voxgate::audit::Ended;
use voxgate::{
    AuthMethod, Caller, Denial, DenialKind, Dialect, PeerAddr, RefusalContext, RequestId, Secret,
    Tunnel, asks_for_websocket, upgrades_to_websocket,
};

use self::headers::Identity;
pub(crate) use self::request_body::RequestBody;
pub(crate) use self::revocation::Revocations;
pub(crate) use self::upstream::Clients;
use super::upstreams::Upstreams;

/// The body of an answer: the upstream's, or a few bytes of our own.
pub(crate) type ResponseBody = Either<Incoming, Full<Bytes>>;

/// What a request is forwarded with. One for each worker: nothing is shared between cores.
pub(crate) struct Forwarding {
    pub(crate) upstreams: Upstreams,
    pub(crate) clients: Clients,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) upstream_timeout: Duration,
    pub(crate) revocations: Revocations,
    /// Tunnels outlive the connection's own task; shutdown waits for them here.
    pub(crate) tunnels: TaskTracker,
}

/// Forwards requests. The layer stands before it.
#[derive(Clone)]
pub(crate) struct Forward(Arc<Forwarding>);

impl Forward {
    pub(crate) fn new(forwarding: Forwarding) -> Self {
        Self(Arc::new(forwarding))
    }
}

impl Service<Request<RequestBody>> for Forward {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let this = Arc::clone(&self.0);
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

impl Forwarding {
    /// The way of an accepted request: route, prepare, send, answer.
    async fn answer(&self, mut request: Request<RequestBody>) -> Response<ResponseBody> {
        let Some(accepted) = Accepted::of(&request) else {
            tracing::error!("a request came past the layer; it is not forwarded");
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let request_id = accepted.caller.request_id();
        let Some(upstream) = self.upstreams.route(request.uri().path()) else {
            return accepted.refuse(DenialKind::NoUpstream);
        };
        let upgrade = Upgrade::take(&mut request, &accepted);
        let turn = request.body().turn();
        if request.body().is_open_ended() {
            let revoked = self.revocations.of(&accepted.caller);
            request.body_mut().break_off_when(revoked);
        }
        let request = self.prepare(request, &accepted, upgrade.is_some());

        let sent = tokio::select! {
            sent = self.clients.send(upstream, request) => sent,
            () = turn.exceeds(self.upstream_timeout) => Err(upstream::Failure::timeout()),
        };
        let response = match sent {
            Ok(response) => response,
            Err(failure) => {
                let upstream = &upstream.authority;
                let Some(kind) = failure.kind() else {
                    tracing::debug!(%request_id, %upstream, "caller broke off: {failure}");
                    return abandoned();
                };
                tracing::warn!(%request_id, %upstream, "{failure}");
                return accepted.refuse(kind);
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return pass_on(response, request_id);
        }
        match upgrade {
            Some(upgrade) if upgrades_to_websocket(response.headers()) => {
                self.switch(response, upgrade, &accepted.caller)
            }
            _ => {
                let upstream = &upstream.authority;
                tracing::warn!(%request_id, %upstream, "upstream switched protocols unasked");
                accepted.refuse(DenialKind::UpstreamUnreachable)
            }
        }
    }

    /// Turns the client's request into the upstream's. The path stays byte for byte, and so does
    /// the query but for a credential in it.
    fn prepare(
        &self,
        mut request: Request<RequestBody>,
        accepted: &Accepted,
        websocket: bool,
    ) -> Request<RequestBody> {
        let peer = request
            .extensions()
            .get::<PeerAddr>()
            .map(|peer| peer.0.ip());
        let host = request.headers().get(HOST).cloned().or_else(|| {
            let authority = request.uri().authority()?;
            HeaderValue::from_str(authority.as_str()).ok()
        });
        let public = accepted.caller.auth_method() == AuthMethod::Public;
        let identity = Identity {
            caller: &accepted.caller,
            peer,
            host,
            dialect: accepted.dialect,
            deployment_key: self.deployment_key.as_ref().filter(|_| !public),
        };
        accepted.dialect.strip_credential(&mut request);
        headers::to_upstream(request.headers_mut(), identity);
        if websocket {
            headers::set_websocket(request.headers_mut());
        }
        request.extensions_mut().clear();
        request
    }

    fn switch(
        &self,
        mut response: Response<Incoming>,
        upgrade: Upgrade,
        caller: &Caller,
    ) -> Response<ResponseBody> {
        let upstream = hyper::upgrade::on(&mut response);
        let revoked = self.revocations.of(caller);
        let carried = tunnel::carry(upgrade.tunnel, upgrade.client, upstream, revoked);
        self.tunnels.spawn(carried);
        let mut response =
            pass_on(response, caller.request_id()).map(|_| Either::Right(Full::default()));
        let headers = response.headers_mut();
        headers::set_websocket(headers);
        // A browser that offered subprotocols gives up when none is agreed on.
        if let Some(name) = upgrade.subprotocol {
            headers
                .entry(SEC_WEBSOCKET_PROTOCOL)
                .or_insert(HeaderValue::from_static(name));
        }
        response
    }
}

fn pass_on(mut response: Response<Incoming>, request_id: RequestId) -> Response<ResponseBody> {
    headers::to_client(response.headers_mut(), request_id);
    response.extensions_mut().clear();
    *response.version_mut() = Version::default();
    response.map(Either::Left)
}

/// What the layer found out about a request that it let in.
struct Accepted {
    caller: Caller,
    dialect: Dialect,
    context: RefusalContext,
}

impl Accepted {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let caller = request.extensions().get::<Caller>()?.clone();
        let dialect = *request.extensions().get::<Dialect>()?;
        let context = RefusalContext::of(request, caller.request_id());
        Some(Self {
            caller,
            dialect,
            context,
        })
    }

    fn refuse(&self, kind: DenialKind) -> Response<ResponseBody> {
        let mut response = self.dialect.refuse(&Denial::new(kind), self.context);
        if kind == DenialKind::UpstreamTimeout {
            response.extensions_mut().insert(Ended::Timeout);
        }
        response.map(|body| Either::Right(Full::new(body)))
    }
}

/// The client's side of a websocket that is asked for.
struct Upgrade {
    client: OnUpgrade,
    tunnel: Tunnel,
    /// Stands in the answer in place of the one that held the credential.
    subprotocol: Option<&'static str>,
}

impl Upgrade {
    /// `None` when the request asks for no websocket; any other upgrade is not passed on.
    fn take(request: &mut Request<RequestBody>, accepted: &Accepted) -> Option<Self> {
        let asked = asks_for_websocket(request);
        let tunnel = request
            .extensions_mut()
            .remove::<Tunnel>()
            .filter(|_| asked)?;
        Some(Self {
            client: hyper::upgrade::on(&mut *request),
            tunnel,
            subprotocol: accepted.dialect.subprotocol(request.headers()),
        })
    }
}

/// The answer to a caller that broke off in the middle of its request.
fn abandoned() -> Response<ResponseBody> {
    let mut response = plain(StatusCode::BAD_REQUEST);
    response.extensions_mut().insert(Ended::ClientAbort);
    response
}

/// An answer in no dialect, to what no caller should ever see.
fn plain(status: StatusCode) -> Response<ResponseBody> {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
