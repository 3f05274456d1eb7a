//! The reverse proxy: what happens to a request that was let in.
//!
//! Nothing is buffered. Bodies stream in both directions with back pressure, and dropping either
//! side cancels the other.

mod headers;
mod request_body;
mod tunnel;
mod upstream;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use voxgate::{Caller, Denial, DenialKind, Dialect, PeerAddr, Secret, Tunnel, X_REQUEST_ID};

use self::headers::Identity;
pub(crate) use self::request_body::RequestBody;
pub(crate) use self::upstream::Clients;
use super::upstreams::Upstreams;

/// The body of an answer: the upstream's, or a few bytes of our own.
pub(crate) type ResponseBody = Either<Incoming, Full<Bytes>>;

/// What a request is forwarded with. One for each worker: nothing is shared between cores.
pub(crate) struct Forwarding {
    pub(crate) upstreams: Upstreams,
    pub(crate) clients: Clients,
    pub(crate) dialect: Dialect,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) upstream_timeout: Duration,
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
        let Some(caller) = request.extensions().get::<Caller>().cloned() else {
            tracing::error!("a request came past the layer; it is not forwarded");
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let Some(upstream) = self.upstreams.route(request.uri().path()) else {
            return self.refuse(DenialKind::NoUpstream, &caller);
        };
        let upgrade = Upgrade::take(&mut request);
        let turn = request.body().turn();
        let request = self.prepare(request, &caller, upgrade.is_some());

        let sent = tokio::select! {
            sent = self.clients.send(upstream, request) => sent,
            () = turn.exceeds(self.upstream_timeout) => Err(upstream::Failure::timeout()),
        };
        let response = match sent {
            Ok(response) => response,
            Err(failure) => {
                let request_id = caller.request_id();
                tracing::warn!(%request_id, upstream = %upstream.authority, "{failure}");
                return match failure.kind() {
                    Some(kind) => self.refuse(kind, &caller),
                    None => plain(StatusCode::BAD_REQUEST),
                };
            }
        };
        match (response.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade))
                if headers::asks_for_websocket(response.headers()) =>
            {
                self.switch(response, upgrade, &caller)
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                let request_id = caller.request_id();
                tracing::warn!(%request_id, upstream = %upstream.authority, "upstream switched protocols unasked");
                self.refuse(DenialKind::UpstreamUnreachable, &caller)
            }
            _ => self.pass_on(response, &caller),
        }
    }

    /// Turns the client's request into the upstream's. The path and query stay byte for byte.
    fn prepare(
        &self,
        mut request: Request<RequestBody>,
        caller: &Caller,
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
        let identity = Identity {
            caller,
            peer,
            host,
            dialect: self.dialect,
            deployment_key: self.deployment_key.as_ref(),
        };
        headers::to_upstream(request.headers_mut(), identity);
        if websocket {
            headers::set_websocket(request.headers_mut());
        }
        request.extensions_mut().clear();
        request
    }

    fn pass_on(&self, mut response: Response<Incoming>, caller: &Caller) -> Response<ResponseBody> {
        headers::remove_hop_by_hop(response.headers_mut());
        response
            .headers_mut()
            .entry(X_REQUEST_ID)
            .or_insert_with(|| caller.request_id().to_header_value());
        response.extensions_mut().clear();
        *response.version_mut() = Version::default();
        response.map(Either::Left)
    }

    fn switch(
        &self,
        mut response: Response<Incoming>,
        upgrade: Upgrade,
        caller: &Caller,
    ) -> Response<ResponseBody> {
        let upstream = hyper::upgrade::on(&mut response);
        self.tunnels
            .spawn(tunnel::carry(upgrade.tunnel, upgrade.client, upstream));
        let mut response = self
            .pass_on(response, caller)
            .map(|_| Either::Right(Full::default()));
        headers::set_websocket(response.headers_mut());
        response
    }

    fn refuse(&self, kind: DenialKind, caller: &Caller) -> Response<ResponseBody> {
        let response = self.dialect.refuse(&Denial::new(kind), caller.request_id());
        response.map(|body| Either::Right(Full::new(body)))
    }
}

/// The client's side of a websocket that is asked for.
struct Upgrade {
    client: OnUpgrade,
    tunnel: Tunnel,
}

impl Upgrade {
    /// `None` when the request asks for no websocket; any other upgrade is not passed on.
    fn take(request: &mut Request<RequestBody>) -> Option<Self> {
        let asked = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && headers::asks_for_websocket(request.headers());
        let tunnel = request
            .extensions_mut()
            .remove::<Tunnel>()
            .filter(|_| asked)?;
        Some(Self {
            client: hyper::upgrade::on(request),
            tunnel,
        })
    }
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
