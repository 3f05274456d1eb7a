//! Servers that stand behind the gateway.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Router;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// A free port of this machine.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Serves an axum router, in HTTP/1.1 and HTTP/2, for as long as the test's runtime lives.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let service = hyper_util::service::TowerToHyperService::new(router);
    serve_raw(move |stream| {
        let service = service.clone();
        async move {
            let builder =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = builder.serve_connection_with_upgrades(io, service).await;
        }
    })
    .await
}

/// Listens on `address`, also if another listener of this process had it.
///
/// A test that starts a program forks, and the fork keeps the closed listener open until it runs the
/// program. The address is in use for that long.
pub(crate) async fn listen(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            bound => return bound.unwrap(),
        }
    }
}

/// An address without a listener. No other program can bind it while the socket exists.
pub(crate) fn nowhere() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&ANY.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Hands each connection to `handle`.
pub(crate) async fn serve_raw<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = listen(ANY).await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(handle(stream));
        }
    });
    address
}
