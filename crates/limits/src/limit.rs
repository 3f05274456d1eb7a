//! The types of limits.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The limits of a key or an account. A field that is `None` limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// How often requests may start.
    pub rate: Option<Rate>,
    /// How many requests may start at once after a pause. Without it, as many as the rate has in a
    /// period.
    pub burst: Option<NonZeroU32>,
    /// How many requests and tunnels may be in flight.
    pub concurrency: Option<NonZeroU32>,
}

impl Limits {
    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, completed with those of `defaults`. A burst is taken together with its rate.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        let rated = if self.rate.is_some() { self } else { defaults };
        Self {
            rate: rated.rate,
            burst: rated.burst,
            concurrency: self.concurrency.or(defaults.concurrency),
        }
    }

    /// The rate, and how many requests may start at once.
    #[must_use]
    pub fn rate_and_burst(self) -> Option<(Rate, NonZeroU32)> {
        let rate = self.rate?;
        Some((rate, self.burst.unwrap_or(rate.requests())))
    }
}

/// A limit that can refuse a request.
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
    /// The shared store was unavailable, and no limit was checked.
    Shared,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 7] = [
        Self::KeyRate,
        Self::KeyConcurrency,
        Self::AccountRate,
        Self::AccountConcurrency,
        Self::UpstreamConcurrency,
        Self::PeerFailures,
        Self::Shared,
    ];

    /// Whether this limit counts requests in a period.
    #[must_use]
    pub fn is_rate(self) -> bool {
        matches!(self, Self::KeyRate | Self::AccountRate)
    }

    /// The name of this limit in audit records and metrics.
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

/// A number of requests in a period: `50/s`, `600/min`, `10000/h`.
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
    /// Parses `50/s`, `600/min` or `10000/h`. `None` for anything else, and for zero.
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

    /// The time from one request to the next at this rate, at least a nanosecond.
    #[must_use]
    pub fn interval(self) -> Duration {
        (self.period() / self.requests.get()).max(Duration::from_nanos(1))
    }

    /// The number of requests.
    #[must_use]
    pub fn requests(self) -> NonZeroU32 {
        self.requests
    }

    /// The period.
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
    fn rates_are_parsed_strictly_and_displayed_unchanged() {
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
