//! The admin listener, for the orchestrator and Prometheus. Clients must not reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use voxgate::audit::{AuditQueue, DeliveryGuarantee};

use super::metrics::Metrics;

/// Fewer than the open files that are reserved.
const MAX_CONNECTIONS: usize = 32;
const HEADER_WITHIN: Duration = Duration::from_secs(5);
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the gateway accepts new requests.
#[derive(Clone, Default)]
pub(crate) struct Readiness {
    serving: Arc<AtomicBool>,
    /// The audit queue, when requests wait for their records.
    audit: Option<AuditQueue>,
}

impl Readiness {
    /// Ready once it is [set](Self::set), except while audit records that requests wait for cannot be
    /// written.
    pub(crate) fn new(audit: Option<AuditQueue>) -> Self {
        Self {
            serving: Arc::default(),
            audit: audit.filter(|audit| audit.delivery_guarantee() != DeliveryGuarantee::Counted),
        }
    }

    pub(crate) fn set(&self, ready: bool) {
        self.serving.store(ready, Ordering::Relaxed);
    }

    fn obstacle(&self) -> Option<&'static str> {
        if !self.serving.load(Ordering::Relaxed) {
            return Some("draining\n");
        }
        let audit = self.audit.as_ref();
        let failing = audit.is_some_and(AuditQueue::is_failing);
        failing.then_some("audit records cannot be written\n")
    }
}

/// `/livez` answers as long as the process runs, `/readyz` only while it takes new requests, and
/// `/metrics` in the OpenMetrics text format.
pub(crate) fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(render).with_state(metrics))
}

/// Serves `router` until it is dropped. Idle connections are soon closed, so that a probe can always
/// connect.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_WITHIN);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // Errors of a connection concern only its client.
            let _ = timeout(CONNECTION_WITHIN, connection).await;
            drop(permit);
        });
    }
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.obstacle() {
        None => (StatusCode::OK, "ready\n"),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn render(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
