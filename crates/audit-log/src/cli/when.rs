//! Parses the times of the command line and of records.

use std::time::SystemTime;

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Span, Timestamp, ToSpan as _};

use super::clock::Clock;
use crate::timestamp;

/// The average month and year, as in `--since 1month`.
const MONTH: SignedDuration = SignedDuration::from_secs(2_630_016);
const YEAR: SignedDuration = SignedDuration::from_secs(31_557_600);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Whether a time is the start or the end of the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Since,
    Until,
}

/// Parses an RFC 3339 timestamp, a duration before `now`, a date, or a time of a day. Returns the
/// first moment inside the period (`Since`) or the first one after it (`Until`), formatted as the
/// `ts` of records. Dates and times without an offset are those of `clock`.
pub(super) fn bound(text: &str, end: End, now: SystemTime, clock: &Clock) -> Option<String> {
    let now = Timestamp::try_from(now).ok()?;
    let time = match date(text, clock) {
        Some((first, _)) if end == End::Since => first,
        Some((_, next)) => next,
        None => match text.parse() {
            Ok(time) => time,
            Err(_) => match time_of_day(text, now, clock) {
                Some(time) => time,
                None => now.checked_sub(duration(text)?).ok()?,
            },
        },
    };
    timestamp::try_format_micros(time.try_into().ok()?)
}

/// Parses `03:00` or `03:00:30`, a time of today, and `2026-03-14T03:00` or `2026-03-14 03:00`.
fn time_of_day(text: &str, now: Timestamp, clock: &Clock) -> Option<Timestamp> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let others = text.bytes().filter(|byte| !byte.is_ascii_digit());
    let time: DateTime = match &*others.collect::<Vec<u8>>() {
        b":" | b"::" if digits % 2 == 0 => {
            let today = clock.zone.to_datetime(now).date();
            DateTime::from_parts(today, text.parse::<Time>().ok()?)
        }
        b"--T:" | b"--T::" | b"-- :" | b"-- ::" => text.parse().ok()?,
        _ => return None,
    };
    clock.zone.to_timestamp(time).ok()
}

/// Parses `2026`, `2026-03` or `2026-03-14`: its first moment, and the first one after it.
fn date(text: &str, clock: &Clock) -> Option<(Timestamp, Timestamp)> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let (whole, length) = match lengths.as_slice() {
        [4] => (format!("{text}-01-01"), 1.year()),
        [4, 2] => (format!("{text}-01"), 1.month()),
        [4, 2, 2] => (text.to_owned(), 1.day()),
        _ => return None,
    };
    let first: Date = whole.parse().ok()?;
    let midnight = |date: Date| clock.zone.to_timestamp(date.at(0, 0, 0, 0)).ok();
    Some((midnight(first)?, midnight(first.checked_add(length).ok()?)?))
}

/// Parses a duration such as `7d` or `1h 30m`. `M` is a month, `m` a minute.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let span: Span = text.replace('M', "mo").parse().ok()?;
    let time = span.years(0).months(0).weeks(0).days(0);
    let days = 7 * span.get_weeks() + span.get_days();
    [
        YEAR.checked_mul(span.get_years().into()),
        MONTH.checked_mul(span.get_months()),
        DAY.checked_mul(days),
        SignedDuration::try_from(time).ok(),
    ]
    .into_iter()
    .try_fold(SignedDuration::ZERO, |sum, part| sum.checked_add(part?))
    .filter(|sum| !sum.is_negative())
}

