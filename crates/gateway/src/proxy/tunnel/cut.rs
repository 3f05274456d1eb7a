//! Closes a tunnel whose key is no longer valid.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::flow::Flow;
use super::frames::close;

/// How long each step of the cut may take. There are two.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// Sends a Close frame to each side that is at the boundary of a frame or reaches it in time, and
/// gives it time to arrive. No more data of the client goes upstream. It takes twice [`GRACE`] at
/// most, whatever the two sides do.
pub(super) async fn cut<R, W, S, T>(
    to_upstream: &mut Flow<'_, R, W>,
    to_client: &mut Flow<'_, S, T>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let (upstream_knows, client_knows) = tokio::join!(
        timeout(GRACE, tell_upstream(to_upstream)),
        timeout(GRACE, tell_client(to_client)),
    );
    // Closing a socket with something unread resets the connection, and that can destroy what the
    // other side has not read yet.
    tokio::join!(
        async {
            if let Ok(Some(())) = client_knows {
                let _ = timeout(GRACE, to_upstream.discard()).await;
            }
        },
        async {
            if let Ok(Some(())) = upstream_knows {
                let _ = timeout(GRACE, to_client.discard()).await;
            }
        },
    );
}

/// `None` when the client cannot be told.
async fn tell_client<R, W>(flow: &mut Flow<'_, R, W>) -> Option<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    flow.finish_frame().await.ok()?;
    if !flow.frames().closed() {
        flow.say(&close(None)).await.ok()?;
    }
    // The server is the first to close the connection (RFC 6455 §7.1.1).
    flow.shutdown().await.ok()
}

/// `None` when the upstream cannot be told. It is not told in the middle of a frame: what is
/// missing of that would have to come from the client.
async fn tell_upstream<R, W>(flow: &mut Flow<'_, R, W>) -> Option<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if !flow.frames().at_boundary() {
        return None;
    }
    if flow.frames().closed() {
        return Some(());
    }
    // The mask has to be unpredictable (RFC 6455 §10.3).
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).ok()?;
    flow.say(&close(Some(mask))).await.ok()
}
