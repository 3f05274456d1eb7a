//! Sends requests to the upstreams, over pooled connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Scheme, Uri};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use voxgate::DenialKind;
use voxgate::gateway::is_grpc;

use super::ForwardedBody;
use super::client_connection::ClientConnection;
use super::connector::{Connector, NoUpstreamPermit};
use crate::upstreams::Upstream;

/// Shorter than the idle timeout of common Python servers (uvicorn closes after 5 s), so that a
/// request is not sent on a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// The most idle connections for each worker and upstream.
const MAX_IDLE: usize = 64;
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The connections of one worker. In HTTP/1.1, one request at a time uses a connection, so that all
/// callers share a pool. In HTTP/2, each [`ClientConnection`] has pools of its own.
pub(crate) struct Clients {
    builder: Builder,
    connector: Connector,
    http1: Client<Connector, ForwardedBody>,
}

impl Clients {
    /// Connects when there is a request to send. `connect_timeout` covers name resolution, and the
    /// wait for one of `permits`.
    pub(crate) fn new(connect_timeout: Duration, permits: Arc<Semaphore>) -> Self {
        let connector = Connector::new(connect_timeout, permits);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE);
        Self {
            http1: builder.build(connector.clone()),
            connector,
            builder,
        }
    }

    fn http2(&self) -> Client<Connector, ForwardedBody> {
        self.builder
            .clone()
            .http2_only(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .build(self.connector.clone())
    }

    /// Sends the request of a caller, in HTTP/2 when the upstream or gRPC demands it.
    pub(super) async fn send(
        &self,
        upstream: &Upstream,
        mut request: Request<ForwardedBody>,
        from: &ClientConnection,
        key_id: &str,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let http2 =
            upstream.http2 || (request.version() == Version::HTTP_2 && is_grpc(request.headers()));
        let mut target = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(upstream.authority.clone());
        target = match request.uri().path_and_query() {
            Some(path) => target.path_and_query(path.clone()),
            None => target.path_and_query("/"),
        };
        *request.uri_mut() = target
            .build()
            .map_err(|error| UpstreamError::new(error.into()))?;
        let client = if http2 {
            *request.version_mut() = Version::HTTP_2;
            &from.pool(key_id, || self.http2())
        } else {
            *request.version_mut() = Version::HTTP_11;
            &self.http1
        };
        client
            .request(request)
            .await
            .map_err(|error| UpstreamError::new(error.into()))
    }
}

/// The upstream gave no answer.
#[derive(Debug)]
pub(super) struct UpstreamError(UpstreamErrorCause);

#[derive(Debug)]
enum UpstreamErrorCause {
    Timeout,
    Error(Box<dyn Error + Send + Sync>),
}

impl UpstreamError {
    fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(UpstreamErrorCause::Error(error))
    }

    pub(super) fn timeout() -> Self {
        Self(UpstreamErrorCause::Timeout)
    }

    /// The kind for the audit record; `None` when the client broke off.
    pub(super) fn kind(&self) -> Option<DenialKind> {
        let UpstreamErrorCause::Error(error) = &self.0 else {
            return Some(DenialKind::UpstreamTimeout);
        };
        for cause in causes(error.as_ref()) {
            if cause.is::<NoUpstreamPermit>() {
                return Some(DenialKind::Unavailable);
            }
            let timed_out = cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
            if timed_out {
                return Some(DenialKind::UpstreamTimeout);
            }
            // The request's body comes from the client: if it fails, the client broke off.
            if cause
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_user)
            {
                return None;
            }
        }
        Some(DenialKind::UpstreamUnreachable)
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UpstreamErrorCause::Error(error) = &self.0 else {
            return f.write_str("the upstream did not answer in time");
        };
        f.write_str("the upstream failed")?;
        for cause in causes(error.as_ref()) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}
