//! Quotas: how much a key or an account may use in a day or a month of the calendar.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;

use crate::request::LimitScope;

/// The largest amount. A shared store counts in numbers that are exact up to 2^53.
const MOST: u64 = 1 << 53;
/// What a wrong quota is told.
const FORM: &str = "a quota is an amount, a unit and a period, such as \"2M characters/month\", \
                    \"10h audio/month\" or \"1000 requests/day\"";

/// How much of a unit may be used in a calendar period: `2M characters/month`, `10h audio/month`,
/// `1000 requests/day`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// In the unit; for audio, in milliseconds.
    amount: NonZeroU64,
    unit: QuotaUnit,
    period: QuotaPeriod,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuotaUnit {
    /// Characters of text, as the vendor counts them.
    Characters,
    /// Accepted requests.
    Requests,
    /// The duration of audio in answers.
    Audio,
}

impl QuotaUnit {
    /// All units, in the order of [`Amounts`].
    pub const ALL: [Self; 3] = [Self::Characters, Self::Requests, Self::Audio];

    /// The name in quotas, header fields and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Requests => "requests",
            Self::Audio => "audio",
        }
    }
}

/// The calendar period of a quota, in the time zone of the quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuotaPeriod {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next one.
    Month,
}

impl QuotaPeriod {
    /// All periods.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// The name in quotas, header fields and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// An amount of each unit, in the order of [`QuotaUnit::ALL`]. Audio is in milliseconds.
pub type Amounts = [u64; 3];

/// Why a text is not a quota. Its message says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidQuota(&'static str);

impl fmt::Display for InvalidQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidQuota {}

impl Quota {
    /// An amount of a unit in each period. Audio is in milliseconds. `None` for zero, and for more
    /// than 2^53.
    #[must_use]
    pub fn new(amount: u64, unit: QuotaUnit, period: QuotaPeriod) -> Option<Self> {
        let amount = NonZeroU64::new(amount).filter(|amount| amount.get() <= MOST)?;
        Some(Self {
            amount,
            unit,
            period,
        })
    }

    /// Parses a quota. The decimal suffixes `k`, `M` and `G` multiply a number of characters or
    /// requests; audio is a number with `h`, `min` or `s`.
    ///
    /// ```
    /// use voxgate_limits::{Quota, QuotaPeriod, QuotaUnit};
    ///
    /// let quota = Quota::parse("2M characters/month")?;
    /// assert_eq!(quota.amount(), 2_000_000);
    /// assert_eq!(Quota::parse("10h audio/day")?.amount(), 36_000_000);
    /// assert!(Quota::parse("2Mi characters/month").is_err());
    /// # Ok::<(), voxgate_limits::InvalidQuota>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the text is anything else. The message says what to write.
    pub fn parse(text: &str) -> Result<Self, InvalidQuota> {
        let (amount, period) = text.split_once('/').ok_or(InvalidQuota(FORM))?;
        let (amount, unit) = amount.split_once(' ').ok_or(InvalidQuota(FORM))?;
        let period = match period {
            "day" => QuotaPeriod::Day,
            "month" => QuotaPeriod::Month,
            _ => return Err(InvalidQuota("the period of a quota is `day` or `month`")),
        };
        let unit = match unit {
            "characters" => QuotaUnit::Characters,
            "requests" => QuotaUnit::Requests,
            "audio" => QuotaUnit::Audio,
            _ => {
                let message = "the unit of a quota is `characters`, `requests` or `audio`";
                return Err(InvalidQuota(message));
            }
        };
        let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = amount.split_at(digits);
        let factor: u64 = match (unit, suffix) {
            (QuotaUnit::Audio, "s") => 1_000,
            (QuotaUnit::Audio, "min") => 60_000,
            (QuotaUnit::Audio, "h") => 3_600_000,
            (QuotaUnit::Audio, _) => {
                let message =
                    "an amount of audio is a whole number with `h`, `min` or `s`, such as 10h";
                return Err(InvalidQuota(message));
            }
            (_, "") => 1,
            (_, "k") => 1_000,
            (_, "M") => 1_000_000,
            (_, "G") => 1_000_000_000,
            _ => {
                let message = "an amount is a whole number, alone or with the decimal suffix `k`, \
                               `M` or `G`";
                return Err(InvalidQuota(message));
            }
        };
        if number.is_empty() {
            return Err(InvalidQuota(FORM));
        }
        let amount = number.parse::<u64>().ok();
        let amount = amount.and_then(|number| number.checked_mul(factor));
        let too_large = "the amount of a quota must be at least 1 and at most 2^53 (for audio, \
                         in milliseconds)";
        let quota = amount.and_then(|amount| Self::new(amount, unit, period));
        quota.ok_or(InvalidQuota(too_large))
    }

    /// The amount; for audio, in milliseconds.
    #[must_use]
    pub fn amount(self) -> u64 {
        self.amount.get()
    }

    /// What it counts.
    #[must_use]
    pub fn unit(self) -> QuotaUnit {
        self.unit
    }

