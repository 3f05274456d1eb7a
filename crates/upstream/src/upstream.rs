//! The servers behind one path prefix, and the choice among their addresses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::timeout;

use crate::endpoint::{Endpoint, InFlight};
use crate::error::SendError;
use crate::health::HealthCheck;
use crate::server::{Server, ServerStatus};
use crate::transport::Address;

/// How often an address that is out is tried.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How a gateway treats its upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest time to resolve a name, and to connect.
    pub connect_timeout: Duration,
    /// How often names are resolved again.
    pub resolve_every: Duration,
    /// A connection takes no more requests when it is older; `None` for no limit.
    pub longest_connection_age: Option<Duration>,
    /// Longest time between two parts of an answer while it is the server's turn; `None` for no limit.
    pub answer_pause: Option<Duration>,
    /// The request that a healthy server answers with success.
    pub health: Option<HealthCheck>,
}

/// The servers behind one path prefix.
pub struct Upstream<B> {
    servers: Vec<Arc<Server>>,
    settings: Arc<Settings>,
    workers: usize,
    permits: Arc<Semaphore>,
    endpoints: ArcSwap<Vec<Arc<Endpoint<B>>>>,
    /// Held while names are resolved.
    resolving: Mutex<()>,
    /// Asks for names to be resolved early.
    resolve_now: Notify,
}

impl<B> Upstream<B> {
    /// The servers of one prefix, for so many [clients](crate::Client), one for each worker. Each open
    /// connection has one of `permits`. Names are resolved by [`maintain`](Self::maintain), or by the
    /// first request.
    #[must_use]
    pub fn new(
        servers: Vec<Server>,
        settings: Arc<Settings>,
        workers: usize,
        permits: Arc<Semaphore>,
    ) -> Self {
        let servers: Vec<Arc<Server>> = servers.into_iter().map(Arc::new).collect();
        let literal = |server: &Arc<Server>| {
            let address = server.literal_address()?;
            let endpoint = Endpoint::new(Arc::clone(server), address, workers);
            Some(Arc::new(endpoint))
        };
        let endpoints: Vec<_> = servers.iter().filter_map(literal).collect();
        Self {
            servers,
            settings,
            workers,
            permits,
            endpoints: ArcSwap::from_pointee(endpoints),
            resolving: Mutex::new(()),
            resolve_now: Notify::new(),
        }
    }

    /// The URLs.
    #[must_use]
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub(crate) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    pub(crate) fn endpoints(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint<B>>>>> {
        self.endpoints.load()
    }

    pub(crate) fn resolving(&self) -> &Mutex<()> {
        &self.resolving
    }

    pub(crate) fn resolve_now(&self) -> &Notify {
        &self.resolve_now
    }

    /// Whether host and port in a URL are those of one of the servers: as its own URL names it, or as
    /// an address that its name resolves to. Case does not
    /// matter, and the default port need not be named.
    #[must_use]
    pub fn is_named(&self, authority: &str) -> bool {
        self.servers.iter().any(|own| own.is_named(authority))
            || authority.parse().is_ok_and(|asked: SocketAddr| {
                let asked = Address::from(asked);
                self.endpoints().iter().any(|own| *own.address() == asked)
            })
    }

    /// Each server's connections and addresses, for metrics.
    #[must_use]
    pub fn status(&self) -> Vec<ServerStatus> {
        let endpoints = self.endpoints();
        let of = |server: &Arc<Server>| {
            let (mut addresses, mut out, mut in_flight) = (0, 0, 0);
            for endpoint in endpoints
                .iter()
                .filter(|endpoint| Arc::ptr_eq(endpoint.server(), server))
            {
                addresses += 1;
                out += usize::from(!endpoint.is_available());
                in_flight += endpoint.in_flight();
            }
            server.status(addresses, out, in_flight)
        };
        self.servers.iter().map(of).collect()
    }

    /// Replaces the addresses. Those that stay keep what is known about them; idle connections to the
    /// others are closed, and their requests in flight end as they would.
    pub(crate) fn set_addresses(&self, found: &[(Arc<Server>, Vec<Address>)]) {
        let before = self.endpoints.load_full();
        let mut endpoints = Vec::new();
        for (server, addresses) in found {
            for address in addresses {
                let is_same = |endpoint: &&Arc<Endpoint<B>>| {
                    Arc::ptr_eq(endpoint.server(), server) && endpoint.address() == address
                };
                let endpoint = match before.iter().find(is_same) {
                    Some(endpoint) => Arc::clone(endpoint),
                    None => Arc::new(Endpoint::new(
                        Arc::clone(server),
                        address.clone(),
                        self.workers,
                    )),
                };
                endpoint.set_fallback(!address.has_family_of(&addresses[0]));
                endpoints.push(endpoint);
            }
        }
        for old in before.iter() {
            if !endpoints.iter().any(|endpoint| Arc::ptr_eq(endpoint, old)) {
                let (server, address) = (old.server(), old.address());
                tracing::info!(%server, %address, "the name no longer has this address");
                old.remove();
            }
        }
        self.endpoints.store(Arc::new(endpoints));
    }
}

impl<B: crate::RequestBody> Upstream<B> {
    /// Chooses an address for a request: of two at random, the one with fewer requests in flight
    /// (power of two choices). `avoid` is chosen only if no other address is available.
    ///
    /// # Errors
    ///
    /// When all addresses are out, or when the name cannot be resolved.
    pub(crate) async fn choose(
        &self,
        avoid: Option<&Arc<Endpoint<B>>>,
    ) -> Result<InFlight<B>, SendError> {
        if self.endpoints().is_empty() {
            let limit = self.settings.connect_timeout;
            let resolved = timeout(limit, self.resolve_first()).await;
            let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
            resolved
                .unwrap_or_else(|_| Err(late()))
                .map_err(SendError::resolve)?;
        }
        let endpoints = self.endpoints();
        choose(&endpoints, avoid)
            .map(|endpoint| InFlight::new(Arc::clone(endpoint)))
            .ok_or_else(SendError::all_out)
    }

