//! A layer that tells the inner service who sent each request of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;
use voxgate::{ClientAddr, ClientRequestId, PeerAddr};

use super::trusted::TrustedProxies;

/// A tower [`Layer`] for the requests of one connection. It puts into the extensions of each request:
///
/// - [`PeerAddr`]: the other end of the connection;
/// - [`ClientAddr`]: the client;
/// - if the request came from a trusted proxy: [`ForwardedFields`](super::ForwardedFields), and
///   [`ClientRequestId`] if the proxy sent `X-Request-Id`.
///
/// It changes no header: the headers of a request are what the proxy sent.
#[derive(Clone, Debug)]
pub struct ClientAddressLayer {
    peer: SocketAddr,
    source: SocketAddr,
    proxies: Arc<TrustedProxies>,
}

impl ClientAddressLayer {
    /// A layer for a connection from `peer`. `source` is the address that a PROXY protocol header named;
    /// without one, it is `peer`.
    #[must_use]
    pub fn new(peer: SocketAddr, source: SocketAddr, proxies: Arc<TrustedProxies>) -> Self {
        Self {
            peer,
            source,
            proxies,
        }
    }
}

impl<S> Layer<S> for ClientAddressLayer {
    type Service = ClientAddress<S>;

    fn layer(&self, inner: S) -> ClientAddress<S> {
        ClientAddress {
            inner,
            layer: self.clone(),
        }
    }
}

/// Tells `S` who sent each request. Made by [`ClientAddressLayer`].
#[derive(Clone, Debug)]
pub struct ClientAddress<S> {
    inner: S,
    layer: ClientAddressLayer,
}

impl<S, B> Service<Request<B>> for ClientAddress<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let ClientAddressLayer {
            peer,
            source,
            proxies,
        } = &self.layer;
        let forwarded = proxies.read(*source, request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(*peer));
        match forwarded {
            None => _ = extensions.insert(ClientAddr(source.ip())),
            Some(forwarded) => {
                extensions.insert(ClientAddr(forwarded.client));
                if let Some(id) = forwarded.request_id {
                    extensions.insert(ClientRequestId(id));
                }
                extensions.insert(forwarded.fields);
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};
    use voxgate_core::network::Network;

    use crate::{ClientHeader, ForwardedFields};

    /// The client, the identifier, and whether there is something for the next server.
    async fn seen(source: &str) -> (String, bool, bool) {
        let networks = Network::parse_list("10.0.0.0/8").expect("a network");
        let proxies = TrustedProxies::new(networks, ClientHeader::XForwardedFor);
        let peer = SocketAddr::from(([192, 0, 2, 9], 1));
        let source = SocketAddr::new(source.parse().expect("an address"), 2);
        let layer = ClientAddressLayer::new(peer, source, Arc::new(proxies));
        let service = layer.layer(service_fn(move |request: Request<()>| async move {
            let extensions = request.extensions();
            assert_eq!(extensions.get::<PeerAddr>(), Some(&PeerAddr(peer)));
            let client = extensions.get::<ClientAddr>().expect("a client").0;
            Ok::<_, Infallible>((
                client.to_string(),
                extensions.get::<ClientRequestId>().is_some(),
                extensions.get::<ForwardedFields>().is_some(),
            ))
        }));
        let request = Request::get("/")
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-request-id", "theirs");
        let Ok(seen) = service.oneshot(request.body(()).expect("a request")).await;
        seen
    }

    #[tokio::test]
    async fn headers_count_only_from_a_trusted_source() {
        assert_eq!(
            seen("10.0.0.1").await,
            ("203.0.113.7".to_owned(), true, true)
        );
        assert_eq!(
            seen("192.0.2.9").await,
            ("192.0.2.9".to_owned(), false, false)
        );
    }
}
