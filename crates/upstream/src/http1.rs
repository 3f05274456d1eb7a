//! HTTP/1.1 connections: one request at a time, the last used connection first.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::RequestBody;
use crate::endpoint::{Age, Endpoint};
use crate::io::{ConnectionState, ServerStream};
use crate::upstream::Settings;

/// Shorter than the idle timeout of common Python servers (uvicorn closes after 5 s), so that a
/// request is not sent on a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// The most idle connections for each worker and address.
const MAX_IDLE: usize = 64;
/// hyper refuses an answer with more than 100 headers unless told otherwise.
const MAX_HEADERS: usize = 256;

/// A connection that serves one request at a time.
pub(crate) struct Http1Connection<B> {
    pub(crate) sender: SendRequest<B>,
    pub(crate) state: Arc<ConnectionState>,
    age: Age,
}

/// The idle connections of one worker to one address.
pub(crate) struct IdleConnections<B>(Vec<(Http1Connection<B>, Instant)>);

impl<B> Default for IdleConnections<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B> IdleConnections<B> {
    /// The connection that was used last. It is the one least likely to be closed.
    fn take(&mut self) -> Option<Http1Connection<B>> {
        while let Some((connection, since)) = self.0.pop() {
            let is_fresh = since.elapsed() < IDLE && !connection.age.is_over();
            if is_fresh && connection.sender.is_ready() && !connection.state.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&mut self, connection: Http1Connection<B>) {
        if self.0.len() >= MAX_IDLE {
            self.0.remove(0);
        }
        self.0.push((connection, Instant::now()));
    }

    fn sweep(&mut self) {
        self.0
            .retain(|(connection, since)| since.elapsed() < IDLE && !connection.sender.is_closed());
    }
}

impl<B: RequestBody> Endpoint<B> {
    /// An idle connection of this worker.
    pub(crate) fn take_idle(&self, worker: usize) -> Option<Http1Connection<B>> {
        self.idle(worker).take()
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn sweep(&self, worker: usize) {
        self.idle(worker).sweep();
    }

    /// Keeps a connection for the next request, as soon as it has ended this one.
    pub(crate) fn put_back(self: &Arc<Self>, worker: usize, mut connection: Http1Connection<B>) {
        if connection.sender.is_ready() {
            return self.put_ready(worker, connection);
        }
        // The rest of the request is still being sent, or the last bytes of the answer were just read.
        if connection.sender.is_closed() || self.is_removed() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let endpoint = Arc::clone(self);
            runtime.spawn(async move {
                if connection.sender.ready().await.is_ok() {
                    endpoint.put_ready(worker, connection);
                }
            });
        }
    }

    fn put_ready(&self, worker: usize, connection: Http1Connection<B>) {
        if !self.is_removed() && !connection.age.is_over() {
            self.idle(worker).put(connection);
        }
    }
}

/// Begins HTTP/1.1 on a connection.
pub(crate) async fn begin<B: RequestBody>(
    stream: ServerStream,
    state: Arc<ConnectionState>,
    settings: &Settings,
) -> io::Result<Http1Connection<B>> {
    let begun = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = begun.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the upstream failed");
        }
    });
    Ok(Http1Connection {
        sender,
        state,
        age: Age::new(settings.longest_connection_age),
    })
}
