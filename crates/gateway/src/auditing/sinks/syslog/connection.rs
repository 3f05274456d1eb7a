//! Connections to syslog servers.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::Server;

const WITHIN: Duration = Duration::from_secs(5);
/// Data in this buffer is lost without notice when a connection breaks, since syslog has no
/// answers. So it is small.
const SEND_BUFFER: usize = 64 * 1024;

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A connection to a syslog server.
pub(super) enum Connection {
    Datagram(UnixDatagram),
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

/// How a stream tells one message from the next.
#[derive(Clone, Copy)]
pub(super) enum Framing {
    /// The length of each comes before it (RFC 6587 §3.4.1, RFC 5425 §4.3).
    Counted,
    /// Each ends with a newline (RFC 6587 §3.4.2), which is what local sockets take.
    Line,
}

impl Framing {
    pub(super) fn write(self, buffer: &mut String, message: &str) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Counted => write!(buffer, "{} {message}", message.len()),
            Self::Line => writeln!(buffer, "{message}"),
        };
    }
}

impl Connection {
    pub(super) fn open(server: &Server, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        match server {
            Server::Unix(path) => open_unix(path),
            Server::Tcp(address) => open_tcp(address).map(Self::Tcp),
            Server::Tls(address, name) => {
                let config = tls.ok_or(ErrorKind::Unsupported)?;
                let connection = ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, open_tcp(address)?);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }

    /// `None` for datagrams.
    pub(super) fn framing(&self) -> Option<Framing> {
        match self {
            Self::Datagram(_) => None,
            Self::Unix(_) => Some(Framing::Line),
            Self::Tcp(_) | Self::Tls(_) => Some(Framing::Counted),
        }
    }

    /// Sends a datagram.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(message).map(drop),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Writes to a stream.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(_) => Err(ErrorKind::Unsupported.into()),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    /// The connection, unless the server has closed it: data written after that is lost.
    pub(super) fn unless_closed(mut self) -> Option<Self> {
        (!self.is_closed()).then_some(self)
    }

    fn is_closed(&mut self) -> bool {
        match self {
            // The next message says so by itself.
            Self::Datagram(_) => false,
            Self::Unix(stream) => is_end(stream, |mut stream| stream.read(&mut [0; 64])),
            Self::Tcp(stream) => is_end(stream, |mut stream| stream.read(&mut [0; 64])),
            Self::Tls(stream) => {
                let StreamOwned { conn, sock } = &mut **stream;
                // rustls handles messages that a server sends on its own, such as new tickets.
                let is_end = is_end(sock, |mut sock| conn.read_tls(&mut sock));
                let state = conn.process_new_packets();
                is_end || state.map_or(true, |state| state.peer_has_closed())
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Self::Tls(stream) = self {
            // RFC 5425 §4.4: the side that closes sends `close_notify`. The connection may be broken already.
            stream.conn.send_close_notify();
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
    }
}

/// Whether the other side has closed the connection. Does not wait.
fn is_end<S: AsFd>(stream: &S, read: impl FnOnce(&S) -> io::Result<usize>) -> bool {
    let socket = SockRef::from(stream);
    let looked = socket.set_nonblocking(true).and_then(|()| {
        let looked = read(stream);
        socket.set_nonblocking(false)?;
        looked
    });
    match looked {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// A message is longer than the socket takes.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

fn open_unix(path: &Path) -> io::Result<Connection> {
    let datagram = UnixDatagram::unbound()?;
    match datagram.connect(path) {
        Ok(()) => {
            datagram.set_write_timeout(Some(WITHIN))?;
            Ok(Connection::Datagram(datagram))
        }
        Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            // The time limit comes first: connecting waits while too many others do.
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_write_timeout(Some(WITHIN))?;
            socket.connect(&SockAddr::unix(path)?)?;
            Ok(Connection::Unix(socket.into()))
        }
        Err(error) => Err(error),
    }
}

fn open_tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = ErrorKind::NotFound.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => {
                stream.set_write_timeout(Some(WITHIN))?;
                stream.set_read_timeout(Some(WITHIN))?;
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                socket.set_send_buffer_size(SEND_BUFFER)?;
                socket.set_keepalive(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
