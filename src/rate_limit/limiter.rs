//! The limiter: asks the local store, then the shared store.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_limits::{
    AcquireError, AcquireFuture, AcquireRequest, Decision, Granted, Limit, LimitStore, Limits,
    LocalStore, Remaining, StoreStatus,
};

use crate::principal::Principal;

use super::admission::{Admission, Admitted};
use super::auth_failures::{AuthFailures, SlowDown};
use super::builder::LimiterBuilder;
use super::header_fields::HeaderFields;
use super::load_report;
use super::on_failure::OnFailure;
use super::permit::{Permit, Refused};
use super::request::acquire_request;

/// `Retry-After` of a request that needs a concurrency permit. The time until one is free is
/// unknown.
const CONCURRENCY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` while the shared store is unavailable.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a shutdown waits for the shared store.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Enforces the limits of keys, accounts and the upstream. Cloning is cheap and shares the
/// counters.
///
/// Keys and accounts carry their own limits ([`Principal::with_limits`]); every layer
/// enforces them with the default limiter. [`Limiter::builder`] adds more.
///
/// ```
/// use std::num::NonZeroU32;
/// use voxgate::{AuthLayer, KeyRing, Limiter};
///
/// let limiter = Limiter::builder()
///     .with_upstream_concurrency(NonZeroU32::new(32).ok_or("not zero")?)
///     .build()?;
/// let auth = AuthLayer::new(KeyRing::new([])?).with_limits(limiter.clone());
/// assert_eq!(limiter.usage().in_flight, 0);
/// # let _ = auth;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Limiter(Arc<Parts>);

/// The parts of a limiter.
pub(super) struct Parts {
    pub(super) defaults: Limits,
    pub(super) upstream: Option<NonZeroU32>,
    pub(super) local: LocalStore,
    pub(super) store: Option<Arc<dyn LimitStore>>,
    pub(super) on_failure: OnFailure,
    pub(super) auth_failures: Option<AuthFailures>,
    pub(super) header_fields: bool,
    pub(super) load_report: bool,
}

/// The usage at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests and tunnels in flight that count towards the upstream's limit. 0 without this
    /// limit.
    pub in_flight: u32,
    /// Requests in the wait queue.
    pub waiting: usize,
}

impl Default for Limiter {
    /// A limiter that enforces the limits of keys and accounts, and no others.
    fn default() -> Self {
        Self::builder().build_with(LocalStore::new(true))
    }
}

impl Limiter {
    /// Starts with the default limiter and adds limits to it.
    pub fn builder() -> LimiterBuilder {
        LimiterBuilder::new()
    }

    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Maximum number of requests and tunnels in flight for all callers together.
    #[must_use]
    pub fn upstream_concurrency(&self) -> Option<NonZeroU32> {
        self.0.upstream
    }

