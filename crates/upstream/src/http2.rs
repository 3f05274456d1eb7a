//! HTTP/2 connections. Each has a few streams, and a slow stream does not delay the others.
//!
//! hyper gives the bytes of an answer back to the connection's flow-control window when they are read.
//! What a caller does not read therefore stays taken from the window of its connection. The windows of
//! all streams together are no larger than that of the connection, so that a stream with a reader
//! always has its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::RequestBody;
use crate::endpoint::{Age, Endpoint};
use crate::io::{ConnectionState, ServerStream};
use crate::replay::Replay;
use crate::upstream::Settings;

/// The most streams of one connection.
pub(crate) const STREAMS: usize = 8;
/// What a server may send on a stream before its caller reads.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// How much of an upload is buffered for each stream.
const SEND_BUFFER: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// gRPC servers end a connection with `too_many_pings` that sends more than one ping in five minutes
/// while no data is sent (gRPC A8, `GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS`). TCP
/// keep-alive finds a peer that has gone within four minutes.
const PING_EVERY: Duration = Duration::from_secs(310);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection that several requests of one caller share.
pub(crate) struct Http2Connection<B> {
    sender: SendRequest<Replay<B>>,
    endpoint: Arc<Endpoint<B>>,
    state: Arc<ConnectionState>,
    streams: AtomicUsize,
    age: Age,
}

impl<B: RequestBody> Http2Connection<B> {
    /// Takes one of the connection's streams, if there is one.
    pub(crate) fn stream(self: &Arc<Self>) -> Option<Http2Stream<B>> {
        if self.is_over() {
            return None;
        }
        let limit = self.state.allows_streams().min(STREAMS);
        let one_more = |open| (open < limit).then_some(open + 1);
        self.streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()
            .map(|_| Http2Stream(Arc::clone(self)))
    }

    /// Whether it takes no more streams, ever.
    pub(crate) fn is_over(&self) -> bool {
        self.sender.is_closed()
            || self.state.has_ended()
            || self.age.is_over()
            || self.endpoint.is_removed()
    }

    pub(crate) fn is_to(&self, endpoint: &Arc<Endpoint<B>>) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint)
    }
}

/// A stream of a connection. It is the connection's until it is dropped.
pub(crate) struct Http2Stream<B>(Arc<Http2Connection<B>>);

impl<B: RequestBody> Http2Stream<B> {
    pub(crate) fn sender(&self) -> SendRequest<Replay<B>> {
        self.0.sender.clone()
    }
}

impl<B> Drop for Http2Stream<B> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Begins HTTP/2 on a connection.
pub(crate) async fn begin<B: RequestBody>(
    endpoint: &Arc<Endpoint<B>>,
    stream: ServerStream,
    state: Arc<ConnectionState>,
    settings: &Settings,
) -> io::Result<Arc<Http2Connection<B>>> {
    let begun = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_WITHIN)
        .keep_alive_while_idle(false)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = begun.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the upstream failed");
        }
    });
    // They tell how many streams there may be, and that the server speaks HTTP/2 at all.
    state.settled().await?;
    Ok(Arc::new(Http2Connection {
        sender,
        endpoint: Arc::clone(endpoint),
        state,
        streams: AtomicUsize::new(0),
        age: Age::new(settings.longest_connection_age),
    }))
}
