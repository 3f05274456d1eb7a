//! The HTTP/2 connections to servers that one client connection uses.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::RequestBody;
use crate::connect::{ConnectOptions, Connection, connect};
use crate::endpoint::{Endpoint, InFlight};
use crate::error::SendError;
use crate::http1::Http1Connection;
use crate::http2::{Http2Connection, Http2Stream, STREAMS};
use crate::upstream::Upstream;

/// The most callers that have connections of their own on one client connection. A proxy in front can
/// send the requests of many callers on one connection.
const MAX_CALLERS: usize = 256;

/// The HTTP/2 connections of each caller on one client connection. Cloning shares them.
///
/// A server that finds a request malformed may end its whole connection (RFC 9113 §5.4.1). With
/// connections of their own, it ends no stream of another client connection or of another caller. They
/// end with the client connection.
pub struct Callers<B>(Arc<Mutex<HashMap<Box<str>, Connections<B>>>>);

struct Connections<B> {
    open: Vec<Arc<Http2Connection<B>>>,
    opening: Vec<Opening<B>>,
}

/// A connection that one request opens and others wait for.
struct Opening<B> {
    endpoint: Arc<Endpoint<B>>,
    /// How many requests count on it.
    requests: usize,
    opened: watch::Receiver<Awaited<B>>,
}

type Awaited<B> = Option<Arc<Http2Connection<B>>>;

/// How a request comes by its stream.
enum Next<B> {
    Stream(Http2Stream<B>),
    Wait(watch::Receiver<Awaited<B>>),
    Open(watch::Sender<Awaited<B>>),
}

/// What a request can be sent on.
pub(crate) enum Opened<B> {
    Http2(InFlight<B>, Http2Stream<B>),
    /// The server chose HTTP/1.1.
    Http1(InFlight<B>, Http1Connection<B>),
}

impl<B: RequestBody> Callers<B> {
    /// A stream to the chosen address, on a connection of this caller. A request that is sent again gets
    /// a new connection: gRPC servers refuse a stream for a moment after another one has ended.
    pub(crate) async fn stream(
        &self,
        caller: &str,
        upstream: &Upstream<B>,
        mut chosen: InFlight<B>,
        options: ConnectOptions,
        is_retry: bool,
    ) -> Result<Opened<B>, SendError> {
        loop {
            let next = match is_retry {
                true => Next::Open(watch::Sender::new(None)),
                false => self.next(caller, chosen.endpoint()),
            };
            match next {
                Next::Stream(stream) => return Ok(Opened::Http2(chosen, stream)),
                Next::Wait(mut opened) => {
                    // It also ends when the request that opens the connection fails.
                    let _ = opened.wait_for(Option::is_some).await;
                }
                Next::Open(opened) => {
                    let (connected, connection) = match connect(upstream, chosen, options).await? {
                        (connected, Connection::Http2(connection)) => (connected, connection),
                        (connected, Connection::Http1(connection)) => {
                            return Ok(Opened::Http1(connected, connection));
                        }
                    };
                    let stream = connection.stream();
                    self.add(caller, &connection, &opened);
                    opened.send_replace(Some(connection));
                    match stream {
                        Some(stream) => return Ok(Opened::Http2(connected, stream)),
                        // The server allows no stream yet, or is already going away.
                        None => chosen = connected,
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn next(&self, caller: &str, endpoint: &Arc<Endpoint<B>>) -> Next<B> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = own(&mut callers, caller) else {
            return Next::Open(watch::Sender::new(None));
        };
        own.open.retain(|connection| !connection.is_over());
        own.opening
            .retain(|opening| opening.opened.has_changed().is_ok());
        let mut open = own.open.iter().filter(|open| open.is_to(endpoint));
        if let Some(stream) = open.find_map(Http2Connection::stream) {
            return Next::Stream(stream);
        }
        let has_room = |opening: &&mut Opening<B>| {
            Arc::ptr_eq(&opening.endpoint, endpoint) && opening.requests < STREAMS
        };
        if let Some(opening) = own.opening.iter_mut().find(has_room) {
            opening.requests += 1;
            return Next::Wait(opening.opened.clone());
        }
        let (open, opened) = watch::channel(None);
        own.opening.push(Opening {
            endpoint: Arc::clone(endpoint),
            requests: 1,
            opened,
        });
        Next::Open(open)
    }

    /// Adds a connection that was opened before it was known that it is one of HTTP/2.
    pub(crate) fn adopt(&self, caller: &str, connection: &Arc<Http2Connection<B>>) {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own(&mut callers, caller) {
            own.open.push(Arc::clone(connection));
        }
    }

    /// Adds a connection that was opened.
    fn add(
        &self,
        caller: &str,
        connection: &Arc<Http2Connection<B>>,
        opened: &watch::Sender<Awaited<B>>,
    ) {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = callers.get_mut(caller) {
            own.opening
                .retain(|opening| !opening.opened.same_channel(&opened.subscribe()));
            own.open.push(Arc::clone(connection));
        }
    }
}

/// The connections of one caller.
fn own<'a, B>(
    callers: &'a mut HashMap<Box<str>, Connections<B>>,
    caller: &str,
) -> Option<&'a mut Connections<B>> {
    if !callers.contains_key(caller) {
        // Requests in flight keep their connections.
        if callers.len() >= MAX_CALLERS {
            callers.clear();
        }
        let none = Connections {
            open: Vec::new(),
            opening: Vec::new(),
        };
        callers.insert(caller.into(), none);
    }
    callers.get_mut(caller)
}

impl<B> Default for Callers<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B> Clone for Callers<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Callers<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callers")
    }
}
