//! The limits that an operator sets.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use crate::admit::Limiter;
use crate::error::{ConfigError, Problem};
use crate::limit::{Limits, Rate};

use super::environment::Environment;
#[cfg(feature = "redis")]
use super::replicas::ReplicaSettings;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
const AUTH_FAILURES: u32 = 60;
const MOST_PLACES: u32 = 100_000;
const MOST_SECONDS: u32 = 3600;

/// The settings that only a program with Redis knows.
#[cfg(not(feature = "redis"))]
const OF_REPLICAS: [&str; 6] = [
    "VOXGATE_REDIS_URL",
    "VOXGATE_REDIS_URL_FILE",
    "VOXGATE_REDIS_CA_FILE",
    "VOXGATE_LIMIT_ON_FAILURE",
    "VOXGATE_LIMIT_LEASE_SECONDS",
    "VOXGATE_LIMIT_NAMESPACE",
];

/// What limits callers, beside the limits of their keys and accounts.
#[derive(Debug)]
pub struct LimitSettings {
    defaults: Limits,
    upstream: Option<NonZeroU32>,
    queue: u32,
    queue_timeout: Duration,
    header_fields: bool,
    auth_failures: Option<NonZeroU32>,
    #[cfg(feature = "redis")]
    replicas: Option<ReplicaSettings>,
}

#[derive(Deserialize)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "nothing is shared")
)]
pub(super) struct Raw {
    rate: Option<String>,
    burst: Option<String>,
    concurrency: Option<String>,
    upstream_concurrency: Option<String>,
    queue: Option<String>,
    queue_timeout_seconds: Option<String>,
    headers: Option<String>,
    auth_failures: Option<String>,
    pub(super) on_failure: Option<String>,
    pub(super) lease_seconds: Option<String>,
    pub(super) namespace: Option<String>,
}

/// A whole number in a range.
pub(super) fn count(
    variable: &str,
    given: Option<&str>,
    [least, most]: [u32; 2],
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let number = given?.trim().parse().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let message = format!("must be a whole number from {least} to {most}");
        problems.push(Problem::new(variable, message));
    }
    number
}

impl LimitSettings {
    /// The limits of keys that name none of their own.
    #[must_use]
    pub fn defaults(&self) -> Limits {
        self.defaults
    }

    /// How many requests and tunnels may be in flight, of all callers together.
    #[must_use]
    pub fn upstream_concurrency(&self) -> Option<NonZeroU32> {
        self.upstream
    }

    /// How many requests may wait for a slot, and for how long each; `None` if none may.
    #[must_use]
    pub fn queue(&self) -> Option<(u32, Duration)> {
        (self.queue > 0).then_some((self.queue, self.queue_timeout))
    }

    /// How often one address may fail to authenticate in a minute; `None` for as often as it likes.
    #[must_use]
    pub fn auth_failures(&self) -> Option<NonZeroU32> {
        self.auth_failures
    }

    /// Whether replicas share the limits.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.replicas.is_some();
        #[cfg(not(feature = "redis"))]
        return false;
    }

    pub(super) fn read(
        environment: &Environment,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, ConfigError> {
        let raw: Raw = environment.fill("VOXGATE_LIMIT_")?;
        let mut number = |name: &str, given: &Option<String>, range| {
            count(
                &format!("VOXGATE_LIMIT_{name}"),
                given.as_deref(),
                range,
                problems,
            )
        };
        let positive = [1, u32::MAX];
        let burst = number("BURST", &raw.burst, positive);
        let concurrency = number("CONCURRENCY", &raw.concurrency, positive);
        let upstream = number("UPSTREAM_CONCURRENCY", &raw.upstream_concurrency, positive);
        let queue = number("QUEUE", &raw.queue, [0, MOST_PLACES]);
        let timeout = number(
            "QUEUE_TIMEOUT_SECONDS",
            &raw.queue_timeout_seconds,
            [1, MOST_SECONDS],
        );
        let failures = number("AUTH_FAILURES", &raw.auth_failures, [0, u32::MAX]);
        let mut problem = |name: &str, message: &str| {
            problems.push(Problem::new(format!("VOXGATE_LIMIT_{name}"), message));
        };
        let rate = raw.rate.as_deref().map(str::trim).map(Rate::parse);
        if rate == Some(None) {
            problem("RATE", "must be a rate such as 50/s, 600/min or 10000/h");
        }
        if burst.is_some() && rate.is_none() {
            problem(
                "BURST",
                "means nothing without a rate; set VOXGATE_LIMIT_RATE",
            );
        }
        let header_fields = match raw.headers.as_deref().map(str::trim) {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => {
                problem("HEADERS", "must be `on` or `off`");
                true
            }
        };
        #[cfg(feature = "redis")]
        let replicas = ReplicaSettings::read(environment, &raw, problems);
        #[cfg(not(feature = "redis"))]
        for variable in OF_REPLICAS {
            if environment.get(variable).is_some() {
                let message = "cannot be used: this program was built without the feature `redis`";
                problems.push(Problem::new(variable, message));
            }
        }
        Ok(Self {
            #[cfg(feature = "redis")]
            replicas,
            defaults: Limits {
                rate: rate.flatten(),
                burst: burst.and_then(NonZeroU32::new),
                concurrency: concurrency.and_then(NonZeroU32::new),
            },
            upstream: upstream.and_then(NonZeroU32::new),
            queue: queue.unwrap_or_default(),
            queue_timeout: timeout
                .map_or(QUEUE_TIMEOUT, |seconds| Duration::from_secs(seconds.into())),
            header_fields,
            auth_failures: NonZeroU32::new(failures.unwrap_or(AUTH_FAILURES)),
        })
    }

    /// What holds callers to all of this.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(super) fn limiter(&self) -> Result<Limiter, ConfigError> {
        let mut limiter = Limiter::new()
            .defaults(self.defaults)
            .header_fields(self.header_fields);
        if let Some(most) = self.upstream {
            limiter = limiter.upstream_concurrency(most);
        }
        if let Some(most) = self.auth_failures {
            limiter = limiter.auth_failures(most);
        }
        if let Some((places, longest)) = self.queue() {
            limiter = limiter
                .waiting_room(places as usize, longest)
                .map_err(|error| {
                    let message = format!("cannot be watched: no thread to be had ({error})");
                    Problem::new("VOXGATE_LIMIT_QUEUE", message)
                })?;
        }
        #[cfg(feature = "redis")]
        if let Some(replicas) = &self.replicas {
            limiter = replicas.share(limiter)?;
        }
        Ok(limiter)
    }
}
