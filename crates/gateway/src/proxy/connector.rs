//! Connects to upstreams, within a time limit and within the limit of open files.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

const KEEPALIVE: Duration = Duration::from_secs(60);

/// Connects within `limit`: once for the wait for a permit, and once for name resolution and the
/// handshake.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpConnector,
    limit: Duration,
    /// Permits for connections to upstreams, shared by all workers.
    permits: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(limit: Duration, permits: Arc<Semaphore>) -> Self {
        let mut inner = HttpConnector::new();
        inner.set_nodelay(true);
        inner.set_keepalive(Some(KEEPALIVE));
        Self {
            inner,
            limit,
            permits,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = UpstreamStream;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let connecting = self.inner.call(target);
        let limit = self.limit;
        Box::pin(async move {
            // `connecting` does nothing before it is polled.
            let permit = timeout(limit, permit)
                .await
                .map_err(|_| NoUpstreamPermit)??;
            let connected = timeout(limit, connecting).await;
            let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(UpstreamStream {
                stream,
                _permit: permit,
            })
        })
    }
}

/// No permit became free in time: the process cannot open more connections.
#[derive(Debug)]
pub(super) struct NoUpstreamPermit;

impl fmt::Display for NoUpstreamPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many open connections; raise the limit of open files (`ulimit -n`)")
    }
}

impl Error for NoUpstreamPermit {}

/// A connection that returns its permit when it is closed.
pub(super) struct UpstreamStream {
    stream: TokioIo<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_holds_its_permit_until_it_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target: Uri = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let mut connector = Connector::new(Duration::from_secs(300), Arc::clone(&permits));
        let mut hasty = Connector::new(Duration::from_millis(50), Arc::clone(&permits));
        let first = connector.call(target.clone()).await.unwrap();
        let refused = hasty.call(target.clone()).await.err().unwrap();
        assert!(refused.is::<NoUpstreamPermit>(), "{refused}");
        drop(first);
        assert_eq!(permits.available_permits(), 1);
        assert!(connector.call(target).await.is_ok());
    }
}
