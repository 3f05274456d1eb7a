//! Times as people write them, and as records have them.

use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_micros, parse_duration, parse_rfc3339};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The seconds from 1970 to the year 10000.
const YEAR_10000: u64 = 253_402_300_800;

/// Which end of a span a time stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Since,
    Until,
}

/// Reads a moment (RFC 3339), a duration back from `now`, or a date. It becomes the first moment
/// that counts, or the first that does not count any more, in the form of the records' `ts`.
pub(super) fn bound(text: &str, end: End, now: SystemTime) -> Option<String> {
    let time = match date(text) {
        Some((first, _)) if end == End::Since => first,
        Some((_, next)) => next,
        None => moment(text).or_else(|| now.checked_sub(parse_duration(text).ok()?))?,
    };
    // Outside of these years there is no such form.
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < YEAR_10000).then(|| format_rfc3339_micros(time).to_string())
}

/// `2026`, `2026-03` or `2026-03-14`: its first moment, and the first one after it.
fn date(text: &str) -> Option<(SystemTime, SystemTime)> {
    let form: Vec<usize> = text.split('-').map(str::len).collect();
    let whole = match form.as_slice() {
        [4] => format!("{text}-01-01"),
        [4, 2] => format!("{text}-01"),
        [4, 2, 2] => text.to_owned(),
        _ => return None,
    };
    let midnight = |date: &str| parse_rfc3339(&format!("{date}T00:00:00Z")).ok();
    let first = midnight(&whole)?;
    let year: u32 = text.get(..4)?.parse().ok()?;
    let month: u32 = whole.get(5..7)?.parse().ok()?;
    let next = match form.len() {
        1 => midnight(&format!("{:04}-01-01", year + 1))?,
        2 => midnight(&format!(
            "{:04}-{:02}-01",
            year + month / 12,
            month % 12 + 1
        ))?,
        _ => first.checked_add(DAY)?,
    };
    Some((first, next))
}

/// A moment, in UTC or with an offset from it.
fn moment(text: &str) -> Option<SystemTime> {
    if let Ok(time) = parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let local = parse_rfc3339(&format!("{local}Z")).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str, limit: u64| -> Option<u64> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits)?;
        (number < limit).then_some(number)
    };
    let offset_seconds = 3600 * number(hours, 24)? + 60 * number(minutes, 60)?;
    let distance = Duration::from_secs(offset_seconds);
    match offset.as_bytes()[0] {
        b'+' => local.checked_sub(distance),
        b'-' => local.checked_add(distance),
        _ => None,
    }
}

/// The `ts` of a record in milliseconds since 1970.
pub(super) fn milliseconds(ts: &str) -> u64 {
    let since = parse_rfc3339(ts)
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> Option<(String, String)> {
        let now = parse_rfc3339("2026-03-20T12:00:00Z").expect("a time");
        Some((bound(text, End::Since, now)?, bound(text, End::Until, now)?))
    }

    #[test]
    fn a_date_is_all_of_it() {
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
    fn a_moment_is_a_moment_in_any_zone_and_a_duration_goes_back() {
        for (text, expected) in [
            ("2026-03-14T10:11:12Z", "2026-03-14T10:11:12.000000Z"),
            ("2026-03-14T10:11:12.5Z", "2026-03-14T10:11:12.500000Z"),
            ("2026-03-14T10:11:12+02:00", "2026-03-14T08:11:12.000000Z"),
            ("2026-03-14T22:11:12-05:30", "2026-03-15T03:41:12.000000Z"),
            ("7d", "2026-03-13T12:00:00.000000Z"),
            ("90m", "2026-03-20T10:30:00.000000Z"),
        ] {
            let expected = (expected.to_owned(), expected.to_owned());
            assert_eq!(both(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
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
            "2026-03-14T10:11:12",
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
    fn times_count_in_milliseconds() {
        assert_eq!(milliseconds("1970-01-02T00:00:00.123999Z"), 86_400_123);
        assert_eq!(milliseconds("2026-99-99T00:00:00.000000Z"), 0);
    }
}
