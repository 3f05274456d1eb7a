//! The path of a request: choose an address, take or open a connection, send, and send again if no
//! server processed it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, UPGRADE};
use http::request::Parts;
use http::uri::{self, PathAndQuery, Uri};
use http::{Request, Response, Version};
use tokio::time::{Instant, interval};
use voxgate_tls::Alpn;

use crate::RequestBody;
use crate::answer::{AnswerBody, HeldConnection};
use crate::callers::{Callers, Opened};
use crate::connect::{ConnectOptions, Connection, connect};
use crate::endpoint::InFlight;
use crate::error::{SendError, was_not_processed};
use crate::http1::Http1Connection;
use crate::http2::Http2Stream;
use crate::replay::Replay;
use crate::server::Server;
use crate::turn::Turn;
use crate::upstream::Upstream;

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often a request is sent that no server has processed: its connection turned out to be closed
/// before it was written, or the server refused it unread. Servers that end their connections every
/// second or so refuse a request twice in a row now and then.
const UNSENT: usize = 3;

/// Sends the requests of one worker. Its HTTP/1.1 connections are its own.
pub struct Client<B> {
    worker: usize,
    body: PhantomData<fn(B)>,
}

/// What belongs to a request besides itself.
#[derive(Debug)]
pub struct SendContext<'a, B> {
    /// Only HTTP/2 is used, also when the upstream's URL says HTTP/1.1: gRPC needs it.
    pub http2: bool,
    /// The HTTP/2 connections of the client connection that the request came on.
    pub callers: &'a Callers<B>,
    /// The caller's key id.
    pub caller: &'a str,
    /// Whose turn it is.
    pub turn: &'a Turn,
    /// When the answer must have ended. The time until it begins is the caller's to watch.
    pub deadline: Option<Instant>,
}

impl<B: RequestBody> Client<B> {
    /// The client of the worker with this number, counted from 0. It is below
    /// the `workers` of [`Upstream::new`].
    #[must_use]
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            body: PhantomData,
        }
    }

    /// Closes idle connections of this worker. It never returns: run it as a task of the worker.
    pub async fn close_idle(&self, upstreams: &[Arc<Upstream<B>>]) {
        let mut every = interval(SWEEP_EVERY);
        loop {
            every.tick().await;
            for upstream in upstreams {
                for endpoint in upstream.endpoints().iter() {
                    endpoint.sweep(self.worker);
                }
            }
        }
    }

    /// Sends a request and returns the answer. `Host` or `:authority` are those of the server's URL.
    ///
    /// A request is sent again, once and to another address if there is one, when no server has
    /// processed it: HTTP/2 says so (RFC 9113 §8.7), or an idle HTTP/1.1 connection was closed before a
    /// byte of the answer, the method is idempotent and the request has no body (RFC 9110 §9.2.2).
    ///
    /// # Errors
    ///
    /// When no server answers.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the request is broken off.
    pub async fn send(
        &self,
        upstream: &Upstream<B>,
        request: Request<B>,
        context: SendContext<'_, B>,
    ) -> Result<Response<AnswerBody<B>>, SendError> {
        let chosen = upstream.choose(None).await?;
        let is_upgrade = request.headers().contains_key(UPGRADE);
        let server = chosen.endpoint().server();
        let alpn = server.alpn(context.http2, is_upgrade);
        match self.open(upstream, chosen, alpn, &context).await? {
            First::Http1(in_flight, connection, is_reused) => {
                let first = (in_flight, connection, is_reused);
                self.send_http1(upstream, first, request, context).await
            }
            First::Http2(in_flight, stream) => {
                let first = (in_flight, stream);
                self.send_http2(upstream, first, request, context).await
            }
        }
    }

    /// What the request is sent on. If the server chooses the protocol, the connection is tried first
    /// that it chose before.
    async fn open(
        &self,
        upstream: &Upstream<B>,
        chosen: InFlight<B>,
        alpn: Alpn,
        context: &SendContext<'_, B>,
    ) -> Result<First<B>, SendError> {
        let SendContext {
            callers, caller, ..
        } = *context;
        let server = chosen.endpoint().server();
        let options = self.options(alpn);
        if alpn == Alpn::Http2 || (alpn == Alpn::Either && server.negotiates_http2()) {
            let opened = callers.stream(caller, upstream, chosen, options, false);
            return Ok(opened.await?.into());
        }
        if let Some(idle) = chosen.endpoint().take_idle(self.worker) {
            return Ok(First::Http1(chosen, idle, true));
        }
        match connect(upstream, chosen, options).await? {
            (in_flight, Connection::Http1(connection)) => {
                Ok(First::Http1(in_flight, connection, false))
            }
            (in_flight, Connection::Http2(connection)) => {
                callers.adopt(caller, &connection);
                let opened = callers.stream(caller, upstream, in_flight, options, false);
                Ok(opened.await?.into())
            }
        }
    }

    fn options(&self, alpn: Alpn) -> ConnectOptions {
        ConnectOptions {
            alpn,
            worker: self.worker,
        }
    }

    async fn send_http1(
        &self,
        upstream: &Upstream<B>,
        first: (InFlight<B>, Http1Connection<B>, bool),
        mut request: Request<B>,
        context: SendContext<'_, B>,
    ) -> Result<Response<AnswerBody<B>>, SendError> {
        to_origin_form(request.uri_mut());
        *request.version_mut() = Version::HTTP_11;
        let (mut in_flight, mut connection, mut is_reused) = first;
        let mut left = UNSENT;
        loop {
            let server = Arc::clone(in_flight.endpoint().server());
            request.headers_mut().insert(HOST, server.host_header());
            let copy = (is_reused && is_repeatable(&request)).then(|| copy(&request));
            connection.state.forget_read();
            let error = match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let held = HeldConnection::Http1(connection, self.worker);
                    return Ok(answer(response, in_flight, held, upstream, &context));
                }
                Err(error) => error,
            };
            request = match repeat(error, copy, &connection) {
                Ok(request) => request,
                Err(error) => return Err(SendError::http1(error)),
            };
            left -= 1;
            if left == 0 {
                return Err(SendError::not_sent());
            }
            server.counters.retries.increment();
            // A new connection: the other idle ones may be closed as well.
            let chosen = upstream.choose(Some(in_flight.endpoint())).await?;
            let opened = connect(upstream, chosen, self.options(Alpn::Http1)).await?;
            (in_flight, connection, is_reused) = match opened {
                (in_flight, Connection::Http1(connection)) => (in_flight, connection, false),
                (_, Connection::Http2(_)) => return Err(SendError::not_sent()),
            };
        }
    }

    async fn send_http2(
        &self,
        upstream: &Upstream<B>,
        first: (InFlight<B>, Http2Stream<B>),
        request: Request<B>,
        context: SendContext<'_, B>,
    ) -> Result<Response<AnswerBody<B>>, SendError> {
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
        let mut body = Replay::new(body);
        let source = body.source();
        let (mut in_flight, mut stream) = first;
        let mut left = UNSENT;
        loop {
            let server = Arc::clone(in_flight.endpoint().server());
            let request = Request::from_parts(for_server(&head, &server), body);
            let mut error = match stream.sender().try_send_request(request).await {
                Ok(response) => {
                    source.release();
                    let held = HeldConnection::Http2 { _stream: stream };
                    return Ok(answer(response, in_flight, held, upstream, &context));
                }
                Err(error) => error,
            };
            body = match error.take_message() {
                Some(unsent) => unsent.into_body(),
                None => {
                    let error = error.into_error();
                    match was_not_processed(&error).then(|| source.again()).flatten() {
                        Some(again) => again,
                        None => return Err(SendError::http2(error)),
                    }
                }
            };
            left -= 1;
            if left == 0 {
                return Err(SendError::not_sent());
            }
            server.counters.retries.increment();
            let chosen = upstream.choose(Some(in_flight.endpoint())).await?;
            let SendContext {
                callers, caller, ..
            } = context;
            let options = self.options(Alpn::Http2);
            let opened = callers.stream(caller, upstream, chosen, options, true);
            (in_flight, stream) = match opened.await? {
                Opened::Http2(in_flight, stream) => (in_flight, stream),
                Opened::Http1(..) => return Err(SendError::not_sent()),
            };
        }
    }
}

