//! The service that proxies ask.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use tower_service::Service;
use voxgate::gateway::{AskedBy, RefuseAs};
use voxgate::{ClientAddr, ClientRequestId, DenialKind, PeerAddr};
use voxgate_client_address::TrustedProxies;

use crate::answer::{self, AnswerBody, Refused};
use crate::changes::Changes;
use crate::grpc::{self, Checked};
use crate::original::{Original, Unclear, read};
use crate::proxy::{HEALTH, Proxy};

/// What a message of `Check` may have beside the body of the request: headers, attributes, certificates.
const BESIDE_BODY: usize = 1024 * 1024;
/// How often the log says why a question is unclear.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Settings of an [`Authorizer`], shared by its connections.
#[derive(Debug)]
pub struct Options {
    proxies: Arc<TrustedProxies>,
    body_bytes: usize,
    accepts_unenforced: bool,
    last_logged: AtomicU64,
}

impl Options {
    /// Only these proxies may ask. `body_bytes` is the largest body that is read; a larger one counts as
    /// not sent. `accepts_unenforced`: [`AskedBy::accepts_unenforced`].
    #[must_use]
    pub fn new(proxies: Arc<TrustedProxies>, body_bytes: usize, accepts_unenforced: bool) -> Self {
        Self {
            proxies,
            body_bytes,
            accepts_unenforced,
            last_logged: AtomicU64::new(0),
        }
    }

    fn log(&self, proxy: Proxy, unclear: Unclear) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let last = self.last_logged.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= LOG_AGAIN_AFTER.as_secs() {
            self.last_logged.store(now, Ordering::Relaxed);
            let via = proxy.as_str();
            tracing::warn!(via, "refused a request that a proxy asks about: {unclear}");
        }
    }
}

/// Answers the questions of one connection. `S` is the authentication layer around a service whose answer
/// to an accepted request has [`Changes`] in its extensions; any other answer is a refusal.
///
/// # Deployment caveat
///
/// The other end of the connection must be a trusted proxy. A question from another address is refused.
#[derive(Clone, Debug)]
pub struct Authorizer<S> {
    inner: S,
    peer: SocketAddr,
    options: Arc<Options>,
}

impl<S> Authorizer<S> {
    /// Answers the questions of a connection from `peer`.
    pub fn new(inner: S, peer: SocketAddr, options: Arc<Options>) -> Self {
        Self {
            inner,
            peer,
            options,
        }
    }
}

impl<S, B, R> Service<Request<B>> for Authorizer<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Body<Data = Bytes> + Send,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The instance that was polled ready.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let this = Self {
            inner,
            peer: self.peer,
            options: Arc::clone(&self.options),
        };
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

impl<S> Authorizer<S> {
    async fn answer<B, R>(mut self, request: Request<B>) -> Response<AnswerBody>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        R: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        if !self.options.proxies.contain(self.peer.ip()) {
            return status(StatusCode::FORBIDDEN);
        }
        if head.method == Method::POST && head.uri.path() == HEALTH {
            return grpc::healthy();
        }
        let Some(proxy) = Proxy::of_path(head.uri.path()) else {
            return status(StatusCode::NOT_FOUND);
        };
        let most = match proxy {
            Proxy::EnvoyGrpc => self.options.body_bytes.saturating_add(BESIDE_BODY),
            _ => self.options.body_bytes,
        };
        let body = Limited::new(body, most).collect().await;
        let body = body.map(|body| body.to_bytes());
        let read = match proxy {
            Proxy::EnvoyGrpc => match body {
                Ok(message) if head.method == Method::POST => grpc::read(&message),
                // RESOURCE_EXHAUSTED
                _ => return grpc::failed(8),
            },
            _ => {
                // A body that is too large, or cut off, is not seen.
                let body = body.unwrap_or_default();
                let original = read(proxy, head, !body.is_empty());
                original.map(|Original { head, has_body }| Checked {
                    head,
                    body: if has_body { body } else { Bytes::new() },
                    has_body,
                    source: self.peer,
                })
            }
        };
        let read = read.and_then(|checked| self.identify(checked));
        let mut request = read.unwrap_or_else(|unclear| {
            self.options.log(proxy, unclear);
            self.unclear()
        });
        let has_body = request.extensions().get::<WholeBody>().is_some();
        request.extensions_mut().insert(AskedBy {
            proxy: proxy.as_str(),
            has_body,
            accepts_unenforced: self.options.accepts_unenforced,
        });
        let Ok(response) = self.inner.call(request).await;
        conclude(proxy, response).await
    }

    /// Finds out who sent the request.
    fn identify(&self, checked: Checked) -> Result<Request<Full<Bytes>>, Unclear> {
        let Checked {
            head,
            body,
            has_body,
            source,
        } = checked;
        let mut request = Request::from_parts(head, Full::new(body));
        let forwarded = self.options.proxies.read(source, request.headers());
        let client = match &forwarded {
            Some(forwarded) if forwarded.is_named => forwarded.client,
            // Envoy names the other end of its connection.
            _ if source != self.peer => source.ip(),
            // Every client would be the proxy.
            _ => return Err(Unclear::Missing("the address of the client")),
        };
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(self.peer));
        extensions.insert(ClientAddr(client));
        if let Some(id) = forwarded.and_then(|forwarded| forwarded.request_id) {
            extensions.insert(ClientRequestId(id));
        }
        if has_body {
            extensions.insert(WholeBody);
        }
        Ok(request)
    }

    /// An empty request, so that the refusal of an unclear question is on record.
    fn unclear(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = Uri::from_static("/");
        request.extensions_mut().insert(PeerAddr(self.peer));
        request.extensions_mut().insert(ClientAddr(self.peer.ip()));
        request
            .extensions_mut()
            .insert(RefuseAs(DenialKind::UnclearOriginal));
        request
    }
}

#[derive(Clone, Copy)]
struct WholeBody;

async fn conclude<R: Body<Data = Bytes>>(
    proxy: Proxy,
    response: Response<R>,
) -> Response<AnswerBody> {
    let (mut head, body): (http::response::Parts, R) = response.into_parts();
    if let Some(changes) = head.extensions.remove::<Changes>()
        && head.status == StatusCode::OK
    {
        return match proxy {
            Proxy::EnvoyGrpc => grpc::accept(&changes),
            _ => answer::accept(changes),
        };
    }
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let refused = Refused::new(Response::from_parts(head, body));
    match proxy {
        Proxy::EnvoyGrpc => grpc::refuse(&refused),
        _ => refused.into_http(proxy),
    }
}

fn status(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    *response.status_mut() = status;
    response
}
