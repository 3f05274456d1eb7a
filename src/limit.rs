//! How much a caller may do: the words. Their enforcement is the step `admit`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// What limits a key or an account. Whatever is `None` is not limited by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// How often a request may begin.
    pub rate: Option<Rate>,
    /// How many may begin at once, when none began for long; without it, as many as the rate
    /// names.
    pub burst: Option<NonZeroU32>,
    /// How many requests and tunnels may be in flight.
    pub concurrency: Option<NonZeroU32>,
}

impl Limits {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, and where they name none, those of `defaults`. A burst belongs to its rate.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        let rated = if self.rate.is_some() { self } else { defaults };
        Self {
            rate: rated.rate,
            burst: rated.burst,
            concurrency: self.concurrency.or(defaults.concurrency),
        }
    }

    /// The rate, and how many may begin at once under it.
    pub(crate) fn rate_and_burst(self) -> Option<(Rate, NonZeroU32)> {
        let rate = self.rate?;
        Some((rate, self.burst.unwrap_or(rate.requests())))
    }
}

/// A limit that a request may hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Requests of one key in a period.
    KeyRate,
    /// Requests and tunnels of one key in flight.
    KeyConcurrency,
    /// Requests of one account's keys in a period.
    AccountRate,
    /// Requests and tunnels of one account's keys in flight.
    AccountConcurrency,
    /// Requests and tunnels in flight, of all callers together.
    UpstreamConcurrency,
    /// Failed authentications from one address.
    PeerFailures,
    /// None: the limits that replicas share could not be asked.
    Shared,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::KeyRate,
        Self::KeyConcurrency,
        Self::AccountRate,
        Self::AccountConcurrency,
        Self::UpstreamConcurrency,
        Self::PeerFailures,
        Self::Shared,
    ];

    /// The name that stands in audit records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyRate => "key_rate",
            Self::KeyConcurrency => "key_concurrency",
            Self::AccountRate => "account_rate",
            Self::AccountConcurrency => "account_concurrency",
            Self::UpstreamConcurrency => "upstream_concurrency",
            Self::PeerFailures => "peer_failures",
            Self::Shared => "shared",
        }
    }
}

/// So many requests in a period: `50/s`, `600/min`, `10000/h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: NonZeroU32,
    period: Period,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// Reads `50/s`, `600/min` or `10000/h`. `None` for anything else, and for zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (requests, period) = text.split_once('/')?;
        let digits = requests.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            requests: requests.parse().ok().filter(|_| digits)?,
            period: match period {
                "s" => Period::Second,
                "min" => Period::Minute,
                "h" => Period::Hour,
                _ => return None,
            },
        })
    }

    /// The time from one request to the next at this rate, a nanosecond at least.
    pub(crate) fn interval(self) -> Duration {
        (self.period() / self.requests.get()).max(Duration::from_nanos(1))
    }

    /// How many requests.
    #[must_use]
    pub fn requests(self) -> NonZeroU32 {
        self.requests
    }

    /// In which time.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(match self.period {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3600,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
        };
        write!(f, "{}/{period}", self.requests)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_strictly_and_shown_as_they_are_written() {
        for good in ["1/s", "600/min", "4294967295/h"] {
            let rate = Rate::parse(good).expect("a rate");
            assert_eq!(rate.to_string(), good);
        }
        for bad in [
            "",
            "5",
            "0/s",
            "-1/s",
            "+1/s",
            "1/sec",
            "1 /s",
            "1/S",
            "4294967296/s",
            "/s",
        ] {
            assert_eq!(Rate::parse(bad), None, "{bad:?}");
        }
        let minute = Rate::parse("600/min").expect("a rate");
        assert_eq!(
            minute.period() / minute.requests().get(),
            Duration::from_millis(100)
        );
    }
}
