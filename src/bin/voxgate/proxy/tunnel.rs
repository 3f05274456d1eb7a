//! Upgraded connections, byte for byte in both directions.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy, split};
use tokio::time::timeout;
use voxgate::Tunnel;
use voxgate::audit::Ended;

/// How long the second direction may outlive the first. A WebSocket closes as a whole
/// (RFC 6455 §7.1.1), so what is still under way then is little.
const LINGER: Duration = Duration::from_secs(5);

/// Carries bytes between the two connections until both directions have ended.
///
/// # Cancel safety
///
/// When it is dropped before, both connections are closed and the tunnel is on record as drained,
/// with what it carried.
pub(super) fn carry(
    tunnel: Tunnel,
    client: OnUpgrade,
    upstream: OnUpgrade,
) -> impl Future<Output = ()> {
    // Made at once, so that a tunnel that is never polled is on record as well.
    let record = Record {
        tunnel,
        counts: Arc::default(),
        ended: Ended::Drained,
    };
    carry_on(record, client, upstream)
}

async fn carry_on(mut record: Record, client: OnUpgrade, upstream: OnUpgrade) {
    let (client, upstream) = match (client.await, upstream.await) {
        (Ok(client), Ok(upstream)) => (TokioIo::new(client), TokioIo::new(upstream)),
        (Err(_), _) => return record.ended = Ended::ClientAbort,
        (_, Err(_)) => return record.ended = Ended::UpstreamAbort,
    };
    let (client_read, client_write) = split(client);
    let (upstream_read, upstream_write) = split(upstream);
    let counts = Arc::clone(&record.counts);
    let client_read = Counted::new(client_read, Side::Client, Arc::clone(&counts));
    let upstream_read = Counted::new(upstream_read, Side::Upstream, counts);
    let to_upstream = direction(client_read, upstream_write);
    let to_client = direction(upstream_read, client_write);
    tokio::pin!(to_upstream, to_client);
    let first = tokio::select! {
        first = &mut to_upstream => match first {
            Ok(()) => timeout(LINGER, to_client).await.unwrap_or(Ok(())),
            failed => failed,
        },
        first = &mut to_client => match first {
            Ok(()) => timeout(LINGER, to_upstream).await.unwrap_or(Ok(())),
            failed => failed,
        },
    };
    record.ended = match first {
        Ok(()) => Ended::Ok,
        Err(Side::Client) => Ended::ClientAbort,
        Err(Side::Upstream) => Ended::UpstreamAbort,
    };
}

/// Copies one direction and passes its end on. The error is the side that broke off.
async fn direction<R: AsyncRead + Unpin>(
    mut from: Counted<R>,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Side> {
    match copy(&mut from, &mut to).await {
        Ok(_) => {
            // A receiver that has already gone needs no goodbye.
            let _ = to.shutdown().await;
            Ok(())
        }
        Err(_) if from.failed => Err(from.side),
        Err(_) => Err(from.side.other()),
    }
}

/// What is known of the tunnel so far. Dropping it is the end of the record, on every way out.
struct Record {
    tunnel: Tunnel,
    counts: Arc<Counts>,
    ended: Ended,
}

impl Drop for Record {
    fn drop(&mut self) {
        let sent = self.counts.from_upstream.load(Ordering::Relaxed);
        let received = self.counts.from_client.load(Ordering::Relaxed);
        self.tunnel.carried(sent, received);
        self.tunnel.end(self.ended);
    }
}

#[derive(Default)]
struct Counts {
    from_client: AtomicU64,
    from_upstream: AtomicU64,
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Upstream,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// Counts what is read from one side, and remembers whether reading failed.
struct Counted<R> {
    inner: R,
    side: Side,
    counts: Arc<Counts>,
    failed: bool,
}

impl<R> Counted<R> {
    fn new(inner: R, side: Side, counts: Arc<Counts>) -> Self {
        Self {
            inner,
            side,
            counts,
            failed: false,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.failed = read.is_err();
        let count = match self.side {
            Side::Client => &self.counts.from_client,
            Side::Upstream => &self.counts.from_upstream,
        };
        count.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(read)
    }
}
