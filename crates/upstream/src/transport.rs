//! What is below HTTP: TCP, TLS over TCP, or a Unix socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use voxgate_tls::{Alpn, ClientTls};

use crate::server::Server;

const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(SocketAddr),
    Socket(Arc<Path>),
}

impl Address {
    /// Whether it is of the same family of IP addresses as the other one.
    pub(crate) fn has_family_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(other)) => one.is_ipv4() == other.is_ipv4(),
            _ => true,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An open connection, before HTTP begins on it.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Transport {
    /// Connects to an address of a server. Without TLS, HTTP/2 is spoken if `alpn` has it alone.
    ///
    /// # Errors
    ///
    /// When the address does not answer, or the server cannot be verified: then the error says why.
    pub(crate) async fn open(
        address: &Address,
        server: &Server,
        alpn: Alpn,
    ) -> io::Result<(Self, HttpVersion)> {
        let tcp = match address {
            Address::Ip(address) => TcpStream::connect(address).await?,
            Address::Socket(path) => {
                let stream = UnixStream::connect(path).await?;
                return Ok((Self::Unix(stream), HttpVersion::without_tls(alpn)));
            }
        };
        prepare(&tcp);
        let Some(tls) = server.tls() else {
            return Ok((Self::Tcp(tcp), HttpVersion::without_tls(alpn)));
        };
        let stream = tls.connect(tcp, alpn).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => HttpVersion::Http2,
            _ if alpn == Alpn::Http2 => {
                let message = "the server does not offer HTTP/2 by ALPN, which gRPC needs";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            _ => HttpVersion::Http1,
        };
        if alpn == Alpn::Either {
            server.negotiated(version);
        }
        Ok((Self::Tls(Box::new(stream)), version))
    }
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http1,
    Http2,
}

impl HttpVersion {
    fn without_tls(alpn: Alpn) -> Self {
        match alpn {
            Alpn::Http2 => Self::Http2,
            Alpn::Http1 | Alpn::Either => Self::Http1,
        }
    }
}

/// TLS to one server.
#[derive(Debug)]
pub(crate) struct ServerTls {
    tls: ClientTls,
    name: ServerName<'static>,
}

impl ServerTls {
    /// `None` if the host is neither a DNS name nor an IP address.
    pub(crate) fn new(tls: ClientTls, host: &str) -> Option<Self> {
        let name = match tls.server_name() {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).ok()?,
        };
        Some(Self { tls, name })
    }

    async fn connect(&self, tcp: TcpStream, alpn: Alpn) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.tls.config(alpn));
        let connecting = connector.connect(self.name.clone(), tcp);
        connecting.await.map_err(|error| match tls_cause(&error) {
            Some(cause) => io::Error::new(error.kind(), voxgate_tls::describe(cause)),
            None => {
                let message = format!("the TLS handshake failed: {error}");
                io::Error::new(error.kind(), message)
            }
        })
    }
}

/// The error of TLS in an error of a socket.
pub(crate) fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn prepare(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    // The connection also works without these options.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Calls a method of the stream inside.
macro_rules! inner {
    ($transport:ident.$method:ident($($argument:expr),*)) => {
        match $transport.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self.poll_write_vectored(cx, bufs))
    }
}