    /// The period in which it counts.
    #[must_use]
    pub fn period(self) -> QuotaPeriod {
        self.period
    }

    /// Whether `amount` more may be used, when `used` is used already. Audio is counted when it was
    /// sent, so a request may start as long as anything is left.
    #[must_use]
    pub fn allows(self, used: u64, amount: u64) -> bool {
        match self.unit {
            QuotaUnit::Audio => used < self.amount(),
            _ => amount == 0 || used.saturating_add(amount) <= self.amount(),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount();
        let suffixes: &[(u64, &str)] = match self.unit {
            QuotaUnit::Audio => &[(3_600_000, "h"), (60_000, "min"), (1_000, "s")],
            _ => &[(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")],
        };
        let whole = suffixes
            .iter()
            .find(|(factor, _)| amount.is_multiple_of(*factor));
        let (number, suffix) = match whole {
            Some((factor, suffix)) => (amount / factor, *suffix),
            None => (amount, ""),
        };
        let (unit, period) = (self.unit.as_str(), self.period.as_str());
        write!(f, "{number}{suffix} {unit}/{period}")
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where replicas share what is used of their quotas.
///
/// A store keeps the contribution of each replica to each counter. A replica sends what it has
/// contributed with each command, so that a store that lost its data gets it back.
pub trait QuotaStore: Send + Sync + 'static {
    /// Adds the command's amounts to all of its counters, or to none if a counter's quota does not
    /// allow it.
    fn count(&self, command: QuotaCommand) -> QuotaFuture;

    /// Whether the store is expected to answer.
    fn is_available(&self) -> bool;

    /// How many replicas share the store, as last seen; at least 1, for this one.
    fn replicas(&self) -> u32;
}

/// One change of the counters of a key and its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaCommand {
    /// The name of this replica among those that share the store.
    pub replica: Arc<str>,
    /// The counters.
    pub counters: Vec<QuotaCounter>,
    /// What to add to each of them, if their quotas allow it.
    pub add: Amounts,
}

/// One counter of a key or an account in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaCounter {
    /// Whether it counts a key or an account.
    pub scope: LimitScope,
    /// The identifier of the key or account.
    pub id: Box<str>,
    /// The period: the date as the number 20261128, or 20261100 for a month.
    pub period: u32,
    /// How many seconds the store must keep the counter.
    pub keep_seconds: u64,
    /// What this replica has contributed so far. The store corrects a lower number.
    pub contributed: Amounts,
    /// What of it the store has confirmed. A store that has less has lost data.
    pub confirmed: Amounts,
    /// What all replicas have used, as far as this one knows. It counts if the store has lost data,
    /// until the other replicas have put back theirs.
    pub known: Amounts,
    /// What this replica takes back first, because it was counted and not used.
    pub take_back: Amounts,
    /// The quota of each unit. 0 limits nothing.
    pub quotas: Amounts,
}

/// The answer of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaAnswer {
    /// The counter that refused, by its index, and the unit. `None` if the amounts were added.
    pub refused: Option<(usize, QuotaUnit)>,
    /// What all replicas have used together, for each counter.
    pub used: Vec<Amounts>,
}

/// The answer, or `None` if the store is unavailable. Dropping it does not withdraw the command: the
/// store sends it at once, and takes back what it added for a dropped future.
pub type QuotaFuture = Pin<Box<dyn Future<Output = Option<QuotaAnswer>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_parsed_strictly_and_displayed_as_written() {
        for good in [
            "2M characters/month",
            "100k characters/day",
            "1500 characters/day",
            "1G characters/month",
            "1k requests/day",
            "10h audio/month",
            "90min audio/day",
            "7s audio/day",
            "9007199254740992 characters/month",
        ] {
            let quota = Quota::parse(good).expect(good);
            assert_eq!(quota.to_string(), good);
        }
        for bad in [
            "",
            "2M",
            "2M characters",
            "characters/month",
            " characters/month",
            "2Mi characters/month",
            "2m characters/month",
            "2 M characters/month",
            "-1 characters/month",
            "+1 characters/month",
            "1.5M characters/month",
            "0 characters/month",
            "0h audio/day",
            "2M characters/year",
            "2M Characters/month",
            "2M  characters/month",
            "2M characters/month ",
            "10 audio/month",
            "10h characters/month",
            "999999999999h audio/month",
            "18446744073709551615 characters/day",
            "18446744073709551616 characters/day",
            "99999999999G requests/day",
            "9007199254740993 characters/month",
            "１ characters/day",
        ] {
            let error = Quota::parse(bad).expect_err(bad);
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn what_fits_is_allowed() {
        let quota = Quota::parse("10 characters/day").expect("a quota");
        assert!(quota.allows(0, 10) && quota.allows(9, 1) && quota.allows(99, 0));
        assert!(!quota.allows(0, 11) && !quota.allows(10, 1) && !quota.allows(1, u64::MAX));
        let audio = Quota::parse("1s audio/day").expect("a quota");
        assert!(audio.allows(999, 5000) && !audio.allows(1000, 0));
    }
}
