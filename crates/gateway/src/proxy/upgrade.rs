//! A request for a websocket, and the switch to a tunnel when the upstream agrees.

use std::future::Future;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use voxgate::gateway::asks_for_websocket;
use voxgate::{AuthMethod, Dialect, RequestId, Tunnel};

use super::accepted::Accepted;
use super::{RequestBody, ResponseBody, headers, pass_on, tunnel};

/// The client's side of the websocket that a request asks for.
pub(super) struct Upgrade {
    client: OnUpgrade,
    tunnel: Tunnel,
    /// The subprotocol to agree on, when the client offered its credential as one.
    subprotocol: Option<HeaderValue>,
}

impl Upgrade {
    /// `None` when the request asks for no websocket; any other upgrade is not passed on.
    pub(super) fn take(request: &mut Request<RequestBody>, accepted: &Accepted) -> Option<Self> {
        let asked = asks_for_websocket(request);
        let tunnel = request
            .extensions_mut()
            .remove::<Tunnel>()
            .filter(|_| asked)?;
        Some(Self {
            client: hyper::upgrade::on(&mut *request),
            tunnel,
            subprotocol: accepted
                .dialect
                .subprotocol(request.headers())
                .map(HeaderValue::from_static)
                .or_else(|| only_token(request, accepted)),
        })
    }

    /// Answers the client as the upstream did, and carries bytes between the two from then on, in
    /// a task of `tunnels`, until `revoked` resolves.
    pub(super) fn switch(
        self,
        mut response: Response<Incoming>,
        request_id: RequestId,
        revoked: impl Future<Output = ()> + Send + 'static,
        tunnels: &TaskTracker,
    ) -> Response<ResponseBody> {
        let upstream = hyper::upgrade::on(&mut response);
        tunnels.spawn(tunnel::carry(self.tunnel, self.client, upstream, revoked));
        let mut response = pass_on(response, request_id).map(|_| Either::Right(Full::default()));
        let headers = response.headers_mut();
        headers::set_websocket(headers);
        // A browser that offered subprotocols gives up when none is agreed on.
        if let Some(name) = self.subprotocol {
            headers.entry(SEC_WEBSOCKET_PROTOCOL).or_insert(name);
        }
        response
    }
}

/// The offer that holds the caller's token, if the client offers nothing else. The client's browser
/// gives up unless one of its offers is selected (WHATWG WebSockets, "establish a WebSocket
/// connection"), and Inworld's clients offer `bearer_TOKEN` alone. A key is never repeated.
fn only_token<B>(request: &Request<B>, accepted: &Accepted) -> Option<HeaderValue> {
    if accepted.dialect != Dialect::Inworld || accepted.caller.auth_method() != AuthMethod::Jwt {
        return None;
    }
    let mut offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offer = offers.next().filter(|_| offers.next().is_none())?;
    let bytes = offer.as_bytes();
    let is_token = bytes.starts_with(b"bearer_") && !bytes.contains(&b',');
    is_token.then(|| {
        let mut offer = offer.clone();
        offer.set_sensitive(true);
        offer
    })
}
