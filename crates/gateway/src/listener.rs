//! Listening sockets: one for each worker, all on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 1024;

/// Binds `count` sockets to `address`; the system distributes new connections among them. Port 0
/// stands for a free port, the same for all sockets.
///
/// # Errors
///
/// When the address cannot be bound, or another process already listens on it.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
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
        let listeners = bind(local(0), 3).expect("a free port");
        let first = listeners[0].local_addr().expect("an address");
        assert_ne!(first.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().expect("an address"), first);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_not_shared_with_a_stranger() {
        let ours = bind(local(0), 2).expect("a free port");
        let taken = ours[0].local_addr().expect("an address");
        let error = bind(taken, 2).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
