//! The settings of limits.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use voxgate_core::error::{ConfigError, Problem};
use voxgate_limits::{Limits, Rate};

use crate::rate_limit::{Limiter, LimiterBuilder};

use super::environment::Environment;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
const AUTH_FAILURES: u32 = 60;
const MOST_PLACES: u32 = 100_000;
const MOST_SECONDS: u32 = 3600;

/// The settings of a store that replicas share. The crate of the store reads them.
const SHARED_STORE: [&str; 6] = [
    "VOXGATE_REDIS_URL",
    "VOXGATE_REDIS_URL_FILE",
    "VOXGATE_REDIS_CA_FILE",
    "VOXGATE_LIMIT_ON_FAILURE",
    "VOXGATE_LIMIT_LEASE_SECONDS",
    "VOXGATE_LIMIT_NAMESPACE",
];

/// The limits in addition to those of keys and accounts.
#[derive(Debug)]
pub struct LimitSettings {
    defaults: Limits,
    upstream: Option<NonZeroU32>,
    queue: u32,
    queue_timeout: Duration,
    header_fields: bool,
    load_report: bool,
    auth_failures: Option<NonZeroU32>,
    /// The settings of a shared store that are set.
    shared_store: Vec<&'static str>,
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
    load_report: Option<String>,
    auth_failures: Option<String>,
}

/// A whole number in a range.
fn count(
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
    /// The limits of keys without limits of their own.
    #[must_use]
    pub fn defaults(&self) -> Limits {
        self.defaults
    }

    /// How many requests and tunnels of all callers together may be in flight.
    #[must_use]
    pub fn upstream_concurrency(&self) -> Option<NonZeroU32> {
        self.upstream
    }

    /// How many requests may wait for a concurrency permit, and for how long each; `None` if no
    /// request waits.
    #[must_use]
    pub fn queue(&self) -> Option<(u32, Duration)> {
        (self.queue > 0).then_some((self.queue, self.queue_timeout))
    }

    /// Whether responses have the header fields of limits and quotas.
    #[must_use]
    pub fn header_fields(&self) -> bool {
        self.header_fields
    }

    /// How often authentication may fail from one address in a minute; `None` without a limit.
    #[must_use]
    pub fn auth_failures(&self) -> Option<NonZeroU32> {
        self.auth_failures
    }

    /// Whether replicas share the limits in a store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let url = |variable: &&str| variable.starts_with("VOXGATE_REDIS_URL");
        self.shared_store.iter().any(url)
    }

    /// The problems without a shared store: each of its settings that is set.
    pub(super) fn without_store(&self) -> Vec<Problem> {
        problems_without_store(&self.shared_store)
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
                "has no effect without a rate; set VOXGATE_LIMIT_RATE",
            );
        }
        let mut switch = |name: &str, given: &Option<String>, default: bool| match given
            .as_deref()
            .map(str::trim)
        {
            None => default,
            Some("on") => true,
            Some("off") => false,
            Some(_) => {
                problem(name, "must be `on` or `off`");
                default
            }
        };
        let header_fields = switch("HEADERS", &raw.headers, true);
        let load_report = switch("LOAD_REPORT", &raw.load_report, false);
        if load_report && upstream.is_none() {
            problem(
                "LOAD_REPORT",
                "has no effect without a limit; set VOXGATE_LIMIT_UPSTREAM_CONCURRENCY",
            );
        }
        Ok(Self {
            shared_store: shared_store(environment),
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
            load_report,
            auth_failures: NonZeroU32::new(failures.unwrap_or(AUTH_FAILURES)),
        })
    }

    /// A limiter with these settings, and without a shared store.
    pub(super) fn builder(&self) -> LimiterBuilder {
        let mut builder = Limiter::builder()
            .with_default_limits(self.defaults)
            .with_header_fields(self.header_fields)
            .with_load_report(self.load_report);
        if let Some(most) = self.upstream {
            builder = builder.with_upstream_concurrency(most);
        }
        if let Some(most) = self.auth_failures {
            builder = builder.with_auth_failure_limit(most);
        }
        if let Some((places, longest)) = self.queue() {
            builder = builder.with_wait_queue(places as usize, longest);
        }
        builder
    }
}

/// The settings of a shared store that are set.
fn shared_store(environment: &Environment) -> Vec<&'static str> {
    let set = SHARED_STORE.into_iter();
    set.filter(|variable| environment.get(variable).is_some())
        .collect()
}

/// The problems of an environment that is used without a shared store.
pub(super) fn needs_store(environment: &Environment) -> Vec<Problem> {
    problems_without_store(&shared_store(environment))
}

fn problems_without_store(variables: &[&str]) -> Vec<Problem> {
    let message = "cannot be used, because this program has no shared store: build it with the crate \
                   `voxgate-limits-redis`, or remove the variable";
    let problem = |variable: &&str| Problem::new(*variable, message);
    variables.iter().map(problem).collect()
}
