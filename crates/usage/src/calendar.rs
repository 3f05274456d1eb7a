//! Days and months in the time zone of the quotas.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use voxgate::rate_limit::QuotaPeriod;

/// A calendar in one time zone. A day has 23 or 25 hours when the clocks change.
pub struct Calendar {
    zone: TimeZone,
    name: String,
    /// Times are asked in order, so most are on the same day as the one before.
    last: Mutex<Option<Today>>,
}

/// A day and its month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    day: u32,
    month: u32,
    /// In Unix time.
    day_starts: i64,
    day_ends: i64,
    month_starts: i64,
    month_ends: i64,
}

impl Calendar {
    /// Finds a zone by its IANA name, such as `Europe/Berlin`. `None` if there is no such zone.
    ///
    /// ```
    /// assert!(voxgate_usage::Calendar::in_zone("Europe/Berlin").is_some());
    /// assert!(voxgate_usage::Calendar::in_zone("Berlin").is_none());
    /// ```
    #[must_use]
    pub fn in_zone(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Some(Self {
            zone,
            name,
            last: Mutex::default(),
        })
    }

    /// The name of the zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.name
    }

    /// The day and the month of a time.
    pub fn today(&self, time: SystemTime) -> Today {
        let seconds = unix(time);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(today) =
            last.filter(|today| (today.day_starts..today.day_ends).contains(&seconds))
        {
            return today;
        }
        let today = self.find(seconds);
        *last = Some(today);
        today
    }

    fn find(&self, seconds: i64) -> Today {
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = self.zone.to_datetime(time).date();
        let midnight = |date: Date| {
            let time = self.zone.to_timestamp(date.at(0, 0, 0, 0));
            time.map_or(i64::MAX, Timestamp::as_second)
        };
        let first = date.first_of_month();
        // The calendar ends in the year 9999.
        let next_day = date.checked_add(1.day()).unwrap_or(date);
        let next_month = first.checked_add(1.month()).unwrap_or(date);
        Today {
            day: number(date),
            month: number(first) - 1,
            day_starts: midnight(date),
            day_ends: midnight(next_day),
            month_starts: midnight(first),
            month_ends: midnight(next_month),
        }
    }
}

impl Today {
    /// The period's number: 20261128 for a day, 20261100 for a month.
    #[must_use]
    pub fn period(&self, period: QuotaPeriod) -> u32 {
        match period {
            QuotaPeriod::Day => self.day,
            QuotaPeriod::Month => self.month,
        }
    }

    /// When the period began.
    #[must_use]
    pub fn starts(&self, period: QuotaPeriod) -> SystemTime {
        from_unix(match period {
            QuotaPeriod::Day => self.day_starts,
            QuotaPeriod::Month => self.month_starts,
        })
    }

    /// When the next period begins.
    #[must_use]
    pub fn ends(&self, period: QuotaPeriod) -> SystemTime {
        from_unix(match period {
            QuotaPeriod::Day => self.day_ends,
            QuotaPeriod::Month => self.month_ends,
        })
    }
}

fn number(date: Date) -> u32 {
    let year = u32::try_from(date.year()).unwrap_or_default();
    year * 10_000 + date.month().unsigned_abs() as u32 * 100 + date.day().unsigned_abs() as u32
}

pub(crate) fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn from_unix(seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Calendar").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        let time: Timestamp = text.parse().expect("a time");
        time.try_into().expect("after 1970")
    }

    #[test]
    fn days_and_months_are_those_of_the_zone() {
        let berlin = Calendar::in_zone("Europe/Berlin").expect("a zone");
        // (time, day, hours of the day, month, days of the month)
        for (time, day, hours, month) in [
            ("2026-11-30T22:59:59Z", 20_261_130, 24, 20_261_100),
            ("2026-11-30T23:00:00Z", 20_261_201, 24, 20_261_200),
            ("2026-12-31T23:00:00Z", 20_270_101, 24, 20_270_100),
            // The clocks are moved forward on the 29th of March, back on the 25th of October.
            ("2026-03-29T10:00:00Z", 20_260_329, 23, 20_260_300),
            ("2026-10-25T10:00:00Z", 20_261_025, 25, 20_261_000),
            ("2028-02-29T10:00:00Z", 20_280_229, 24, 20_280_200),
        ] {
            let today = berlin.today(at(time));
            let found = [QuotaPeriod::Day, QuotaPeriod::Month].map(|it| today.period(it));
            assert_eq!(found, [day, month], "{time}");
            let lasts = today
                .ends(QuotaPeriod::Day)
                .duration_since(today.starts(QuotaPeriod::Day));
            assert_eq!(lasts.expect("forward").as_secs(), hours * 3600, "{time}");
        }
        let march = berlin.today(at("2026-03-29T10:00:00Z"));
        assert_eq!(march.starts(QuotaPeriod::Month), at("2026-02-28T23:00:00Z"));
        assert_eq!(march.ends(QuotaPeriod::Month), at("2026-03-31T22:00:00Z"));
    }

    #[test]
    fn a_midnight_that_does_not_exist_is_the_first_moment_after_it() {
        // In Santiago the clocks are moved forward at midnight.
        let santiago = Calendar::in_zone("America/Santiago").expect("a zone");
        let today = santiago.today(at("2026-09-06T12:00:00Z"));
        assert_eq!(today.period(QuotaPeriod::Day), 20_260_906);
        assert_eq!(today.starts(QuotaPeriod::Day), at("2026-09-06T04:00:00Z"));
        let before = santiago.today(at("2026-09-06T03:59:59Z"));
        assert_eq!(before.period(QuotaPeriod::Day), 20_260_905);
    }

    #[test]
    fn times_out_of_range_do_not_panic() {
        let utc = Calendar::in_zone("UTC").expect("a zone");
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        for time in [SystemTime::UNIX_EPOCH, at("9999-12-30T21:59:59Z"), far] {
            let _ = utc.today(time);
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(9);
        assert_eq!(utc.today(before).period(QuotaPeriod::Day), 19_700_101);
    }
}