    /// The requests in flight, and the requests that wait.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (in_flight, waiting) = self.0.local.usage();
        Usage { in_flight, waiting }
    }

    /// The state of the shared store; `None` without one.
    #[must_use]
    pub fn store_status(&self) -> Option<StoreStatus> {
        self.0.store.as_ref().map(|store| store.status())
    }

    /// Tells the other replicas that this one ends. Call it when no request is in flight; the
    /// shared store is unavailable afterwards. Blocks for at most one second, and not at all
    /// without a shared store.
    pub fn shutdown(&self) {
        if let Some(store) = &self.0.store {
            store.shutdown(SHUTDOWN_TIMEOUT);
        }
    }

    /// Acquires a permit for a request of this principal.
    pub(crate) fn admit(&self, principal: &Principal) -> Admission {
        let Parts {
            defaults, upstream, ..
        } = *self.0;
        let Some(request) = acquire_request(principal, defaults, upstream) else {
            return Admission::Ready(Ok(Permit::default()));
        };
        let mut waiting = self.0.local.acquire(&request, None);
        match waiting.take_ready() {
            Some(local) if self.0.store.is_none() || local.result.is_err() => {
                Admission::Ready(self.conclude(&request, local))
            }
            Some(local) => self.pending(request, AcquireFuture::ready(local)),
            None => self.pending(request, waiting),
        }
    }

    fn pending(&self, request: AcquireRequest, local: AcquireFuture) -> Admission {
        Admission::Pending(Box::pin(self.clone().acquire(request, local)))
    }

    /// Waits for the local store, and then for the shared store if there is one.
    async fn acquire(self, request: AcquireRequest, local: AcquireFuture) -> Admitted {
        let local = local.await;
        match (&self.0.store, local.result) {
            (Some(store), Ok(granted)) => {
                let shared = self.acquire_shared(&**store, &request, local.waited).await;
                self.conclude(&request, shared)
                    .map(|permit| permit.with(granted.lease))
            }
            (_, result) => {
                let local = Decision::new(result).after(local.waited);
                self.conclude(&request, local)
            }
        }
    }

    /// Asks the shared store about a request that is in flight here and has waited for `waited`.
    async fn acquire_shared(
        &self,
        store: &dyn LimitStore,
        request: &AcquireRequest,
        waited: Option<Duration>,
    ) -> Decision {
        let wait = self.0.local.wait_elsewhere(waited);
        let mut shared = store.acquire(request, wait).await;
        if let Err(AcquireError::Unavailable) = shared.result {
            shared.result = self.without_store(store, request);
        }
        let waited = match shared.waited {
            Some(there) => Some(waited.unwrap_or_default() + there),
            None => waited,
        };
        shared.after(waited)
    }

    fn without_store(
        &self,
        store: &dyn LimitStore,
        request: &AcquireRequest,
    ) -> Result<Granted, AcquireError> {
        let remaining = match self.0.on_failure {
            OnFailure::Local => self.0.local.confirm(request, store.status().replicas)?,
            OnFailure::Allow => Remaining::default(),
            OnFailure::Deny => return Err(AcquireError::Unavailable),
        };
        // The other replicas see this request when the store is available again.
        Ok(Granted::new(store.hold(request), remaining))
    }

    fn conclude(&self, request: &AcquireRequest, decision: Decision) -> Admitted {
        let fields = |fields: &dyn Fn() -> HeaderFields| match self.0.header_fields {
            true => fields(),
            false => HeaderFields::default(),
        };
        match decision.result {
            Ok(granted) => {
                let fields = fields(&|| HeaderFields::granted(request, &granted.remaining));
                let permit = Permit::new(granted.lease, fields, decision.waited);
                Ok(permit.with_load(self.load()))
            }
            Err(error) => Err(Box::new(Refused {
                fields: fields(&|| HeaderFields::refused(request, error)),
                load: self.load(),
                queued: decision.waited,
                ..Refused::new(denial_of(error))
            })),
        }
    }

    /// The load report of a response, if it is asked for.
    fn load(&self) -> Option<HeaderValue> {
        let limit = self.0.upstream.filter(|_| self.0.load_report)?;
        let replicas = self.store_status().map_or(1, |status| status.replicas);
        load_report::report(self.usage().in_flight, limit, replicas)
    }

    /// Counts a failed authentication. If there were too many from this address, returns what
    /// happens to the refusal.
    pub(crate) fn slow_down(&self, peer: IpAddr) -> Option<SlowDown> {
        let failures = self.0.auth_failures.as_ref()?;
        failures.slow_down(peer, Instant::now())
    }
}

fn denial_of(error: AcquireError) -> Denial {
    match error {
        AcquireError::Exceeded(exceeded) => {
            let wait = exceeded.retry_after.filter(|_| exceeded.limit.is_rate());
            rate_limited(exceeded.limit, wait.unwrap_or(CONCURRENCY_RETRY_AFTER))
        }
        _ => Denial::unavailable(UNAVAILABLE_RETRY_AFTER).with_limit(Limit::Shared),
    }
}

fn rate_limited(limit: Limit, retry_after: Duration) -> Denial {
    Denial::new(DenialKind::RateLimited)
        .with_retry_after(retry_after)
        .with_limit(limit)
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("defaults", &self.0.defaults)
            .field("upstream", &self.0.upstream)
            .finish_non_exhaustive()
    }
}
