//! The limits that an operator sets.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use crate::admit::Limiter;
use crate::error::{ConfigError, Problem};
use crate::limit::{Limits, Rate};

use super::environment::Environment;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
const AUTH_FAILURES: u32 = 60;
const MOST_PLACES: u32 = 100_000;
const MOST_SECONDS: u32 = 3600;

/// What limits callers, beside the limits of their keys and accounts.
#[derive(Debug)]
pub struct LimitSettings {
    defaults: Limits,
    upstream: Option<NonZeroU32>,
    queue: u32,
    queue_timeout: Duration,
    header_fields: bool,
    auth_failures: Option<NonZeroU32>,
}

#[derive(Deserialize)]
struct Raw {
    rate: Option<String>,
    burst: Option<String>,
    concurrency: Option<String>,
    upstream_concurrency: Option<String>,
    queue: Option<String>,
    queue_timeout_seconds: Option<String>,
    headers: Option<String>,
    auth_failures: Option<String>,
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

    pub(super) fn read(
        environment: &Environment,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, ConfigError> {
        let raw: Raw = environment.fill("VOXGATE_LIMIT_")?;
        let mut problem = |variable: &str, message: String| {
            problems.push(Problem::new(format!("VOXGATE_LIMIT_{variable}"), message));
        };
        let mut count = |variable, given: Option<String>, least: u32, most: u32| {
            let given = given?;
            let number = given.trim().parse().ok();
            let number = number.filter(|number| (least..=most).contains(number));
            if number.is_none() {
                let message = format!("must be a whole number from {least} to {most}");
                problem(variable, message);
            }
            number
        };
        let burst = count("BURST", raw.burst, 1, u32::MAX);
        let concurrency = count("CONCURRENCY", raw.concurrency, 1, u32::MAX);
        let upstream = raw.upstream_concurrency;
        let upstream = count("UPSTREAM_CONCURRENCY", upstream, 1, u32::MAX);
        let queue = count("QUEUE", raw.queue, 0, MOST_PLACES);
        let timeout = raw.queue_timeout_seconds;
        let timeout = count("QUEUE_TIMEOUT_SECONDS", timeout, 1, MOST_SECONDS);
        let failures = count("AUTH_FAILURES", raw.auth_failures, 0, u32::MAX);
        let rate = raw.rate.and_then(|text| {
            let rate = Rate::parse(text.trim());
            if rate.is_none() {
                let message = "must be a rate such as 50/s, 600/min or 10000/h";
                problem("RATE", message.to_owned());
            }
            rate
        });
        if burst.is_some() && rate.is_none() {
            let message = "means nothing without a rate; set VOXGATE_LIMIT_RATE";
            problem("BURST", message.to_owned());
        }
        let header_fields = match raw.headers.as_deref().map(str::trim) {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => {
                problem("HEADERS", "must be `on` or `off`".to_owned());
                true
            }
        };
        Ok(Self {
            defaults: Limits {
                rate,
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
        Ok(limiter)
    }
}
