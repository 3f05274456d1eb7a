//! A request for a websocket, and the switch to a tunnel when the upstream agrees.

use std::future::Future;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use voxgate::Tunnel;
use voxgate::gateway::asks_for_websocket;
use voxgate_upstream::AnswerBody;

use super::accepted::Accepted;
use super::headers::AnswerContext;
use super::{RequestBody, ResponseBody, headers, pass_on, tunnel};

/// The client's side of the websocket that a request asks for.
pub(super) struct Upgrade {
    client: OnUpgrade,
    tunnel: Tunnel,
    /// The subprotocol to agree on, when the client offered its credential as one.
    subprotocol: Option<&'static str>,
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
            subprotocol: accepted.dialect.subprotocol(request.headers()),
        })
    }

    /// Answers the client as the upstream did, and carries bytes between the two from then on, in
    /// a task of `tunnels`, until `revoked` resolves or nothing was carried for `idle`.
    pub(super) fn switch(
        self,
        mut response: Response<AnswerBody<RequestBody>>,
        context: AnswerContext<'_>,
        revoked: impl Future<Output = ()> + Send + 'static,
        idle: Option<Duration>,
        tunnels: &TaskTracker,
    ) -> Response<ResponseBody> {
        let upstream = hyper::upgrade::on(&mut response);
        let (head, body) = response.into_parts();
        let in_flight = body.into_in_flight();
        let carried = tunnel::carry(self.tunnel, self.client, upstream, revoked, idle);
        tunnels.spawn(async move {
            let _in_flight = in_flight;
            carried.await;
        });
        let response = Response::from_parts(head, Either::Right(Full::default()));
        let mut response = pass_on(response, context);
        let headers = response.headers_mut();
        headers::set_websocket(headers);
        // A browser that offered subprotocols gives up when none is agreed on.
        if let Some(name) = self.subprotocol {
            headers
                .entry(SEC_WEBSOCKET_PROTOCOL)
                .or_insert(HeaderValue::from_static(name));
        }
        response
    }
}
