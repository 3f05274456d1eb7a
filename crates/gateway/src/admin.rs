//! The admin listener, for the orchestrator and Prometheus. Clients must not reach it.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use bytes::Bytes;
use futures_util::TryFutureExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceBuilder;
use tower::util::MapFutureLayer;

use voxgate::audit::{AuditQueue, DeliveryGuarantee};
use voxgate::token::TokenIssuer;
use voxgate_tls::ServerTls;

use super::connection::{ClientListener, ConnectionLimiter, ConnectionPermit, Socket};
use super::key_watch::KeyWatch;
use super::metrics::Metrics;
use super::write_limit::WriteLimit;

/// Fewer than the open files that are reserved.
const MAX_CONNECTIONS: usize = 32;
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may leave a part of its answer unread.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the text of the metrics is used again.
const METRICS_FOR: Duration = Duration::from_secs(1);

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// Whether the gateway accepts new requests.
#[derive(Clone)]
pub(crate) struct Readiness {
    state: Arc<AtomicU8>,
    /// The audit queue, when requests wait for their records.
    audit: Option<AuditQueue>,
    /// What follows the Secrets with keys, if they are watched.
    keys: Option<KeyWatch>,
}

/// The name of each readiness check, and its problem.
type Check = (&'static str, Result<(), &'static str>);

impl Readiness {
    /// Ready once it is [set](Self::set), except while audit records that requests wait for cannot be
    /// written, and while there are no keys yet because watched Secrets were not listed.
    pub(crate) fn new(audit: Option<AuditQueue>, keys: Option<KeyWatch>) -> Self {
        Self {
            state: Arc::new(AtomicU8::new(STARTING)),
            audit: audit.filter(|audit| audit.delivery_guarantee() != DeliveryGuarantee::Counted),
            keys,
        }
    }

    pub(crate) fn set(&self, ready: bool) {
        let state = if ready { SERVING } else { DRAINING };
        self.state.store(state, Ordering::Relaxed);
    }

    /// All checks, in a fixed order.
    fn checks(&self) -> Vec<Check> {
        let serving = match self.state.load(Ordering::Relaxed) {
            STARTING => Err("starting"),
            SERVING => Ok(()),
            _ => Err("draining"),
        };
        let audit = self.audit.as_ref();
        let audit = match audit.is_some_and(AuditQueue::is_failing) {
            true => Err("audit records cannot be written"),
            false => Ok(()),
        };
        let mut checks = vec![("serving", serving), ("audit", audit)];
        checks.extend(self.keys.as_ref().map(|keys| {
            let listed = match keys.is_ready() {
                true => Ok(()),
                false => Err("the Secrets with keys are not listed yet"),
            };
            ("keys", listed)
        }));
        checks
    }
}

/// `/livez` answers as long as the process runs, `/readyz` only while it takes new requests, and
/// `/metrics` in the OpenMetrics text format. `/.well-known/jwks.json` shows the public keys of the
/// issuer of tokens, if there is one to show.
pub(crate) fn router(
    readiness: Readiness,
    metrics: Metrics,
    published: Option<TokenIssuer>,
) -> Router {
    let router = match published {
        Some(issuer) => Router::new().route(
            "/.well-known/jwks.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], issuer.jwks())),
        ),
        None => Router::new(),
    };
    router
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route(
            "/metrics",
            get(render).with_state(RenderedMetrics::new(metrics)),
        )
}

/// Serves `router` until it is dropped. When all places are taken, a connection that waits for its next
/// request is closed for a new one, so that a probe can always connect.
pub(crate) async fn serve(listener: ClientListener, tls: Option<ServerTls>, router: Router) {
    let limiter = ConnectionLimiter::new(MAX_CONNECTIONS, usize::MAX);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Some(permit) = limiter.acquire(Some(peer.ip())).await {
            tokio::spawn(serve_connection(
                stream,
                tls.clone(),
                permit,
                router.clone(),
            ));
        }
    }
}

async fn serve_connection(
    socket: Socket,
    tls: Option<ServerTls>,
    permit: ConnectionPermit,
    router: Router,
) {
    let Some(socket) = begin(socket, tls.as_ref(), &permit).await else {
        return;
    };
    let in_use = permit.clone();
    let service = ServiceBuilder::new()
        .layer(MapFutureLayer::new(move |answer| {
            in_use.keep();
            let idle = in_use.clone();
            TryFutureExt::inspect_ok(answer, move |_| idle.offer())
        }))
        .service(router);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        // A client may close its side and read on, as `nc -N` does. Answers are short.
        .half_close(true);
    let stream = AdminStream {
        stream: socket,
        limit: WriteLimit::new(WRITE_WITHIN),
    };
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Errors of a connection concern only its client.
        _ = timeout(CONNECTION_WITHIN, connection) => {}
        () = permit.closed() => {}
    }
}

