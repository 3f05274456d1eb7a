//! Opens connections: a race of addresses, within a time limit and a limit of open files.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use voxgate_tls::Alpn;

use crate::RequestBody;
use crate::endpoint::{Endpoint, InFlight};
use crate::error::SendError;
use crate::http1::{self, Http1Connection};
use crate::http2::{self, Http2Connection};
use crate::io::ServerStream;
use crate::transport::{HttpVersion, Transport};
use crate::upstream::{Settings, Upstream};

/// How long one address has alone before the next is tried as well (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How connections are opened for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectOptions {
    /// The protocols that the request can be sent in.
    pub(crate) alpn: Alpn,
    /// The worker that keeps an HTTP/1.1 connection that no request waits for.
    pub(crate) worker: usize,
}

/// An open connection.
pub(crate) enum Connection<B> {
    Http1(Http1Connection<B>),
    Http2(Arc<Http2Connection<B>>),
}

/// Connects to `first`. While it does not answer, and when it fails, the other addresses are tried as
/// well. The first connection wins.
///
/// # Cancel safety
///
/// When it is dropped, attempts go on until the connect timeout. Their results count, and connections
/// are kept if the protocol allows it.
pub(crate) async fn connect<B: RequestBody>(
    upstream: &Upstream<B>,
    first: InFlight<B>,
    options: ConnectOptions,
) -> Result<(InFlight<B>, Connection<B>), SendError> {
    let settings = upstream.settings();
    let permits = Arc::clone(upstream.permits());
    let permit = permit(&permits, settings.connect_timeout).await?;
    let mut tried = vec![Arc::clone(first.endpoint())];
    let mut attempts = FuturesUnordered::new();
    attempts.push(attempt(first, options, settings, permit));
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
                    attempts.push(attempt(in_flight, options, settings, permit));
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
async fn attempt<B: RequestBody>(
    in_flight: InFlight<B>,
    options: ConnectOptions,
    settings: &Arc<Settings>,
    permit: OwnedSemaphorePermit,
) -> io::Result<(InFlight<B>, Connection<B>)> {
    let (send, receive) = oneshot::channel();
    let endpoint = Arc::clone(in_flight.endpoint());
    let settings = Arc::clone(settings);
    tokio::spawn(async move {
        let limit = settings.connect_timeout;
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let opened = timeout(limit, open(&endpoint, options.alpn, &settings, permit))
            .await
            .unwrap_or_else(|_| Err(late()));
        match &opened {
            Ok(_) => endpoint.connected(),
            Err(error) => endpoint.connect_failed(error, limit),
        }
        // An HTTP/2 connection belongs to one caller, who has another one by now.
        if let Err(Ok(Connection::Http1(unused))) = send.send(opened) {
            endpoint.put_back(options.worker, unused);
        }
    });
    let opened = receive.await;
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
    opened.map(|connection| (in_flight, connection))
}

/// Opens a connection to one address.
async fn open<B: RequestBody>(
    endpoint: &Arc<Endpoint<B>>,
    alpn: Alpn,
    settings: &Settings,
    permit: OwnedSemaphorePermit,
) -> io::Result<Connection<B>> {
    let server = Arc::clone(endpoint.server());
    let (stream, version) = Transport::open(endpoint.address(), &server, alpn).await?;
    let (stream, state) = ServerStream::new(stream, server, version, permit);
    Ok(match version {
        HttpVersion::Http1 => Connection::Http1(http1::begin(stream, state, settings).await?),
        HttpVersion::Http2 => {
            Connection::Http2(http2::begin(endpoint, stream, state, settings).await?)
        }
    })
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
