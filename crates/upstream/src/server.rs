//! One URL of an upstream, and what happened to its connections.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use voxgate_tls::{Alpn, ClientTls};

use crate::transport::{Address, HttpVersion, ServerTls};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 over TCP (`http://`). gRPC uses HTTP/2 with prior knowledge.
    Http1,
    /// HTTP/2 over TCP, with prior knowledge (`h2c://`, RFC 9113 §3.3).
    Http2,
    /// HTTP over TLS (`https://`): the server chooses HTTP/2 or HTTP/1.1 by ALPN (RFC 7301). gRPC uses
    /// HTTP/2, and an upgrade uses HTTP/1.1.
    Negotiated,
}

/// One URL of an upstream. Its name can have several addresses.
#[derive(Debug)]
pub struct Server {
    /// How the server is named to people.
    name: String,
    authority: Authority,
    protocol: Protocol,
    host: HeaderValue,
    tls: Option<ServerTls>,
    socket: Option<Arc<Path>>,
    /// The server chose HTTP/2 when it was asked last.
    negotiates_http2: AtomicBool,
    pub(crate) counters: Counters,
}

impl Server {
    /// The server with this host and port, without TLS. The port is 80 if none is given (RFC 9110
    /// §4.2.1).
    ///
    /// Returns `None` when the authority contains a user name, or a character that is not allowed in a
    /// `Host` header.
    #[must_use]
    pub fn new(authority: Authority, protocol: Protocol) -> Option<Self> {
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        let is_plain = !authority.as_str().contains('@');
        is_plain.then(|| Self {
            name: authority.to_string(),
            authority,
            protocol,
            host,
            tls: None,
            socket: None,
            negotiates_http2: AtomicBool::new(false),
            counters: Counters::default(),
        })
    }

    /// The server with this host and port, over TLS. The port is 443 if none is given (RFC 9110
    /// §4.2.2).
    ///
    /// Returns `None` as [`new`](Self::new) does, and when the host is neither a DNS name nor an IP
    /// address, so that there is no name to verify.
    #[must_use]
    pub fn over_tls(authority: Authority, tls: ClientTls) -> Option<Self> {
        let server = Self::new(authority, Protocol::Negotiated)?;
        let tls = ServerTls::new(tls, server.host())?;
        Some(Self {
            tls: Some(tls),
            ..server
        })
    }

    /// The server that listens on a Unix socket. Its `Host` is `localhost`.
    #[must_use]
    pub fn at_socket(path: &Path, protocol: Protocol) -> Option<Self> {
        let server = Self::new(Authority::from_static("localhost"), protocol)?;
        Some(Self {
            name: format!("unix:{}", path.display()),
            socket: Some(Arc::from(path)),
            ..server
        })
    }

    /// Host and port, as the URL names them.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What the server speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn host_header(&self) -> HeaderValue {
        self.host.clone()
    }

    pub(crate) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(self.default_port())
    }

    fn default_port(&self) -> u16 {
        if self.tls.is_some() { 443 } else { 80 }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Whether host and port in a URL are those of the server. Case does not matter, and the default
    /// port need not be named.
    pub(crate) fn is_named(&self, authority: &str) -> bool {
        let host_and_port = |authority: &str| {
            let authority: Authority = authority.trim_end_matches(':').parse().ok()?;
            let port = authority.port_u16().unwrap_or(self.default_port());
            Some((authority.host().to_ascii_lowercase(), port))
        };
        let named = host_and_port(authority);
        named.is_some()
            && self.socket.is_none()
            && named == Some((self.authority.host().to_ascii_lowercase(), self.port()))
    }

    /// The protocols in which a request can be sent.
    pub(crate) fn alpn(&self, needs_http2: bool, is_upgrade: bool) -> Alpn {
        match self.protocol {
            Protocol::Http2 => Alpn::Http2,
            _ if needs_http2 => Alpn::Http2,
            Protocol::Http1 => Alpn::Http1,
            Protocol::Negotiated if is_upgrade => Alpn::Http1,
            Protocol::Negotiated => Alpn::Either,
        }
    }

    /// Remembers what the server chose.
    pub(crate) fn negotiated(&self, version: HttpVersion) {
        let is_http2 = version == HttpVersion::Http2;
        self.negotiates_http2.store(is_http2, Ordering::Relaxed);
    }

    /// Whether the server chose HTTP/2 when it was asked last.
    pub(crate) fn negotiates_http2(&self) -> bool {
        self.negotiates_http2.load(Ordering::Relaxed)
    }

    /// The address, if the URL names one and not a host name.
    pub(crate) fn literal_address(&self) -> Option<Address> {
        if let Some(path) = &self.socket {
            return Some(Address::Socket(Arc::clone(path)));
        }
        let address: IpAddr = self.host().parse().ok()?;
        Some(SocketAddr::new(address, self.port()).into())
    }
}

/// What happened to the connections of one server, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicUsize,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) ejections: Counter,
    pub(crate) retries: Counter,
    pub(crate) failed_checks: Counter,
    pub(crate) failed_lookups: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One server's connections and addresses, for metrics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Host and port as the URL names them, or the path of the Unix socket.
    pub server: String,
    /// Addresses that the name resolves to.
    pub addresses: usize,
    /// Addresses that get no requests: connecting or the health check failed.
    pub addresses_out: usize,
    /// Requests and tunnels in flight.
    pub in_flight: usize,
    /// Open connections.
    pub connections: usize,
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Times that an address was taken out because connecting to it failed.
    pub ejections: u64,
    /// Requests sent again, because this server had not processed them.
    pub retries: u64,
    /// Health checks that failed.
    pub failed_checks: u64,
    /// Name look-ups that failed.
    pub failed_lookups: u64,
}

impl ServerStatus {
    /// Adds what is counted for the same server behind another prefix.
    pub fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.connections += other.connections;
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.ejections += other.ejections;
        self.retries += other.retries;
        self.failed_checks += other.failed_checks;
        self.failed_lookups += other.failed_lookups;
        self.addresses = self.addresses.max(other.addresses);
        self.addresses_out = self.addresses_out.max(other.addresses_out);
    }
}

impl Server {
    /// `addresses`: how many there are, how many of them are out, and what is in flight on all.
    pub(crate) fn status(&self, addresses: usize, out: usize, in_flight: usize) -> ServerStatus {
        let counters = &self.counters;
        ServerStatus {
            server: self.name.clone(),
            addresses,
            addresses_out: out,
            in_flight,
            connections: counters.connections.load(Ordering::Relaxed),
            connects: counters.connects.value(),
            connect_failures: counters.connect_failures.value(),
            ejections: counters.ejections.value(),
            retries: counters.retries.value(),
            failed_checks: counters.failed_checks.value(),
            failed_lookups: counters.failed_lookups.value(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