/// The handshake of TLS, if there is one. `None` if it fails, takes too long, or its place is needed.
async fn begin(
    socket: Socket,
    tls: Option<&ServerTls>,
    permit: &ConnectionPermit,
) -> Option<Socket> {
    let (tls, stream) = match (tls, socket) {
        (Some(tls), Socket::Plain(stream)) => (tls, stream),
        (_, socket) => return Some(socket),
    };
    let mut config = ServerConfig::clone(&tls.config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
    tokio::select! {
        accepted = timeout(HEADER_WITHIN, handshake) => match accepted {
            Ok(Ok(stream)) => Some(Socket::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake of the admin listener failed");
                None
            }
            Err(_) => None,
        },
        () = permit.closed() => None,
    }
}

async fn readyz(
    State(readiness): State<Readiness>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let checks = readiness.checks();
    let failed = checks.iter().find_map(|(_, result)| result.err());
    let status = match failed {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let parameters = query.as_deref().unwrap_or_default().split('&');
    let mut names = parameters.map(|parameter| parameter.split('=').next());
    let text = if names.any(|name| name == Some("verbose")) {
        verbose(&checks)
    } else {
        format!("{}\n", failed.unwrap_or("ready"))
    };
    (status, text)
}

/// Each check on a line, in the form of the Kubernetes API server.
fn verbose(checks: &[Check]) -> String {
    let mut text = String::new();
    for (name, result) in checks {
        // Writing to a string cannot fail.
        let _ = match result {
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(why) => writeln!(text, "[-]{name} failed: {why}"),
        };
    }
    let passed = checks.iter().all(|(_, result)| result.is_ok());
    text.push_str(if passed {
        "readyz check passed\n"
    } else {
        "readyz check failed\n"
    });
    text
}

/// The metrics as text, which all who ask within a second share.
#[derive(Clone)]
struct RenderedMetrics {
    metrics: Metrics,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl RenderedMetrics {
    fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            last: Arc::default(),
        }
    }

    /// The text. Only one is made at a time, and not on the thread that answers probes.
    async fn text(&self) -> Option<Bytes> {
        let mut last = self.last.lock().await;
        if let Some((time, text)) = &*last
            && time.elapsed() < METRICS_FOR
        {
            return Some(text.clone());
        }
        // The text before is not needed any more.
        *last = None;
        let metrics = self.metrics.clone();
        let rendered = spawn_blocking(move || metrics.render()).await;
        let text = Bytes::from(rendered.ok()?.ok()?);
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

async fn render(State(metrics): State<RenderedMetrics>) -> Response {
    match metrics.text().await {
        Some(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A socket whose client must read.
struct AdminStream {
    stream: Socket,
    limit: WriteLimit,
}

impl AsyncRead for AdminStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for AdminStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit.check(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit.check(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::auditing::AuditSinks;

    #[tokio::test]
    async fn readiness_names_each_check() {
        let readiness = Readiness::new(None, None);
        let ask = async |query: Option<&str>| {
            let query = RawQuery(query.map(str::to_owned));
            let (status, text) = readyz(State(readiness.clone()), query).await;
            (status.as_u16(), text)
        };
        assert_eq!(ask(None).await, (503, "starting\n".to_owned()));
        readiness.set(true);
        assert_eq!(ask(Some("a=b")).await, (200, "ready\n".to_owned()));
        let verbose = "[+]serving ok\n[+]audit ok\nreadyz check passed\n";
        assert_eq!(ask(Some("verbose")).await, (200, verbose.to_owned()));
        readiness.set(false);
        let verbose = "[-]serving failed: draining\n[+]audit ok\nreadyz check failed\n";
        assert_eq!(ask(Some("a&verbose=1")).await, (503, verbose.to_owned()));
    }

    #[tokio::test]
    async fn those_who_ask_within_a_second_share_one_text() {
        let metrics = Metrics::new(None, AuditSinks::default(), || 0);
        let rendered = RenderedMetrics::new(metrics);
        let texts = futures_util::future::join_all((0..20).map(|_| rendered.text())).await;
        let first = texts[0].as_ref().expect("text");
        for text in &texts {
            assert_eq!(text.as_ref().expect("text").as_ptr(), first.as_ptr());
        }
    }
}
