//! Listening sockets: one for each worker, all on the same address.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use voxgate::PeerAddr;

const BACKLOG: i32 = 1024;
/// The address on record for clients of a Unix socket, which have none. No TCP client has port 0.
pub(crate) const UNIX_PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Where the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `address:port`, or `unix:/path`. `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                let is_file = path.starts_with('/') && !path.ends_with('/');
                is_file.then(|| Self::Unix(PathBuf::from(path)))
            }
            None => {
                let address = text.parse().map(PeerAddr).ok()?;
                Some(Self::Ip(PeerAddr::canonical(address)))
            }
        }
    }

    /// Whether other machines cannot connect.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    pub(crate) fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens. Tokio does not know it yet.
pub(crate) enum BoundListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets of one address.
pub(crate) struct Bound {
    pub(crate) listeners: Vec<BoundListener>,
    /// The address, with the port that the system chose.
    pub(crate) address: ListenAddress,
    /// Removes the file of a Unix socket when it is dropped.
    pub(crate) file: Option<SocketFile>,
}

/// Binds `count` sockets to `address`; the system distributes new connections among them. Port 0
/// stands for a free port, the same for all sockets. The file of a Unix socket gets the permissions
/// `mode`.
///
/// # Errors
///
/// When the address cannot be bound, or another process already listens on it.
pub(crate) fn bind(address: &ListenAddress, mode: u32, count: usize) -> io::Result<Bound> {
    match address {
        ListenAddress::Ip(address) => {
            let listeners = bind_tcp(*address, count)?;
            let first = listeners.first().map(TcpListener::local_addr);
            let bound = first.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))?;
            Ok(Bound {
                listeners: listeners.into_iter().map(BoundListener::Tcp).collect(),
                address: ListenAddress::Ip(PeerAddr(bound).canonical()),
                file: None,
            })
        }
        ListenAddress::Unix(path) => {
            let (listener, file) = bind_unix(path, mode)?;
            let mut listeners = Vec::new();
            for _ in 1..count {
                listeners.push(BoundListener::Unix(listener.try_clone()?));
            }
            listeners.push(BoundListener::Unix(listener));
            Ok(Bound {
                listeners,
                address: address.clone(),
                file: Some(file),
            })
        }
    }
}

/// The file of a Unix socket. It is removed when this is dropped, unless another socket took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // The directory may be gone.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Binds a Unix socket. A connection is refused until the file has its permissions.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    remove_dead_socket(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Removes the socket of a process that has ended.
///
/// # Errors
///
/// When a process listens on it, or when it is no socket: a file is never removed.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(file) => file.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        let message = "a file with this name is not a socket; remove it, or name another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "removing the socket of a process that has ended");
            fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// Binds `count` sockets to an IP address, as [`bind`] does.
pub(crate) fn bind_tcp(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // With SO_REUSEPORT a second process of the same user could share the port without an error, and
    // each would get half of the connections. So the port is first bound without it.
    let probe = open(address, false)?;
    let address = local_address(&probe)?;
    drop(probe);
    (0..count.max(1))
        .map(|_| {
            let socket = open(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier process in TIME_WAIT do not block the port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the socket has no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn all_listeners_share_one_port() {
        let listeners = bind_tcp(local(0), 3).expect("a free port");
        let first = listeners[0].local_addr().expect("an address");
        assert_ne!(first.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().expect("an address"), first);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_not_shared_with_a_stranger() {
        let ours = bind_tcp(local(0), 2).expect("a free port");
        let taken = ours[0].local_addr().expect("an address");
        let error = bind_tcp(taken, 2).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_is_an_ip_address_or_the_absolute_path_of_a_socket() {
        for (text, expected) in [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::ffff:127.0.0.1]:80", Some("127.0.0.1:80")),
            ("unix:/run/voxgate.sock", Some("unix:/run/voxgate.sock")),
            ("unix:///run/voxgate.sock", Some("unix:/run/voxgate.sock")),
            ("unix:voxgate.sock", None),
            ("unix:/run/", None),
            ("unix:", None),
            ("/run/voxgate.sock", None),
            ("localhost:80", None),
        ] {
            let read = ListenAddress::parse(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_a_dead_socket_is_removed_and_only_the_own_one_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("voxgate.sock");
        let address = ListenAddress::Unix(path.clone());
        let kind = |mode| bind(&address, mode, 2).map_err(|error| error.kind());
        let bound = kind(0o600).expect("a socket");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(kind(0o600).err(), Some(io::ErrorKind::AddrInUse));
        drop(bound);
        assert!(!path.exists());

        // A process that was killed leaves its socket.
        drop(UnixListener::bind(&path).expect("a socket"));
        let bound = kind(0o660).expect("the dead socket was removed");
        // Another process took the place: its socket stays.
        fs::remove_file(&path).expect("a socket");
        let other = UnixListener::bind(&path).expect("a socket");
        drop(bound);
        assert!(path.exists());
        drop(other);

        fs::remove_file(&path).expect("a socket");
        fs::write(&path, "not a socket").expect("a file");
        assert_eq!(kind(0o600).err(), Some(io::ErrorKind::AlreadyExists));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let linked = bind(&ListenAddress::Unix(link), 0o600, 1).err();
        assert_eq!(
            linked.map(|error| error.kind()),
            Some(io::ErrorKind::AlreadyExists)
        );
        assert_eq!(fs::read_to_string(&path).expect("a file"), "not a socket");
    }
}
