//! The listener for proxies that ask whether to forward a request.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceBuilder};
use voxgate::{DenialKind, Dialect, PeerAddr, Secret, SpeechAuthLayer};
use voxgate_authorizer::{Authorizer, Changes, Options};
use voxgate_browsers::BrowserLayer;
use voxgate_forwarding::HeaderRules;
use voxgate_mint::MintLayer;
use voxgate_usage::UsageLayer;

use super::connection::ClientAddresses;
use super::credential_header::CredentialHeader;
use super::minting::Verifier;
use super::proxy::{CatchPanicLayer, as_forwarded, refusal};
use super::rejections::{RejectReason, Rejections};

/// Most connections of proxies at a time, in all workers.
pub(crate) const CONNECTIONS: usize = 512;
/// How long a connection may be idle, or send a header. Proxies keep idle connections for a minute.
const IDLE: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What each worker answers proxies with.
#[derive(Clone)]
pub(crate) struct AuthorizerConfig {
    pub(crate) auth: SpeechAuthLayer<Verifier>,
    pub(crate) usage: UsageLayer,
    pub(crate) mint: MintLayer,
    pub(crate) browsers: BrowserLayer,
    pub(crate) credential_header: Option<(Dialect, CredentialHeader)>,
    pub(crate) deployment_key: Option<Secret>,
    pub(crate) headers: HeaderRules,
    pub(crate) clients: ClientAddresses,
    pub(crate) options: Arc<Options>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) rejections: Arc<Rejections>,
}

impl AuthorizerConfig {
    /// Accepts connections until told to stop, and serves each in a task of `tasks`.
    pub(crate) async fn accept(
        self,
        listener: TcpListener,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        loop {
            let next = async {
                let permit = Arc::clone(&self.connections).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => return,
            };
            let Ok((stream, peer)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let peer = PeerAddr(peer).canonical();
            if !self.clients.proxies().contain(peer.ip()) {
                self.rejections
                    .note(peer, None, RejectReason::UntrustedProxy, 0);
                tracing::debug!(%peer, "closed a connection to VOXGATE_AUTHORIZE_LISTEN: the address is not in VOXGATE_TRUSTED_PROXIES");
                continue;
            }
            let (config, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                config.serve(stream, peer, stop).await;
                drop(permit);
            });
        }
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        let _ = stream.set_nodelay(true);
        let Self {
            auth,
            usage,
            mint,
            browsers,
            credential_header,
            deployment_key,
            headers,
            options,
            ..
        } = self;
        let decided = ServiceBuilder::new()
            .map_request(move |mut request: Request<Full<Bytes>>| {
                browsers.judge_origin(&mut request);
                if let Some((dialect, header)) = &credential_header {
                    header.adopt(*dialect, &mut request);
                }
                request
            })
            .layer(auth)
            .layer(usage)
            .layer(CatchPanicLayer)
            .service(Allow(Arc::new(Allowing {
                mint,
                deployment_key,
                headers,
            })));
        let service = TowerToHyperService::new(Authorizer::new(decided, peer, options));
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            // The end of what a proxy sends can arrive with its question.
            .half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .keep_alive_interval(IDLE / 4)
            .keep_alive_timeout(IDLE / 4);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error, "the connection of a proxy failed");
        }
    }
}

/// Answers what the authentication layer accepted: what the proxy must change in the request.
#[derive(Clone)]
struct Allow(Arc<Allowing>);

struct Allowing {
    mint: MintLayer,
    deployment_key: Option<Secret>,
    headers: HeaderRules,
}

impl<B> Service<Request<B>> for Allow
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, ());
            // The layer around this one checks voices in the body while it is read.
            if body.collect().await.is_err() {
                return Ok(refusal(&request, DenialKind::UnreadableBody));
            }
            Ok(this.answer(request))
        })
    }
}

impl Allowing {
    fn answer(&self, request: Request<()>) -> Response<Full<Bytes>> {
        // The proxy would send it to a server whose tokens have no limits.
        if self.mint.answers(&request) {
            return refusal(&request, DenialKind::NoUpstream);
        }
        let (before, ()) = request.clone().into_parts();
        let deployment_key = self.deployment_key.as_ref();
        let Some(after) = as_forwarded(request.clone(), deployment_key, &self.headers) else {
            return refusal(&request, DenialKind::InternalError);
        };
        let (after, ()) = after.into_parts();
        let mut response = Response::new(Full::default());
        response
            .extensions_mut()
            .insert(Changes::between(&before, &after));
        response
    }
}
