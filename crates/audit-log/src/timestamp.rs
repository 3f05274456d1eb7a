//! RFC 3339 timestamps.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The last moment that the format can express.
const LAST: &str = "9999-12-31T23:59:59.999999Z";

/// The seconds from 1970 to the year 10000.
const YEAR_10000: i64 = 253_402_300_800;

/// Formats a time in UTC with microseconds. The result has the same length for every time, so
/// timestamps sort as text. Times before 1970 and after 9999 become the nearest that fits.
pub(crate) fn format_micros(time: SystemTime) -> String {
    try_format_micros(time.max(UNIX_EPOCH)).unwrap_or_else(|| LAST.to_owned())
}

/// As [`format_micros`]; `None` when the time is before 1970 or after 9999.
pub(crate) fn try_format_micros(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    let fits = (0..YEAR_10000).contains(&time.as_second()) && time >= Timestamp::UNIX_EPOCH;
    fits.then(|| format!("{time:.6}"))
}

/// Parses a timestamp with `Z` or a numeric offset.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok()?.try_into().ok()
}
