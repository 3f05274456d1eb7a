//! Closes a tunnel whose key is no longer valid, whose client sent what it may not send, or that carried
//! nothing for too long.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use voxgate_websocket::{ControlFrame, Message};

use super::flow::Flow;

/// How long each step of the cut may take. There are two.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// What the two sides are told.
#[derive(Debug)]
pub(super) struct Farewell {
    /// What the client is told before the Close frame.
    pub(super) message: Option<Message>,
    pub(super) close: ControlFrame,
}

impl Farewell {
    /// To a client whose key is no longer valid: the same whether it was revoked, disabled or has
    /// expired.
    pub(super) fn revoked() -> Self {
        Self {
            message: None,
            // Policy violation (RFC 6455 §7.4.1).
            close: ControlFrame::close(1008, "key no longer valid"),
        }
    }

    /// To both sides of a tunnel that carried nothing for too long.
    pub(super) fn idle() -> Self {
        Self {
            message: None,
            // Going away (RFC 6455 §7.4.1). Clients that distinguish it connect again.
            close: ControlFrame::close(1001, "idle for too long"),
        }
    }
}

/// Sends a Close frame to each side that is at the boundary of a frame or reaches it in time, and
/// gives it time to arrive. No more data of the client goes upstream. It takes twice [`GRACE`] at
/// most, whatever the two sides do.
pub(super) async fn cut<R, W, S, T>(
    to_upstream: &mut Flow<'_, R, W>,
    to_client: &mut Flow<'_, S, T>,
    farewell: &Farewell,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let (upstream_knows, client_knows) = tokio::join!(
        timeout(GRACE, tell_upstream(to_upstream, farewell)),
        timeout(GRACE, tell_client(to_client, farewell)),
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
async fn tell_client<R, W>(flow: &mut Flow<'_, R, W>, farewell: &Farewell) -> Option<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    flow.finish_frame().await.ok()?;
    if !flow.frames().closed() {
        let mut frames = Vec::new();
        if let Some(message) = &farewell.message
            && !flow.frames().in_message()
        {
            message.write(None, &mut frames);
        }
        farewell.close.write(None, &mut frames);
        flow.say(&frames).await.ok()?;
    }
    // The server is the first to close the connection (RFC 6455 §7.1.1).
    flow.shutdown().await.ok()
}

/// `None` when the upstream cannot be told. It is not told in the middle of a frame: what is
/// missing of that would have to come from the client.
async fn tell_upstream<R, W>(flow: &mut Flow<'_, R, W>, farewell: &Farewell) -> Option<()>
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
    let mut frame = Vec::new();
    farewell.close.write(Some(mask().ok()?), &mut frame);
    flow.say(&frame).await.ok()
}

/// A mask, which has to be unpredictable (RFC 6455 §10.3).
pub(super) fn mask() -> Result<[u8; 4], getrandom::Error> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask)?;
    Ok(mask)
}
