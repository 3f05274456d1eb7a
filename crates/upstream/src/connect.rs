//! Opens connections: a race of addresses, within a time limit and a limit of open files.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::RequestBody;
use crate::endpoint::{Endpoint, InFlight};
use crate::error::SendError;
use crate::io::{ConnectionState, ServerStream};
use crate::upstream::{Settings, Upstream};

/// How long one address has alone before the next is tried as well (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A kind of connection: how HTTP begins on it, and what happens to one that no request waits for.
pub(crate) trait Handshake<B>: Clone + Send + Sync + 'static {
    /// The open connection.
    type Connection: Send + 'static;
    const IS_HTTP2: bool;

    fn handshake(
        &self,
        endpoint: &Arc<Endpoint<B>>,
        stream: ServerStream,
        state: Arc<ConnectionState>,
        settings: &Settings,
    ) -> impl Future<Output = io::Result<Self::Connection>> + Send;

    /// A connection that was opened too late for its request.
    fn keep(&self, endpoint: &Arc<Endpoint<B>>, connection: Self::Connection);
}

/// Connects to `first`. While it does not answer, and when it fails, the other addresses are tried as
/// well. The first connection wins.
///
/// # Cancel safety
///
/// When it is dropped, attempts go on until the connect timeout. Their results count, and connections
/// are kept if the protocol allows it.
pub(crate) async fn connect<B: RequestBody, H: Handshake<B>>(
    upstream: &Upstream<B>,
    first: InFlight<B>,
    handshake: &H,
) -> Result<(InFlight<B>, H::Connection), SendError> {
    let settings = upstream.settings();
    let permits = Arc::clone(upstream.permits());
    let permit = permit(&permits, settings.connect_timeout).await?;
    let mut tried = vec![Arc::clone(first.endpoint())];
    let mut attempts = FuturesUnordered::new();
    attempts.push(attempt(first, handshake.clone(), settings, permit));
    let mut last = None;
    loop {
        let next = match attempts.is_empty() {
            true => None,
            false => tokio::select! {
                ended = attempts.next() => ended,
                () = sleep(HEAD_START), if tried.len() < upstream.endpoints().len() => None,
            },
        };
        match next {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => last = Some(error),
            None => {}
        }
        match upstream.other(&tried) {
            // Without a permit, the attempts that run have to do.
            Some(other) => match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => {
                    tried.push(Arc::clone(&other));
                    let in_flight = InFlight::new(other);
                    attempts.push(attempt(in_flight, handshake.clone(), settings, permit));
                }
                Err(_) if attempts.is_empty() => return Err(SendError::no_permit()),
                Err(_) => {}
            },
            None if attempts.is_empty() => {
                upstream.resolve_now().notify_one();
                let error = last.unwrap_or_else(|| io::ErrorKind::NotConnected.into());
                return Err(SendError::connect(error));
            }
            None => {}
        }
    }
}

async fn permit(
    permits: &Arc<Semaphore>,
    limit: Duration,
) -> Result<OwnedSemaphorePermit, SendError> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Ok(permit);
    }
    match timeout(limit, Arc::clone(permits).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(SendError::no_permit()),
    }
}

/// Connects to one address in a task of its own, so that the result counts when nothing waits for it.
async fn attempt<B: RequestBody, H: Handshake<B>>(
    in_flight: InFlight<B>,
    handshake: H,
    settings: &Arc<Settings>,
    permit: OwnedSemaphorePermit,
) -> io::Result<(InFlight<B>, H::Connection)> {
    let (send, receive) = oneshot::channel();
    let endpoint = Arc::clone(in_flight.endpoint());
    let settings = Arc::clone(settings);
    tokio::spawn(async move {
        let limit = settings.connect_timeout;
        let opening = open(&endpoint, &handshake, &settings, permit);
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let opened = timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(late()));
        match &opened {
            Ok(_) => endpoint.connected(),
            Err(error) => {
                let timed_out = error.kind() == io::ErrorKind::TimedOut;
                endpoint.connect_failed(timed_out, limit);
            }
        }
        if let Err(Ok(unused)) = send.send(opened) {
            handshake.keep(&endpoint, unused);
        }
    });
    let opened = receive.await;
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
    opened.map(|connection| (in_flight, connection))
}

/// Opens a connection to one address. TLS belongs between the TCP connection and the handshake of
/// HTTP, where ALPN decides which handshake it is.
async fn open<B: RequestBody, H: Handshake<B>>(
    endpoint: &Arc<Endpoint<B>>,
    handshake: &H,
    settings: &Settings,
    permit: OwnedSemaphorePermit,
) -> io::Result<H::Connection> {
    let stream = TcpStream::connect(endpoint.address()).await?;
    prepare(&stream);
    let server = Arc::clone(endpoint.server());
    let (stream, state) = ServerStream::new(stream, server, H::IS_HTTP2, permit);
    handshake.handshake(endpoint, stream, state, settings).await
}

fn prepare(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    // The connection also works without these options.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_waits_for_a_permit_and_not_for_long() {
        let permits = Arc::new(Semaphore::new(1));
        let held = permit(&permits, Duration::from_secs(300)).await.unwrap();
        let refused = permit(&permits, Duration::from_millis(20)).await;
        assert_eq!(refused.unwrap_err().kind(), crate::SendErrorKind::NoPermit);
        let waiting = permit(&permits, Duration::from_secs(300));
        drop(held);
        assert!(waiting.await.is_ok());
    }
}
