//! Client connections: accepts them, serves them, and closes them.

mod activity;
mod clients;
mod frames;
mod half_close;
mod handshake;
mod http2;
mod limiter;
mod network;
mod preamble;
mod socket;
mod stream;
mod streams;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service};
use voxgate::{Dialect, SpeechAuthLayer};
use voxgate_browsers::BrowserLayer;
use voxgate_request_tracing::TraceContextLayer;
use voxgate_tls::ServerTls;
use voxgate_usage::UsageLayer;

pub(crate) use self::activity::Activity;
pub(crate) use self::clients::ClientAddresses;
pub(crate) use self::half_close::ClientEnd;
pub(crate) use self::limiter::{ConnectionLimiter, ConnectionPermit};
pub(crate) use self::network::network;
use self::preamble::{Begun, Preamble};
pub(crate) use self::socket::{ClientListener, Socket};
use self::stream::ClientStream;
use self::streams::StreamExecutor;
use super::credential_header::CredentialHeader;
use super::first_message::FirstMessages;
use super::minting::Verifier;
use super::proxy::{ForwardedBody, RequestBody};
use super::rejections::{ConnectionRejections, RejectReason, Rejections};
use super::service;

/// The largest request header, and the largest part of a body that is buffered while the upstream
/// does not read.
const MAX_BUFFER: usize = 64 * 1024;
const MAX_STREAMS: u32 = 256;
/// What a client may send on an HTTP/2 stream before the upstream reads. The windows of all streams
/// together are that of the connection, so that uploads that are not read hold no other one up.
const STREAM_WINDOW: u32 = 64 * 1024;
/// How much of an answer the HTTP/2 implementation buffers for each stream.
const STREAM_BUFFER: usize = 32 * 1024;
/// How long a client may leave its answer unread.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(60);
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(20);
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to wait after accepting failed, and how often to log that.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long a client without an accepted request has to read its last refusal when its connection
/// is being closed.
const REFUSED_GRACE: Duration = Duration::from_secs(1);
/// How long a client with an accepted request may pause while it reads the rest of its last answer.
const SERVED_GRACE: Duration = Duration::from_secs(10);
/// Small, so that the progress of a slow reader is noticed: a socket becomes writable again only
/// when a third of this has been read.
const SEND_BUFFER: usize = 128 * 1024;