    /// Another address, to which a connection may succeed when one to those in `tried` does not.
    pub(crate) fn other(&self, tried: &[Arc<Endpoint<B>>]) -> Option<Arc<Endpoint<B>>> {
        let endpoints = self.endpoints();
        let is_new = |endpoint: &&Arc<Endpoint<B>>| {
            endpoint.is_available() && !tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
        };
        let start = random(endpoints.len());
        let (before, from) = endpoints.split_at(start);
        let mut all = from.iter().chain(before).filter(is_new);
        let first = all.next()?;
        let primary = |endpoint: &&Arc<Endpoint<B>>| !endpoint.is_fallback();
        let primary = std::iter::once(first).chain(all).find(primary);
        Some(Arc::clone(primary.unwrap_or(first)))
    }
}

fn random(below: usize) -> usize {
    if below <= 1 {
        0
    } else {
        fastrand::usize(..below)
    }
}

fn choose<'a, B>(
    endpoints: &'a [Arc<Endpoint<B>>],
    avoid: Option<&Arc<Endpoint<B>>>,
) -> Option<&'a Arc<Endpoint<B>>> {
    if let [only] = endpoints {
        return only.is_available().then_some(only);
    }
    let is_avoided =
        |endpoint: &Arc<Endpoint<B>>| avoid.is_some_and(|avoided| Arc::ptr_eq(avoided, endpoint));
    two_choices(endpoints, |endpoint| {
        endpoint.is_available() && !endpoint.is_fallback() && !is_avoided(endpoint)
    })
    .or_else(|| {
        two_choices(endpoints, |endpoint| {
            endpoint.is_available() && !is_avoided(endpoint)
        })
    })
    .or_else(|| two_choices(endpoints, |endpoint| endpoint.is_available()))
}

/// Two different endpoints at random, if there are two; of these the one with less in flight.
fn two_choices<B>(
    endpoints: &[Arc<Endpoint<B>>],
    is_candidate: impl Fn(&Arc<Endpoint<B>>) -> bool,
) -> Option<&Arc<Endpoint<B>>> {
    let candidates = || endpoints.iter().filter(|endpoint| is_candidate(endpoint));
    let count = candidates().count();
    let first = random(count);
    let one = candidates().nth(first)?;
    if count == 1 {
        return Some(one);
    }
    let second = (first + 1 + random(count - 1)) % count;
    let other = candidates().nth(second)?;
    Some(if other.in_flight() < one.in_flight() {
        other
    } else {
        one
    })
}

