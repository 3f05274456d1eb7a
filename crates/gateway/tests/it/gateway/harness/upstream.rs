//! Servers that stand behind the gateway.

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};

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

/// Hands each connection to `handle`.
pub(crate) async fn serve_raw<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(handle(stream));
        }
    });
    address
}
