//! A request for a websocket, and the switch to a tunnel when the upstream agrees.

use std::future::Future;
use std::time::Duration;

use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;
use voxgate::gateway::{asks_for_websocket, upgrades_to_websocket};
use voxgate::{AuthMethod, Dialect, Tunnel};
use voxgate_forwarding::set_websocket;
use voxgate_upstream::AnswerBody;
use voxgate_usage::{MessageForm, TunnelUsage};

use super::accepted::Accepted;
use super::message_credentials::{MessageCredentials, answers_in_binary};
use super::spoken_messages::SpokenMessages;
use super::tunnel::{ClientEnd, Inspection, Readers};
use super::{AnswerContext, ForwardedBody, ResponseBody, pass_on, tunnel};
use crate::first_message::HeldClient;

/// The client's side of the websocket that a request asks for.
pub(super) struct Upgrade {
    client: Client,
    tunnel: Tunnel,
    /// The subprotocol to agree on, when the client offered its credential as one.
    subprotocol: Option<HeaderValue>,
    readers: Readers,
}

enum Client {
    /// It is answered as the upstream answers.
    Waiting(OnUpgrade),
    /// It was answered before, and has sent its first message.
    Held(HeldClient),
}

impl Upgrade {
    /// `None` when the request asks for no websocket; any other upgrade is not passed on.
    pub(super) fn take(
        request: &mut Request<ForwardedBody>,
        accepted: &Accepted,
        has_deployment_key: bool,
    ) -> Option<Self> {
        let asked = asks_for_websocket(request);
        let held = request.extensions_mut().remove::<HeldClient>();
        let tunnel = request
            .extensions_mut()
            .remove::<Tunnel>()
            .filter(|_| asked)?;
        let credentials =
            MessageCredentials::of(request, accepted, held.is_some(), has_deployment_key);
        let spoken = SpokenMessages::of(request, accepted);
        let is_read = credentials.is_some() || spoken.is_some();
        let inspection = is_read.then(|| {
            let mut inspection = Inspection::new();
            if let Some(credentials) = credentials {
                inspection.add(credentials);
            }
            if let Some(spoken) = spoken {
                inspection.add(spoken);
            }
            inspection
        });
        let binary = match answers_in_binary(request) {
            true => MessageForm::Protobuf,
            false => MessageForm::Audio,
        };
        // Without an inspection, messages may be compressed.
        let usage = request.extensions_mut().remove::<TunnelUsage>();
        let usage = usage.filter(|_| is_read);
        let readers = Readers {
            inspection,
            usage: usage.and_then(|usage| usage.reader(binary)),
        };
        Some(Self {
            client: match held {
                Some(held) => Client::Held(held),
                None => Client::Waiting(hyper::upgrade::on(&mut *request)),
            },
            tunnel,
            subprotocol: accepted
                .dialect
                .subprotocol(request.headers())
                .map(HeaderValue::from_static)
                .or_else(|| only_token(request, accepted)),
            readers,
        })
    }

    /// Prepares the handshake with the upstream. Messages that are read must not be compressed.
    pub(super) fn prepare(&self, headers: &mut HeaderMap) {
        set_websocket(headers);
        if self.readers.inspection.is_some() {
            headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
    }

    /// Whether the upstream's answer agrees to the websocket, as the client was or will be told.
    pub(super) fn is_agreed(&self, headers: &HeaderMap) -> bool {
        let is_uncompressed =
            self.readers.inspection.is_none() || !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS);
        let is_as_told = match &self.client {
            Client::Waiting(_) => true,
            Client::Held(held) => held.was_told(
                headers.get(SEC_WEBSOCKET_ACCEPT),
                headers.get(SEC_WEBSOCKET_PROTOCOL),
            ),
        };
        upgrades_to_websocket(headers) && is_uncompressed && is_as_told
    }

    /// Answers the client as the upstream did, and carries bytes between the two from then on, in
    /// a task of `tunnels`, until `revoked` resolves or nothing was carried for `idle`. A client that was
    /// answered before is not answered again.
    pub(super) fn switch(
        self,
        mut response: Response<AnswerBody<ForwardedBody>>,
        context: AnswerContext<'_>,
        revoked: impl Future<Output = ()> + Send + 'static,
        idle: Option<Duration>,
        tunnels: &TaskTracker,
    ) -> Response<ResponseBody> {
        let upstream = hyper::upgrade::on(&mut response);
        let (head, body) = response.into_parts();
        let in_flight = body.into_in_flight();
        let client = match self.client {
            Client::Waiting(client) => Some(ClientEnd::Answered(client)),
            Client::Held(held) => held
                .take()
                .map(|(client, sent)| ClientEnd::Upgraded(client, sent)),
        };
        if let Some(client) = client {
            // In a box, because the task would hold it twice: as it was captured, and as it is polled.
            let carried = Box::pin(tunnel::carry(
                self.tunnel,
                client,
                upstream,
                self.readers,
                revoked,
                idle,
            ));
            tunnels.spawn(async move {
                let _in_flight = in_flight;
                carried.await;
            });
        }
        let response = Response::from_parts(head, Either::Right(Full::default()));
        let mut response = pass_on(response, context);
        let headers = response.headers_mut();
        set_websocket(headers);
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