impl<B> fmt::Debug for Upstream<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.servers.iter().map(ToString::to_string))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::server::Protocol;

    type Body = http_body_util::Full<bytes::Bytes>;

    fn upstream(addresses: &[&str]) -> (Upstream<Body>, Arc<Server>) {
        let settings = Settings {
            connect_timeout: Duration::from_secs(5),
            resolve_every: Duration::from_secs(30),
            longest_connection_age: None,
            answer_pause: None,
            health: None,
        };
        let server = Server::new("tts:1".parse().unwrap(), Protocol::Http1).unwrap();
        let upstream = Upstream::new(
            vec![server],
            Arc::new(settings),
            1,
            Arc::new(Semaphore::new(10)),
        );
        let server = Arc::clone(&upstream.servers()[0]);
        set(&upstream, &server, addresses);
        (upstream, server)
    }

    fn set(upstream: &Upstream<Body>, server: &Arc<Server>, addresses: &[&str]) {
        let address = |text: &&str| Address::from(text.parse::<SocketAddr>().unwrap());
        let addresses = addresses.iter().map(address).collect();
        upstream.set_addresses(&[(Arc::clone(server), addresses)]);
    }

    async fn chosen(upstream: &Upstream<Body>) -> InFlight<Body> {
        upstream.choose(None).await.unwrap()
    }

    fn address(in_flight: &InFlight<Body>) -> String {
        in_flight.endpoint().address().to_string()
    }

    #[tokio::test]
    async fn new_addresses_get_their_share_at_once() {
        let (upstream, server) = upstream(&["10.0.0.1:1"]);
        let mut held = Vec::new();
        for _ in 0..30 {
            held.push(chosen(&upstream).await);
        }
        set(
            &upstream,
            &server,
            &["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"],
        );
        for _ in 0..60 {
            held.push(chosen(&upstream).await);
        }
        let endpoints = upstream.endpoints();
        let in_flight: Vec<usize> = endpoints.iter().map(|own| own.in_flight()).collect();
        assert_eq!(in_flight.iter().sum::<usize>(), 90);
        assert!(
            in_flight.iter().all(|own| (20..=40).contains(own)),
            "{in_flight:?}"
        );
        drop(held);
        assert!(endpoints.iter().all(|own| own.in_flight() == 0));
    }

    #[test]
    fn a_server_is_named_by_its_url_or_an_address() {
        let (upstream, _) = upstream(&["10.0.0.1:1", "[2001:db8::1]:1"]);
        for (authority, expected) in [
            ("tts:1", true),
            ("TTS:1", true),
            ("tts", false),
            ("tts:80", false),
            ("10.0.0.1:1", true),
            ("[2001:DB8::1]:1", true),
            ("10.0.0.2:1", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(upstream.is_named(authority), expected, "{authority}");
        }
    }

    #[tokio::test]
    async fn the_other_family_is_a_fallback() {
        let (upstream, _) = upstream(&["[::1]:1", "127.0.0.1:1"]);
        for _ in 0..20 {
            assert_eq!(address(&chosen(&upstream).await), "[::1]:1");
        }
        let first = Arc::clone(&upstream.endpoints()[0]);
        for _ in 0..3 {
            let error = std::io::ErrorKind::ConnectionRefused.into();
            first.connect_failed(&error, Duration::from_secs(1));
        }
        assert_eq!(address(&chosen(&upstream).await), "127.0.0.1:1");
    }

    #[tokio::test]
    async fn a_retry_goes_elsewhere_and_all_out_is_an_error() {
        let (upstream, _) = upstream(&["10.0.0.1:1", "10.0.0.2:1"]);
        let first = chosen(&upstream).await;
        for _ in 0..20 {
            let other = upstream.choose(Some(first.endpoint())).await.unwrap();
            assert_ne!(address(&other), address(&first));
        }
        for endpoint in upstream.endpoints().iter() {
            let error = std::io::ErrorKind::TimedOut.into();
            endpoint.connect_failed(&error, Duration::from_secs(1));
        }
        let error = upstream.choose(None).await.unwrap_err();
        assert_eq!(error.kind(), crate::SendErrorKind::AllOut);
        assert_eq!(upstream.status()[0].addresses_out, 2);
    }
}
