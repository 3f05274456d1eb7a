//! How much a caller may do: the words, not their enforcement.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// What limits a key or an account. Whatever is `None` is not limited by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// How often a request may begin.
    pub rate: Option<Rate>,
    /// How many may begin at once before the rate counts.
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