/// What a request is sent on at first.
enum First<B> {
    /// A connection, and whether it was used before.
    Http1(InFlight<B>, Http1Connection<B>, bool),
    Http2(InFlight<B>, Http2Stream<B>),
}

impl<B> From<Opened<B>> for First<B> {
    fn from(opened: Opened<B>) -> Self {
        match opened {
            Opened::Http1(in_flight, connection) => Self::Http1(in_flight, connection, false),
            Opened::Http2(in_flight, stream) => Self::Http2(in_flight, stream),
        }
    }
}

fn answer<B: RequestBody>(
    response: Response<hyper::body::Incoming>,
    in_flight: InFlight<B>,
    held: HeldConnection<B>,
    upstream: &Upstream<B>,
    context: &SendContext<'_, B>,
) -> Response<AnswerBody<B>> {
    let pause = upstream.settings().answer_pause;
    let status = response.status();
    response.map(|body| AnswerBody::new(body, status, in_flight, held, pause, context))
}

/// Whether sending the request twice does no more than once, and nothing of it is used up.
fn is_repeatable<B: RequestBody>(request: &Request<B>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

fn copy<B: RequestBody>(request: &Request<B>) -> Request<B> {
    let mut copy = Request::new(B::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The request to send again: itself, if nothing of it was written; its copy, if the connection ended
/// before a byte of the answer.
fn repeat<B: RequestBody>(
    mut error: hyper::client::conn::TrySendError<Request<B>>,
    copy: Option<Request<B>>,
    connection: &Http1Connection<B>,
) -> Result<Request<B>, hyper::Error> {
    if let Some(unsent) = error.take_message() {
        return Ok(unsent);
    }
    let error = error.into_error();
    match copy {
        Some(copy) if !connection.state.has_read() && !error.is_user() => Ok(copy),
        _ => Err(error),
    }
}

/// HTTP/1.1 names the path alone (RFC 9112 §3.2.1).
fn to_origin_form(uri: &mut Uri) {
    if uri.scheme().is_some() || uri.authority().is_some() {
        *uri = Uri::from(path_and_query(uri));
    }
}

fn path_and_query(uri: &Uri) -> PathAndQuery {
    let path = uri.path_and_query().cloned();
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The head for one server. `:scheme` and `:authority` come from it (RFC 9113 §8.3.1).
fn for_server(head: &Parts, server: &Server) -> Parts {
    let mut head = head.clone();
    let mut target = uri::Parts::default();
    target.scheme = Some(server.scheme());
    target.authority = Some(server.authority().clone());
    target.path_and_query = Some(path_and_query(&head.uri));
    // All three parts are there, so that it cannot fail.
    head.uri = Uri::from_parts(target).unwrap_or_default();
    head
}

impl<B> fmt::Debug for Client<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("worker", &self.worker)
            .finish()
    }
}
