//! The step, and its settings.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::denial::{Denial, DenialKind};
use crate::limit::{Limit, Limits};
use crate::principal::Principal;

use super::ask::{Ask, Hit};
use super::failures::Failures;
use super::fields::Fields;
use super::local::{Begun, Local};
use super::permit::{Permit, Refused};

/// When to come back for a slot. Nobody knows when a stream ends.
const SLOT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Holds keys, accounts and the upstream as a whole to their limits. Cloning shares the counts.
///
/// The limits of a key or an account are its own ([`Principal::limits`]); every layer enforces
/// them. What is set here comes on top.
///
/// ```
/// use std::num::NonZeroU32;
/// use voxgate::{AuthLayer, KeyRing, Limiter, Limits, Rate};
///
/// let limiter = Limiter::new()
///     .defaults(Limits { rate: Rate::parse("50/s"), ..Limits::default() })
///     .upstream_concurrency(NonZeroU32::new(32).ok_or("not zero")?);
/// let auth = AuthLayer::new(KeyRing::new([])?).limits(limiter);
/// # let _ = auth;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Limiter {
    defaults: Limits,
    upstream: Option<NonZeroU32>,
    tells: bool,
    local: Local,
    failures: Option<Arc<Failures>>,
}

/// What a limiter has in its hands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests and tunnels in flight that the upstream's limit counts; none without it.
    pub in_flight: u32,
    /// Requests in the waiting room.
    pub waiting: usize,
}

/// Whether a request may begin.
pub(crate) enum Admission {
    Ready(Admitted),
    Pending(Pin<Box<dyn Future<Output = Admitted> + Send>>),
}

pub(crate) type Admitted = Result<Permit, Box<Refused>>;

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Limiter {
    /// One that knows of no limits but those of the keys and accounts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            defaults: Limits::default(),
            upstream: None,
            tells: true,
            local: Local::new(true),
            failures: None,
        }
    }

    /// Sets the limits of keys that name none of their own. Where a deployment key is
    /// preconfigured, all callers are one principal and share them.
    #[must_use]
    pub fn defaults(mut self, limits: Limits) -> Self {
        self.defaults = limits;
        self
    }

    /// Limits how many requests and tunnels may be in flight, of all callers together.
    #[must_use]
    pub fn upstream_concurrency(mut self, most: NonZeroU32) -> Self {
        self.upstream = Some(most);
        self
    }

    /// Lets so many requests wait for a slot, instead of being refused, for so long at most. Those
    /// of one key begin in the order in which they came; keys take turns. A request that exceeds
    /// a rate does not wait.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn waiting_room(mut self, places: usize, longest: Duration) -> io::Result<Self> {
        self.local = Local::with_room(true, places, longest)?;
        Ok(self)
    }

    /// Answers failed authentications from one address with 429 after so many in a minute, each
    /// with a longer `Retry-After`. A good credential from there is accepted all the same.
    #[must_use]
    pub fn auth_failures(mut self, most_a_minute: NonZeroU32) -> Self {
        self.failures = Some(Arc::new(Failures::new(most_a_minute)));
        self
    }

    /// Sets whether callers are told of their limits, in the fields `RateLimit-Policy` and
    /// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). They are, unless told otherwise.
    #[must_use]
    pub fn header_fields(mut self, tells: bool) -> Self {
        self.tells = tells;
        self
    }

    /// How many requests and tunnels may be in flight, of all callers together.
    #[must_use]
    pub fn most_in_flight(&self) -> Option<NonZeroU32> {
        self.upstream
    }

    /// What is in flight, and what waits.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (in_flight, waiting) = self.local.usage();
        Usage { in_flight, waiting }
    }

    /// Takes a permit for a request of this principal.
    pub(crate) fn admit(&self, principal: &Principal) -> Admission {
        let Some(ask) = Ask::new(principal, self.defaults, self.upstream) else {
            return Admission::Ready(Ok(Permit::default()));
        };
        match self.local.begin(&ask) {
            Ok(Begun::Now(slot, quotas)) => {
                let fields = self.fields(|| Fields::accepted(&quotas));
                Admission::Ready(Ok(Permit::new(slot, fields, None)))
            }
            Err(hit) => Admission::Ready(Err(self.refuse(&ask, hit, None))),
            Ok(Begun::Waits(waiting)) => {
                let this = self.clone();
                Admission::Pending(Box::pin(async move {
                    let (answer, queued) = waiting.await;
                    match answer {
                        Ok((slot, quotas)) => {
                            let fields = this.fields(|| Fields::accepted(&quotas));
                            Ok(Permit::new(slot, fields, Some(queued)))
                        }
                        Err(hit) => Err(this.refuse(&ask, hit, Some(queued))),
                    }
                }))
            }
        }
    }

    /// Counts a failed authentication; what to say of it, if there were too many from there.
    pub(crate) fn slow_down(&self, peer: IpAddr) -> Option<Denial> {
        let wait = self.failures.as_ref()?.count(peer, Instant::now())?;
        Some(denial(Limit::PeerFailures, wait))
    }

    fn refuse(&self, ask: &Ask, hit: Hit, queued: Option<Duration>) -> Box<Refused> {
        let wait = hit.retry_after.unwrap_or(SLOT_RETRY_AFTER);
        Box::new(Refused {
            fields: self.fields(|| Fields::refused(ask, hit)),
            queued,
            ..Refused::new(denial(hit.limit, wait), None)
        })
    }

    fn fields(&self, fields: impl FnOnce() -> Fields) -> Fields {
        if self.tells {
            fields()
        } else {
            Fields::default()
        }
    }
}

fn denial(limit: Limit, retry_after: Duration) -> Denial {
    Denial::new(DenialKind::RateLimited)
        .with_retry_after(retry_after)
        .of_limit(limit)
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("defaults", &self.defaults)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
