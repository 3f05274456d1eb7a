//! What holds callers to their limits, and its settings.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
use crate::error::{ConfigError, Problem};
use crate::limit::Limits;

use super::failures::Failures;
use super::local::Local;
#[cfg(feature = "redis")]
use super::shared::SharedOptions;
#[cfg(feature = "redis")]
use super::sharing::{OnFailure, Sharing, SharingState};

/// Holds keys, accounts and the upstream as a whole to their limits. Cloning shares the counts.
///
/// The limits of a key or an account are its own ([`Principal::limits`](crate::Principal::limits)); every layer enforces
/// them. What is set here comes on top.
///
/// ```
/// use std::num::NonZeroU32;
/// use voxgate::{AuthLayer, KeyRing, Limiter, Limits, Rate};
///
/// let limiter = Limiter::new()
///     .defaults(Limits { rate: Rate::parse("50/s"), ..Limits::default() })
///     .upstream_concurrency(NonZeroU32::new(32).ok_or("not zero")?);
/// let auth = AuthLayer::new(KeyRing::new([])?).with_limits(limiter);
/// # let _ = auth;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Limiter {
    pub(super) defaults: Limits,
    pub(super) upstream: Option<NonZeroU32>,
    pub(super) tells: bool,
    pub(super) local: Local,
    room: Option<(usize, Duration)>,
    #[cfg(feature = "redis")]
    pub(super) sharing: Option<Sharing>,
    pub(super) failures: Option<Arc<Failures>>,
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
            room: None,
            #[cfg(feature = "redis")]
            sharing: None,
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
        self.room = Some((places, longest));
        self.local = self.new_local()?;
        Ok(self)
    }

    /// Shares the limits with all processes that are given the same Redis and namespace. Each
    /// limited request then waits for one answer, for as long as the options say at most; what
    /// happens without one is `on_failure`'s to say. Slots of a process that is gone are free again
    /// when their lease is over. Nobody's authentication depends on it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the options, by the names of their fields, or that there is no
    /// thread to be had.
    #[cfg(feature = "redis")]
    pub fn shared(
        mut self,
        options: SharedOptions,
        on_failure: OnFailure,
    ) -> Result<Self, ConfigError> {
        self.sharing = Some(Sharing::start(options, on_failure)?);
        let none = |error| {
            let message = format!("no thread to be had ({error})");
            ConfigError::from(Problem::new("waiting room", message))
        };
        self.local = self.new_local().map_err(none)?;
        Ok(self)
    }

    /// Tells the other replicas that this process ends, and that what it held is free. To be called
    /// when nothing is in flight any more, and limits that are shared can be asked no more
    /// afterwards. Waits for a second at most; does nothing where nothing is shared.
    pub fn finish(&self) {
        #[cfg(feature = "redis")]
        if let Some(sharing) = &self.sharing {
            sharing.finish();
        }
    }

    /// How it goes with the limits that replicas share; `None` if they share none.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn sharing(&self) -> Option<SharingState> {
        self.sharing.as_ref().map(Sharing::state)
    }

    /// Rates are asked here, unless they are asked elsewhere.
    fn new_local(&self) -> io::Result<Local> {
        let rated = !self.is_shared();
        match self.room {
            Some((places, longest)) => Local::with_room(rated, places, longest),
            None => Ok(Local::new(rated)),
        }
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
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("defaults", &self.defaults)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
