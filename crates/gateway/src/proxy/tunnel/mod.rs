//! Upgraded connections, until both directions have ended or the caller's key no longer counts.
//!
//! Bytes are copied, unless the [messages](inspection) of the client have to be read.

mod cut;
mod flow;
mod frames;
mod inspection;
#[cfg(test)]
mod tests;

use std::future::{Future, pending};
use std::io::Cursor;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::maybe_done;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, split};
use tokio::time::{sleep, timeout};
use voxgate::Tunnel;
use voxgate::audit::Ended;
use voxgate_usage::TunnelReader;

use self::cut::{Farewell, GRACE, cut};
use self::flow::{Flow, FlowError, Side};
pub(super) use self::inspection::{Inspect, Inspection, Refusal};

/// How long the second direction may outlive the first. A WebSocket closes as a whole
/// (RFC 6455 §7.1.1), so little is in flight then.
const LINGER: Duration = Duration::from_secs(5);

/// What reads the messages of the two sides.
#[derive(Default)]
pub(super) struct Readers {
    /// Those of the client, before they go upstream.
    pub(super) inspection: Option<Inspection>,
    /// Those of the upstream, in passing.
    pub(super) usage: Option<TunnelReader>,
}

/// The client's side of a tunnel.
pub(super) enum ClientEnd {
    /// Its connection is upgraded when it has been answered.
    Answered(OnUpgrade),
    /// Its connection is upgraded, and it has sent these bytes, which go upstream first.
    Upgraded(TokioIo<Upgraded>, Vec<u8>),
}

/// Carries bytes between the two connections until both directions have ended, or until `revoked`
/// resolves: then the tunnel is cut, and has ended within a second. With `idle`, it is also cut when
/// nothing was carried for so long.
///
/// # Cancel safety
///
/// When it is dropped before, both connections are closed and the tunnel is on record as drained,
/// with what it carried; as revoked, if it was being cut.
pub(super) fn carry(
    tunnel: Tunnel,
    client: ClientEnd,
    upstream: OnUpgrade,
    readers: Readers,
    revoked: impl Future<Output = ()> + Send,
    idle: Option<Duration>,
) -> impl Future<Output = ()> + Send {
    // Created at once, so that a tunnel that is never polled is on record as well.
    let record = TunnelRecord {
        tunnel,
        progress: TunnelProgress::default(),
    };
    carry_upgraded(record, client, upstream, readers, revoked, idle)
}

async fn carry_upgraded(
    mut record: TunnelRecord,
    client: ClientEnd,
    upstream: OnUpgrade,
    readers: Readers,
    revoked: impl Future<Output = ()>,
    idle: Option<Duration>,
) {
    let progress = &mut record.progress;
    // Can be awaited again after it has resolved.
    let mut revoked = pin!(maybe_done(revoked));
    let client = async {
        match client {
            ClientEnd::Answered(client) => Ok((TokioIo::new(client.await?), Vec::new())),
            ClientEnd::Upgraded(client, unread) => Ok((client, unread)),
        }
    };
    let upgraded = tokio::select! {
        upgraded = async { (client.await, upstream.await) } => upgraded,
        () = async { revoked.as_mut().await; sleep(GRACE).await } => {
            return progress.ended = Ended::Revoked;
        }
    };
    let ((client, unread), upstream) = match upgraded {
        (Ok(client), Ok(upstream)) => (client, TokioIo::new(upstream)),
        (Err::<_, hyper::Error>(_), _) => return progress.ended = Ended::ClientAbort,
        (_, Err(_)) => return progress.ended = Ended::UpstreamAbort,
    };
    let client = (client, unread);
    relay(client, upstream, readers, revoked, idle, progress).await;
}

async fn relay(
    (client, unread): (impl AsyncRead + AsyncWrite, Vec<u8>),
    upstream: impl AsyncRead + AsyncWrite,
    readers: Readers,
    revoked: impl Future<Output = ()>,
    idle: Option<Duration>,
    progress: &mut TunnelProgress,
) {
    let (client_read, client_write) = split(client);
    let (upstream_read, upstream_write) = split(upstream);
    let mut to_upstream = Flow::new(
        Side::Client,
        Cursor::new(unread).chain(client_read),
        upstream_write,
        &progress.to_upstream,
    );
    let mut to_client = Flow::new(
        Side::Upstream,
        upstream_read,
        client_write,
        &progress.to_client,
    );
    to_client.listen(readers.usage);
    if let Some(inspection) = readers.inspection {
        to_upstream.inspect(inspection);
    }
    let (ended, farewell) = tokio::select! {
        // Not one more read for a key that no longer counts.
        biased;
        () = revoked => (Ended::Revoked, Some(Farewell::revoked())),
        () = progress.stands_still(idle) => (Ended::Timeout, Some(Farewell::idle())),
        ended = both(to_upstream.copy(), to_client.copy()) => match ended {
            Ok(()) => (Ended::Ok, None),
            Err(FlowError::Broken(Side::Client)) => (Ended::ClientAbort, None),
            Err(FlowError::Broken(Side::Upstream)) => (Ended::UpstreamAbort, None),
            Err(FlowError::Refused(refusal)) => (Ended::Refused, Some(refusal.into())),
        },
    };
    progress.ended = ended;
    if let Some(farewell) = farewell {
        cut(&mut to_upstream, &mut to_client, &farewell).await;
    }
}

/// Waits for both directions; for the second one not much longer than for the first.
async fn both(
    to_upstream: impl Future<Output = Result<(), FlowError>>,
    to_client: impl Future<Output = Result<(), FlowError>>,
) -> Result<(), FlowError> {
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
