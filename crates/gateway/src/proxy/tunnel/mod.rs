//! Upgraded connections, byte for byte in both directions, until both have ended or the caller's
//! key no longer counts.

mod cut;
mod flow;
mod frames;
#[cfg(test)]
mod tests;

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::maybe_done;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::{sleep, timeout};
use voxgate::Tunnel;
use voxgate::audit::Ended;

use self::cut::{GRACE, cut};
use self::flow::{Flow, Side};

/// How long the second direction may outlive the first. A WebSocket closes as a whole
/// (RFC 6455 §7.1.1), so little is in flight then.
const LINGER: Duration = Duration::from_secs(5);

/// Carries bytes between the two connections until both directions have ended, or until `revoked`
/// resolves: then the tunnel is cut, and has ended within a second. With `idle`, it also ends when nothing
/// was carried for so long.
///
/// # Cancel safety
///
/// When it is dropped before, both connections are closed and the tunnel is on record as drained,
/// with what it carried; as revoked, if it was being cut.
pub(super) fn carry(
    tunnel: Tunnel,
    client: OnUpgrade,
    upstream: OnUpgrade,
    revoked: impl Future<Output = ()> + Send,
    idle: Option<Duration>,
) -> impl Future<Output = ()> + Send {
    // Created at once, so that a tunnel that is never polled is on record as well.
    let record = TunnelRecord {
        tunnel,
        progress: TunnelProgress::default(),
    };
    carry_upgraded(record, client, upstream, revoked, idle)
}

async fn carry_upgraded(
    mut record: TunnelRecord,
    client: OnUpgrade,
    upstream: OnUpgrade,
    revoked: impl Future<Output = ()>,
    idle: Option<Duration>,
) {
    let progress = &mut record.progress;
    // Can be awaited again after it has resolved.
    let mut revoked = pin!(maybe_done(revoked));
    let upgraded = tokio::select! {
        upgraded = async { (client.await, upstream.await) } => upgraded,
        () = async { revoked.as_mut().await; sleep(GRACE).await } => {
            return progress.ended = Ended::Revoked;
        }
    };
    let (client, upstream) = match upgraded {
        (Ok(client), Ok(upstream)) => (TokioIo::new(client), TokioIo::new(upstream)),
        (Err(_), _) => return progress.ended = Ended::ClientAbort,
        (_, Err(_)) => return progress.ended = Ended::UpstreamAbort,
    };
    relay(client, upstream, revoked, idle, progress).await;
}

async fn relay(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    revoked: impl Future<Output = ()>,
    idle: Option<Duration>,
    progress: &mut TunnelProgress,
) {
    let (client_read, client_write) = split(client);
    let (upstream_read, upstream_write) = split(upstream);
    let mut to_upstream = Flow::new(
        Side::Client,
        client_read,
        upstream_write,
        &progress.to_upstream,
    );
    let mut to_client = Flow::new(
        Side::Upstream,
        upstream_read,
        client_write,
        &progress.to_client,
    );
    let ended = tokio::select! {
        // Not one more read for a key that no longer counts.
        biased;
        () = revoked => None,
        () = progress.stands_still(idle) => return progress.ended = Ended::Timeout,
        ended = both(to_upstream.copy(), to_client.copy()) => Some(ended),
    };
    progress.ended = match ended {
        None => Ended::Revoked,
        Some(Ok(())) => Ended::Ok,
        Some(Err(Side::Client)) => Ended::ClientAbort,
        Some(Err(Side::Upstream)) => Ended::UpstreamAbort,
    };
    if ended.is_none() {
        cut(&mut to_upstream, &mut to_client).await;
    }
}

/// Waits for both directions; for the second one not much longer than for the first.
async fn both(
    to_upstream: impl Future<Output = Result<(), Side>>,
    to_client: impl Future<Output = Result<(), Side>>,
) -> Result<(), Side> {
    tokio::pin!(to_upstream, to_client);
    tokio::select! {
        first = &mut to_upstream => match first {
            Ok(()) => timeout(LINGER, to_client).await.unwrap_or(Ok(())),
            failed => failed,
        },
        first = &mut to_client => match first {
            Ok(()) => timeout(LINGER, to_upstream).await.unwrap_or(Ok(())),
            failed => failed,
        },
    }
}

/// The tunnel's part of the audit record. It is written on drop, however the tunnel ends.
struct TunnelRecord {
    tunnel: Tunnel,
    progress: TunnelProgress,
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        let sent = self.progress.to_client.load(Ordering::Relaxed);
        let received = self.progress.to_upstream.load(Ordering::Relaxed);
        self.tunnel.carried(sent, received);
        self.tunnel.end(self.progress.ended);
    }
}

/// The progress of a tunnel. It counts bytes that one side sent and the other side was given: not
/// bytes that were read and never written, and not a Close frame of the gateway.
struct TunnelProgress {
    to_client: AtomicU64,
    to_upstream: AtomicU64,
    ended: Ended,
}

impl TunnelProgress {
    /// Resolves when nothing was carried for `limit`, or up to a quarter longer.
    async fn stands_still(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return pending().await;
        };
        let carried = || {
            let to_client = self.to_client.load(Ordering::Relaxed);
            (to_client, self.to_upstream.load(Ordering::Relaxed))
        };
        let (mut before, mut quarters) = (carried(), 0);
        while quarters < 5 {
            sleep(limit / 4).await;
            let now = carried();
            quarters = if now == before { quarters + 1 } else { 0 };
            before = now;
        }
    }
}

impl Default for TunnelProgress {
    fn default() -> Self {
        Self {
            to_client: AtomicU64::new(0),
            to_upstream: AtomicU64::new(0),
            ended: Ended::Drained,
        }
    }
}
