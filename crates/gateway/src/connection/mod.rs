//! Client connections: taken, served, and brought to an end.

mod activity;
mod stream;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service};
use voxgate::{AuthLayer, PeerAddr};

pub(crate) use self::activity::Activity;
use self::stream::ClientStream;
use super::proxy::RequestBody;
use super::service;

/// Longest header of a request, and most that is buffered of a body that the upstream does not
/// take at once.
const MAX_BUFFER: usize = 64 * 1024;
const MAX_STREAMS: u32 = 256;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(20);
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to wait when the system gives no more connections, and how often to say so.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long a client that was never let in has to read its last refusal, when its connection is
/// being closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long one that was may pause while it reads the rest of its last answer.
const LAST_BYTES: Duration = Duration::from_secs(10);
/// Little enough that a slow reader is seen to read: a socket becomes writable again only when a
/// third of this has been taken.
const SEND_BUFFER: usize = 128 * 1024;

/// Takes connections until told to stop, and leaves them to `tasks`. No more are taken at a time
/// than there are `places`; the others wait in the system's queue.
pub(crate) async fn accept<S, B>(
    listener: TcpListener,
    server: Server<S>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut complaints = Complaints::default();
    loop {
        let next = async {
            let (stream, peer) = listener.accept().await?;
            // Not the other way round: a worker nobody calls must not sit on the last place.
            let place = Arc::clone(&places).acquire_owned().await;
            Ok((stream, peer, place.map_err(io::Error::other)?))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => server.spawn(stream, peer, place, &stop, &tasks),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                complaints.say(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Who already stands in the queue would be reset when the listener closes.
    while let Ok(place) = Arc::clone(&places).try_acquire_owned()
        && let Some(Ok((stream, peer))) = listener.accept().now_or_never()
    {
        server.spawn(stream, peer, place, &stop, &tasks);
    }
}

/// Says the same thing once in a while, and not for every connection.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn say(&mut self, error: &io::Error) {
        if self
            .last
            .is_none_or(|last| last.elapsed() >= SAY_AGAIN_AFTER)
        {
            self.last = Some(Instant::now());
            tracing::error!(%error, "cannot accept connections");
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves connections, with a [stack](service::stack) of its own for each.
#[derive(Clone)]
pub(crate) struct Server<S> {
    pub(crate) auth: AuthLayer,
    pub(crate) proxy: S,
    /// How long a connection may serve nobody, and how long a header may take.
    pub(crate) idle_timeout: Duration,
}

impl<S, B> Server<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    fn spawn(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        prepare(&stream);
        let activity = Activity::new();
        let stream = ClientStream::new(stream, self.idle_timeout, place, activity.clone());
        tasks.spawn(self.clone().serve(stream, activity, peer, stop.clone()));
    }

    /// Serves one connection until it ends, until it has served nobody for too long, or until
    /// everything is to stop.
    async fn serve(
        self,
        stream: ClientStream,
        activity: Activity,
        peer: SocketAddr,
        stop: CancellationToken,
    ) {
        let watched = activity.clone();
        let service = service::stack(self.auth, self.proxy, PeerAddr(peer), activity);
        let service = TowerToHyperService::new(service);
        let builder = builder(self.idle_timeout);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log(peer, ended),
            () = watched.idle(self.idle_timeout) => {}
            () = stop.cancelled() => {}
        }
        // Says so to the client, and takes no more requests from it. Whoever was let in has time
        // to read the rest of the answer, as long as that goes on.
        connection.as_mut().graceful_shutdown();
        let grace = if watched.restart() {
            LAST_BYTES
        } else {
            LAST_WORDS
        };
        tokio::select! {
            ended = connection.as_mut() => log(peer, ended),
            () = watched.idle(grace) => tracing::debug!(%peer, "connection cut: it serves nobody"),
        }
    }
}

fn log(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "connection broke off");
    }
}

fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    // Without any of them, the connection still works.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}

fn builder(header_read_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_WITHIN)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_BUFFER as u32);
    builder
}
