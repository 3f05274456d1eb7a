//! Active health checks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::{self, PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::RequestBody;
use crate::endpoint::Endpoint;
use crate::transport::{HttpVersion, Transport};
use crate::upstream::Upstream;

/// So many checks fail in a row until the address gets no more requests. One that passes ends that.
pub(crate) const FAILURES: u32 = 2;
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// The request of a health check, such as `GET /health`. A server is healthy if it answers with a
/// status from 200 to 299 within five seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    method: Method,
    path: PathAndQuery,
}

/// The text is no request of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHealthCheck;

impl fmt::Display for InvalidHealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be GET or HEAD and a path, such as `GET /health`")
    }
}

impl std::error::Error for InvalidHealthCheck {}

impl FromStr for HealthCheck {
    type Err = InvalidHealthCheck;

    fn from_str(text: &str) -> Result<Self, InvalidHealthCheck> {
        let (method, path) = text.trim().split_once(' ').ok_or(InvalidHealthCheck)?;
        let method = match method {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            _ => return Err(InvalidHealthCheck),
        };
        let path = path.trim();
        let is_path = path.starts_with('/') && !path.contains('#');
        let path = path.parse().ok().filter(|_| is_path);
        let path = path.ok_or(InvalidHealthCheck)?;
        Ok(Self { method, path })
    }
}

impl<B: RequestBody> Upstream<B> {
    pub(crate) async fn keep_checking(&self) {
        let Some(check) = &self.settings().health else {
            return;
        };
        let check = Arc::new(check.clone());
        let mut every = interval(CHECK_EVERY);
        loop {
            every.tick().await;
            let mut checks = JoinSet::new();
            for endpoint in self.endpoints().iter() {
                let (check, endpoint) = (Arc::clone(&check), Arc::clone(endpoint));
                checks.spawn(async move {
                    let checked = timeout(CHECK_WITHIN, check.run(&endpoint)).await;
                    let failure = match checked {
                        Ok(Ok(())) => None,
                        Ok(Err(failure)) => Some(failure),
                        Err(_) => Some("no answer within 5 s".to_owned()),
                    };
                    endpoint.checked(failure.as_deref());
                });
            }
            // Each ends within its time limit.
            checks.join_all().await;
        }
    }
}

impl HealthCheck {
    /// Asks one address, on a connection of its own.
    async fn run<B>(&self, endpoint: &Endpoint<B>) -> Result<(), String> {
        let failed = |error: &dyn fmt::Display| error.to_string();
        let server = endpoint.server();
        let opened = Transport::open(endpoint.address(), server, server.alpn(false, false)).await;
        let (stream, version) = opened.map_err(|error| failed(&error))?;
        let io = TokioIo::new(stream);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = self.method.clone();
        let agent = HeaderValue::from_static("voxgate-health-check");
        request.headers_mut().insert(USER_AGENT, agent);
        let answer = match version {
            HttpVersion::Http1 => {
                *request.uri_mut() = Uri::from(self.path.clone());
                request.headers_mut().insert(HOST, server.host_header());
                let begun = http1::handshake(io).await;
                let (mut sender, connection) = begun.map_err(|error| failed(&error))?;
                tokio::select! {
                    answer = sender.send_request(request) => answer,
                    _ = connection => return Err("the connection ended".to_owned()),
                }
            }
            HttpVersion::Http2 => {
                let mut target = uri::Parts::default();
                target.scheme = Some(server.scheme());
                target.authority = Some(server.authority().clone());
                target.path_and_query = Some(self.path.clone());
                *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
                let begun = http2::handshake(TokioExecutor::new(), io).await;
                let (mut sender, connection) = begun.map_err(|error| failed(&error))?;
                tokio::select! {
                    answer = sender.send_request(request) => answer,
                    _ = connection => return Err("the connection ended".to_owned()),
                }
            }
        };
        match answer.map_err(|error| failed(&error))?.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err("status 404: is the path right?".to_owned()),
            status => Err(format!("status {}", status.as_u16())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_a_method_and_a_path() {
        let check: HealthCheck = "GET /health?deep=1".parse().unwrap();
        assert_eq!(check.method, Method::GET);
        assert_eq!(check.path, "/health?deep=1");
        assert!("HEAD /".parse::<HealthCheck>().is_ok());
        for wrong in [
            "",
            "/health",
            "GET",
            "GET health",
            "POST /health",
            "GET /a b",
            "GET /#x",
        ] {
            assert_eq!(
                wrong.parse::<HealthCheck>(),
                Err(InvalidHealthCheck),
                "{wrong}"
            );
        }
    }
}