/// Returns the `ts` of a record in milliseconds since 1970.
pub(super) fn milliseconds(ts: &str) -> u64 {
    let time = ts.parse::<Timestamp>().ok();
    time.map_or(0, |time| u64::try_from(time.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_in(zone: &str, text: &str) -> Option<(String, String)> {
        let now = timestamp::parse("2026-03-20T12:00:00Z").expect("a time");
        let clock = Clock::parse(zone).expect("a zone");
        let bound = |end| bound(text, end, now, &clock);
        Some((bound(End::Since)?, bound(End::Until)?))
    }

    fn both(text: &str) -> Option<(String, String)> {
        both_in("UTC", text)
    }

    #[test]
    fn dates_and_times_are_those_of_the_zone() {
        for (zone, text, since, until) in [
            (
                "Europe/Berlin",
                "2026-03-29",
                "2026-03-28T23",
                "2026-03-29T22",
            ),
            (
                "America/New_York",
                "2026-03",
                "2026-03-01T05",
                "2026-04-01T04",
            ),
            (
                "Europe/Berlin",
                "2026-03-20T03:00",
                "2026-03-20T02",
                "2026-03-20T02",
            ),
            ("Asia/Tokyo", "03:00", "2026-03-19T18", "2026-03-19T18"),
            (
                "Asia/Tokyo",
                "2026-03-20T03:00:00Z",
                "2026-03-20T03",
                "2026-03-20T03",
            ),
        ] {
            let hour = |hour: &str| format!("{hour}:00:00.000000Z");
            assert_eq!(
                both_in(zone, text),
                Some((hour(since), hour(until))),
                "{zone} {text}"
            );
        }
    }

    #[test]
    fn a_date_covers_its_whole_period() {
        for (text, since, until) in [
            ("2026", "2026-01-01", "2027-01-01"),
            ("2026-03", "2026-03-01", "2026-04-01"),
            ("2026-12", "2026-12-01", "2027-01-01"),
            ("2026-03-14", "2026-03-14", "2026-03-15"),
            ("2024-02-29", "2024-02-29", "2024-03-01"),
        ] {
            let midnight = |date: &str| format!("{date}T00:00:00.000000Z");
            assert_eq!(
                both(text),
                Some((midnight(since), midnight(until))),
                "{text}"
            );
        }
    }

    #[test]
    fn timestamps_and_durations_are_converted_to_utc() {
        for (text, expected) in [
            ("2026-03-14T10:11:12Z", "2026-03-14T10:11:12.000000Z"),
            ("2026-03-14T10:11:12.5Z", "2026-03-14T10:11:12.500000Z"),
            ("2026-03-14T10:11:12+02:00", "2026-03-14T08:11:12.000000Z"),
            ("2026-03-14T22:11:12-05:30", "2026-03-15T03:41:12.000000Z"),
            ("7d", "2026-03-13T12:00:00.000000Z"),
            ("90m", "2026-03-20T10:30:00.000000Z"),
            ("1h 30m", "2026-03-20T10:30:00.000000Z"),
            ("2w", "2026-03-06T12:00:00.000000Z"),
            ("1M", "2026-02-18T01:26:24.000000Z"),
            ("03:00", "2026-03-20T03:00:00.000000Z"),
            ("23:59:30", "2026-03-20T23:59:30.000000Z"),
            ("2026-03-14T10:11", "2026-03-14T10:11:00.000000Z"),
            ("2026-03-14 10:11", "2026-03-14T10:11:00.000000Z"),
            ("2026-03-14T10:11:12", "2026-03-14T10:11:12.000000Z"),
        ] {
            let expected = (expected.to_owned(), expected.to_owned());
            assert_eq!(both(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "x",
            "7",
            "2026-13",
            "2026-02-30",
            "26-03",
            "2026-3",
            "yesterday",
            "é2026-",
            "24:00",
            "3:00",
            "03:60",
            "03",
            "2026-03-14T10",
            "2026-02-30T10:00",
            "2026-03-14T10:11:12+2:00",
            "2026-03-14T10:11:12+99:00",
            "-7d",
            "2026-03-14T10:11:12é02:00",
            "+026",
            "99999999999d",
            "9999",
            "1969-12-31T23:59:59+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(both(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_are_converted_to_milliseconds() {
        assert_eq!(milliseconds("1970-01-02T00:00:00.123999Z"), 86_400_123);
        assert_eq!(milliseconds("2026-99-99T00:00:00.000000Z"), 0);
    }
}
