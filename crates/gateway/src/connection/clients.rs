//! How the gateway finds out which client a connection or a request is from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use voxgate::principal::Network;
use voxgate_client_address::{ClientAddressLayer, TrustedProxies};

/// The proxies and load balancers in front of the gateway. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientAddresses {
    /// Proxies that name the client in a header of each request.
    proxies: Arc<TrustedProxies>,
    /// Networks of load balancers that begin each connection with a PROXY protocol header.
    load_balancers: Arc<[Network]>,
}

impl ClientAddresses {
    pub(crate) fn new(proxies: TrustedProxies, load_balancers: Vec<Network>) -> Self {
        Self {
            proxies: Arc::new(proxies),
            load_balancers: load_balancers.into(),
        }
    }

    /// Whether there are trusted proxies.
    pub(crate) fn has_proxies(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// The trusted proxies.
    pub(crate) fn proxies(&self) -> Arc<TrustedProxies> {
        Arc::clone(&self.proxies)
    }

    /// Whether connections from this address must begin with a PROXY protocol header.
    pub(super) fn begin_with_header(&self, peer: IpAddr) -> bool {
        self.load_balancers
            .iter()
            .any(|network| network.contains(peer))
    }

    /// The client for which a new connection counts. `None` for one that has those of many clients.
    pub(super) fn counted(&self, peer: IpAddr) -> Option<IpAddr> {
        self.counted_source(peer)
            .filter(|peer| !self.begin_with_header(*peer))
    }

    /// The client for which a connection counts whose header names this address.
    pub(super) fn counted_source(&self, source: IpAddr) -> Option<IpAddr> {
        (!self.proxies.contain(source)).then_some(source)
    }

    /// The layer that tells who sent each request of a connection.
    pub(super) fn layer(&self, peer: SocketAddr, source: SocketAddr) -> ClientAddressLayer {
        ClientAddressLayer::new(peer, source, Arc::clone(&self.proxies))
    }
}