/// Accepts connections until told to stop, and serves each in a task of `tasks`. At most as many are
/// open as `limiter` allows; further ones wait in the listen queue of the system.
pub(crate) async fn accept<S, B>(
    listener: ClientListener,
    server: Server<S>,
    limiter: ConnectionLimiter,
    stop: CancellationToken,
    tasks: TaskTracker,
) where
    S: Service<Request<ForwardedBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut errors = AcceptErrorLog::default();
    loop {
        let next = async {
            let (socket, peer) = listener.accept().await?;
            // The permit comes second: a worker without clients must not hold the last permit.
            let permit = limiter.acquire(server.counted(&socket, peer)).await;
            Ok((socket, peer, permit))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer, Some(permit))) => server.spawn(socket, peer, permit, &stop, &tasks),
            Ok((_, peer, None)) => {
                server
                    .rejections
                    .note(peer, None, RejectReason::ConnectionLimit, 0)
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                errors.log(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Connections in the listen queue would be reset when the listener closes.
    while let Some(Ok((socket, peer))) = listener.accept().now_or_never() {
        let Some(permit) = limiter.try_acquire(server.counted(&socket, peer)) else {
            break;
        };
        server.spawn(socket, peer, permit, &stop, &tasks);
    }
}

/// Logs errors of accepting, at most once in a while.
#[derive(Default)]
struct AcceptErrorLog {
    last: Option<Instant>,
}

impl AcceptErrorLog {
    fn log(&mut self, error: &io::Error) {
        if self
            .last
            .is_none_or(|last| last.elapsed() >= LOG_AGAIN_AFTER)
        {
            self.last = Some(Instant::now());
            tracing::error!(%error, "cannot accept connections; retrying");
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
    pub(crate) auth: SpeechAuthLayer<Verifier>,
    pub(crate) usage: UsageLayer,
    pub(crate) proxy: S,
    /// TLS; `None` if the listener speaks none.
    pub(crate) tls: Option<ServerTls>,
    /// How the address of a client is found.
    pub(crate) clients: ClientAddresses,
    /// What pages of other origins may do.
    pub(crate) browsers: BrowserLayer,
    /// Which traces of callers are continued.
    pub(crate) traces: TraceContextLayer,
    /// How long the first request of a connection may take, and the header of each.
    pub(crate) header_timeout: Duration,
    /// How long a connection may be without a request in progress.
    pub(crate) idle_timeout: Duration,
    /// How long a client may leave its answer unread: all of a connection, or one HTTP/2 stream.
    pub(crate) write_stall: Duration,
    pub(crate) rejections: Arc<Rejections>,
    /// The WebSockets that wait for a credential in their first message, if they are accepted.
    pub(crate) first_messages: Option<FirstMessages>,
    /// A further header in which callers of this dialect send their key.
    pub(crate) credential_header: Option<(Dialect, CredentialHeader)>,
}

impl<S, B> Server<S>
where
    S: Service<Request<ForwardedBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// The client that a connection counts for. Those of a Unix socket cannot be told apart.
    fn counted(&self, socket: &Socket, peer: SocketAddr) -> Option<IpAddr> {
        match socket {
            Socket::Unix(_) => None,
            _ => self.clients.counted(peer.ip()),
        }
    }

    fn spawn(
        &self,
        socket: Socket,
        peer: SocketAddr,
        permit: ConnectionPermit,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        prepare(&socket);
        let activity = Activity::new(permit.clone());
        let rejections = Arc::clone(&self.rejections);
        let rejections = Arc::new(ConnectionRejections::new(rejections, peer));
        let end = ClientEnd::default();
        let ending = Ending {
            peer,
            activity: activity.clone(),
            rejections,
            permit,
            was_idle: false,
        };
        let (server, stop) = (self.clone(), stop.clone());
        let preamble = Preamble::new(&self.clients, self.tls.as_ref(), self.header_timeout, peer);
        let (stream, preamble) = match (socket, preamble) {
            (Socket::Plain(stream), Some(preamble)) => (stream, preamble),
            (socket, _) => {
                let begun = Begun {
                    socket,
                    source: peer,
                    certificate: None,
                };
                tasks.spawn(server.serve(begun, activity, end, ending, stop));
                return;
            }
        };
        tasks.spawn(async move {
            let begun = Box::pin(preamble.read(stream, &ending, &stop));
            if let Some(begun) = begun.await {
                server.serve(begun, activity, end, ending, stop).await;
            }
        });
    }

    /// Serves one connection until the client closes it, until it has been idle for too long, or until
    /// the gateway stops.
    async fn serve(
        self,
        begun: Begun,
        activity: Activity,
        end: ClientEnd,
        mut ending: Ending,
        stop: CancellationToken,
    ) {
        let stream = ClientStream::new(
            begun.socket,
            self.header_timeout,
            self.write_stall,
            ending.permit.clone(),
            activity.clone(),
            end.clone(),
            Arc::clone(&ending.rejections),
        );
        let watched = activity.clone();
        let peer = ending.peer;
        let connection = service::Connection {
            clients: self.clients.layer(peer, begun.source),
            certificate: begun.certificate,
            browsers: self.browsers,
            traces: self.traces,
            activity,
        };
        let stack = service::stack(
            self.auth,
            self.proxy,
            connection,
            self.first_messages,
            self.credential_header,
            self.usage,
        );
        let stack = TowerToHyperService::new(stack);
        // hyper calls this when it has the head of a request, and looks at the rest of what the client
        // sends, perhaps its end, before it polls the stack for the first time.
        let service = service_fn(move |request: Request<Incoming>| {
            let end = end.request(&request);
            stack.call(RequestBody::wrap(request, end))
        });
        // The stream limits the time of a header. In hyper, that time begins with the idle time.
        let header_or_idle = self.header_timeout.max(self.idle_timeout);
        let builder = builder(header_or_idle, self.write_stall);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ending.ended(ended),
            () = watched.idle(self.header_timeout, self.idle_timeout) => ending.idle(),
            () = ending.permit.closed() => return ending.evicted(),
            () = watched.closing() => {}
            () = stop.cancelled() => {}
        }
        // Tells the client, and accepts no more requests from it. A client with an accepted request
        // may read the rest of its answer, as long as it makes progress.
        connection.as_mut().graceful_shutdown();
        let grace = if watched.restart() {
            SERVED_GRACE
        } else {
            REFUSED_GRACE
        };
        tokio::select! {
            ended = connection.as_mut() => ending.ended(ended),
            () = watched.idle(grace, grace) => tracing::debug!(%peer, "closed an idle connection"),
            () = ending.permit.closed() => ending.evicted(),
        }
    }
}

/// How a connection ends, for the log and the record of what was rejected on it.
struct Ending {
    peer: SocketAddr,
    activity: Activity,
    rejections: Arc<ConnectionRejections>,
    permit: ConnectionPermit,
    was_idle: bool,
}

impl Ending {
    /// Waits for a step before HTTP, which must end within the time of a header. `None` if the
    /// connection ends before. There is no request yet, so that it does not delay a stop.
    async fn within<T>(
        &self,
        limit: Duration,
        stop: &CancellationToken,
        step: impl Future<Output = T>,
    ) -> Option<Result<T, Elapsed>> {
        tokio::select! {
            done = timeout(limit, step) => Some(done),
            () = self.permit.closed() => {
                self.evicted();
                None
            }
            () = stop.cancelled() => None,
        }
    }

    /// The connection came to its own end.
    fn ended(self, ended: Result<(), BoxError>) {
        let Err(error) = ended else { return };
        if let Some(reason) = self.reason(&*error) {
            self.rejections.note(reason);
        }
        let peer = self.peer;
        tracing::debug!(%peer, error, "the connection failed");
    }

    /// There was no request for too long.
    fn idle(&mut self) {
        self.was_idle = true;
        if self.is_first_request() {
            self.rejections.note(RejectReason::HeaderTimeout);
        }
    }

    /// The connection is closed for another one.
    fn evicted(&self) {
        self.rejections.note(RejectReason::Evicted);
    }

    /// Whether the client began to send its first request and did not finish its header.
    fn is_first_request(&self) -> bool {
        self.rejections.has_received() && !self.activity.has_begun()
    }

    /// Why the implementation of HTTP refused to go on. What it refuses in HTTP/2 shows in the frames
    /// that it sends.
    fn reason(&self, error: &(dyn Error + 'static)) -> Option<RejectReason> {
        let http = error.downcast_ref::<hyper::Error>();
        let http = |is: fn(&hyper::Error) -> bool| http.is_some_and(is);
        let io = io_kind(error);
        if http(hyper::Error::is_parse_too_large) {
            Some(RejectReason::HeaderTooLarge)
        } else if http(hyper::Error::is_parse) {
            Some(if self.rejections.has_proxy_header() {
                RejectReason::ProxyProtocol
            } else if self.rejections.has_bad_preface() {
                RejectReason::BadPreface
            } else {
                RejectReason::Malformed
            })
        } else if self.was_idle || !self.is_first_request() {
            None
        } else if http(hyper::Error::is_timeout) || io == Some(io::ErrorKind::TimedOut) {
            Some(RejectReason::HeaderTimeout)
        } else if http(hyper::Error::is_incomplete_message) {
            Some(RejectReason::Incomplete)
        } else {
            None
        }
    }
}

/// The kind of the first error of the socket among the causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}

fn prepare(socket: &Socket) {
    let Socket::Plain(stream) = socket else {
        return;
    };
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    // The connection also works without these options.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}

fn builder(header_read_timeout: Duration, write_stall: Duration) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(StreamExecutor { limit: write_stall });
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
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .max_header_list_size(MAX_BUFFER as u32);
    builder
}

#[cfg(test)]
mod tests;
