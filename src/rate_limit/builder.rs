//! The settings of a limiter.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use voxgate_limits::{LimitStore, Limits, LocalStore};

use super::auth_failures::AuthFailures;
use super::limiter::{Limiter, Parts};
use super::on_failure::OnFailure;

/// The settings of a [`Limiter`]: [`Limiter::builder`] returns one.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use voxgate::{Limiter, Limits, Rate};
///
/// let limiter = Limiter::builder()
///     .with_default_limits(Limits { rate: Rate::parse("50/s"), ..Limits::default() })
///     .with_upstream_concurrency(NonZeroU32::new(32).ok_or("not zero")?)
///     .with_wait_queue(100, Duration::from_secs(2))
///     .build()?;
/// # let _ = limiter;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct LimiterBuilder {
    defaults: Limits,
    upstream: Option<NonZeroU32>,
    queue: Option<(usize, Duration)>,
    store: Option<Arc<dyn LimitStore>>,
    on_failure: OnFailure,
    auth_failures: Option<NonZeroU32>,
    header_fields: bool,
    load_report: bool,
}

impl LimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            defaults: Limits::default(),
            upstream: None,
            queue: None,
            store: None,
            on_failure: OnFailure::default(),
            auth_failures: None,
            header_fields: true,
            load_report: false,
        }
    }

    /// Sets the limits of keys without limits of their own. In preconfigured mode all callers are
    /// one principal and share these limits.
    pub fn with_default_limits(mut self, limits: Limits) -> Self {
        self.defaults = limits;
        self
    }

    /// Limits how many requests and tunnels of all callers together may be in flight.
    pub fn with_upstream_concurrency(mut self, most: NonZeroU32) -> Self {
        self.upstream = Some(most);
        self
    }

    /// Lets up to `places` requests wait for a concurrency permit, each for at most `longest`,
    /// instead of refusing them. Requests of one key start in the order of their arrival, and keys
    /// take turns. A request that exceeds a rate does not wait. Without this, no request waits.
    pub fn with_wait_queue(mut self, places: usize, longest: Duration) -> Self {
        self.queue = Some((places, longest)).filter(|_| places > 0);
        self
    }

    /// Shares the limits with other replicas through a store, such as `RedisStore` of the crate
    /// `voxgate-limits-redis`. Each limited request then waits for one answer of the store.
    /// Authentication never depends on it.
    pub fn with_store(mut self, store: impl LimitStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets how requests are limited while the store is unavailable. The default is
    /// [`OnFailure::Local`].
    pub fn with_failure_mode(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Slows down an address that fails to authenticate more than `most_a_minute` times in a minute:
    /// its refusals are sent half a second later. At most 16 wait for one address (for IPv6, for one
    /// `/64` network) and 1024 in all. Beyond that, the refusal is sent at once and the connection is
    /// closed. The refusals stay the same, and a valid credential from the address is not delayed.
    ///
    /// The first delay starts a thread, so no runtime is needed.
    pub fn with_auth_failure_limit(mut self, most_a_minute: NonZeroU32) -> Self {
        self.auth_failures = Some(most_a_minute);
        self
    }

    /// Sets whether responses have the header fields `RateLimit-Policy` and `RateLimit`
    /// (draft-ietf-httpapi-ratelimit-headers-10). The default is true.
    pub fn with_header_fields(mut self, header_fields: bool) -> Self {
        self.header_fields = header_fields;
        self
    }

    /// Sets whether responses have the field `endpoint-load-metrics` (ORCA), unless the inner service
    /// has sent one: the part of [`with_upstream_concurrency`](Self::with_upstream_concurrency) that
    /// is in use, as `application_utilization` from 0 to 1, and the number of requests, as
    /// `named_metrics.in_flight`. With a shared store, it is the part of this replica's share. The
    /// default is false; without a limit of the upstream it has no effect.
    pub fn with_load_report(mut self, load_report: bool) -> Self {
        self.load_report = load_report;
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// If there is a wait queue and its timer thread cannot be started.
    pub fn build(self) -> io::Result<Limiter> {
        // Rates are taken in one store only.
        let takes_rates = self.store.is_none();
        let local = match self.queue {
            Some((places, longest)) => LocalStore::with_queue(takes_rates, places, longest)?,
            None => LocalStore::new(takes_rates),
        };
        Ok(self.build_with(local))
    }

    /// Builds a limiter with this local store in place of its own. A simulation has one by its own
    /// clock.
    #[doc(hidden)]
    pub fn build_with(self, local: LocalStore) -> Limiter {
        Limiter::new(Parts {
            defaults: self.defaults,
            upstream: self.upstream,
            local,
            store: self.store,
            on_failure: self.on_failure,
            auth_failures: self.auth_failures.map(AuthFailures::new),
            header_fields: self.header_fields,
            load_report: self.load_report,
        })
    }

    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }
}

impl fmt::Debug for LimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder")
            .field("defaults", &self.defaults)
            .field("upstream", &self.upstream)
            .field("queue", &self.queue)
            .field("has_store", &self.has_store())
            .finish_non_exhaustive()
    }
}
