//! A gateway of a simulation: the layer, the limiter and the shared store of the product.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer as _, Service as _};
use voxgate::rate_limit::{OnFailure, StoreStatus};
use voxgate::{
    AuditRecord, AuditSink, Auth, AuthBody, AuthFuture, AuthLayer, Limiter, Secret, SharedKeyRing,
};
use voxgate_limits::LocalStore;
use voxgate_limits_redis::simulation::{self, Dialer};
use voxgate_limits_redis::{RedisOptions, RedisStore};

/// How long Redis may take to answer: the default of the gateway.
pub const DEADLINE: Duration = Duration::from_millis(50);

/// The answer of a gateway. It is in flight until it is dropped.
pub type Answer = Response<AuthBody<Stream>>;
/// An answer that comes later.
pub type Answering = AuthFuture<Upstream, SharedKeyRing, ()>;

/// The settings that all gateways share.
#[derive(Clone)]
pub struct Settings {
    /// The URL of Redis.
    pub url: String,
    /// What happens without Redis.
    pub on_failure: OnFailure,
    /// The upstream's limit.
    pub upstream: Option<NonZeroU32>,
    /// The places of the wait queue, and how long a request may wait.
    pub queue: Option<(usize, Duration)>,
    /// How long a slot stays taken after its gateway has failed.
    pub lease: Duration,
}

/// One gateway.
pub struct Gateway {
    service: Auth<Upstream, SharedKeyRing>,
    limiter: Limiter,
    local: LocalStore,
}

impl Gateway {
    /// Starts a gateway in the current `LocalSet`.
    ///
    /// # Errors
    ///
    /// If the settings are not valid.
    pub fn start(
        settings: &Settings,
        keys: &SharedKeyRing,
        dialer: &Dialer,
        instance: u64,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut options = RedisOptions::new(Secret::new(&settings.url)?);
        options.deadline = DEADLINE;
        options.lease = settings.lease;
        let store: RedisStore = simulation::start(options, dialer, instance)?;
        let local = LocalStore::with_clock(false, settings.queue, virtual_now);
        let mut limiter = Limiter::builder()
            .with_header_fields(false)
            .with_store(store)
            .with_failure_mode(settings.on_failure);
        if let Some(most) = settings.upstream {
            limiter = limiter.with_upstream_concurrency(most);
        }
        let limiter = limiter.build_with(local.clone());
        let layer = AuthLayer::new(keys.clone())
            .with_audit_sink(NoRecords)
            .with_limits(limiter.clone());
        Ok(Self {
            service: layer.layer(Upstream),
            limiter,
            local,
        })
    }

    /// Sends a request.
    pub fn call(&mut self, request: Request<()>) -> Answering {
        self.service.call(request)
    }

    /// The state of the shared store.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.limiter.store_status().unwrap_or_default()
    }

    /// Refuses requests that have waited too long, which the timer thread does in the product.
    pub fn time_out(&self) {
        self.local.time_out();
    }
}

fn virtual_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Drops all records.
struct NoRecords;

impl AuditSink for NoRecords {
    fn record(&self, _: &AuditRecord<'_>) {}
}

/// A TTS server that speaks until the caller hangs up.
#[derive(Clone)]
pub struct Upstream;

impl tower::Service<Request<()>> for Upstream {
    type Response = Response<Stream>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Stream>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Stream)))
    }
}

/// A stream of audio that does not end.
pub struct Stream;

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
