//! Times: reading, writing and describing them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toml_edit::{Datetime, Offset};
use voxgate::Problem;

/// The first time that RFC 3339, with its four digits for a year, cannot write.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
/// The largest offset of a clock from UTC.
const FARTHEST: Duration = Duration::from_secs((23 * 60 + 59) * 60);

/// The current time in whole seconds, as a file contains it.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UNIX_EPOCH + Duration::from_secs(since.unwrap_or_default().as_secs())
}

/// Reads the value of `flag`: a duration from `now`, or a time.
pub(super) fn read(flag: &str, text: &str, now: SystemTime) -> Result<SystemTime, Problem> {
    let moment = match humantime::parse_duration(text) {
        Ok(duration) => after(now, duration),
        Err(_) => rfc3339(text),
    };
    moment.ok_or_else(|| {
        let message = "must be a duration from now such as 90d or 12h, a date such as 2027-03-01 \
                (midnight in UTC), or a time such as 2027-03-01T00:00:00Z";
        Problem::new(flag, message)
    })
}

/// `now + duration`, unless it cannot be written.
pub(super) fn after(now: SystemTime, duration: Duration) -> Option<SystemTime> {
    now.checked_add(duration)
        .filter(|moment| *moment < UNIX_EPOCH + YEAR_10000)
}

/// A time with its offset from UTC, or a date, which begins at midnight in UTC.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let given: Datetime = text.parse().ok()?;
    if given.date.is_some() && given.time.is_none() {
        return humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
    }
    let clock = Datetime {
        offset: Some(Offset::Z),
        ..given
    };
    let clock = humantime::parse_rfc3339(&clock.to_string()).ok()?;
    match given.offset? {
        Offset::Z => Some(clock),
        // With an offset to the east, the same clock time is an earlier moment.
        Offset::Custom { minutes } => {
            let distance = Duration::from_secs(60 * u64::from(minutes.unsigned_abs()));
            match minutes > 0 {
                true => clock.checked_sub(distance),
                false => after(clock, distance),
            }
        }
    }
}

/// The time in RFC 3339. `humantime` would panic before 1970 and after 9999, so such times are
/// written with an offset from UTC.
pub(super) fn written(moment: SystemTime) -> String {
    let end = UNIX_EPOCH + YEAR_10000;
    let (clock, zone) = match moment {
        moment if moment < UNIX_EPOCH => (moment + FARTHEST, "+23:59"),
        moment if moment >= end => (moment - FARTHEST, "-23:59"),
        moment => (moment, "Z"),
    };
    // A file cannot contain a time beyond that.
    let clock = clock.clamp(UNIX_EPOCH, end - Duration::from_nanos(1));
    let clock = humantime::format_rfc3339(clock).to_string();
    format!("{}{zone}", clock.trim_end_matches('Z'))
}

/// The remaining time: `89d`, or `expired 2d ago`.
pub(super) fn left(expires: Option<SystemTime>, now: SystemTime) -> String {
    let Some(expires) = expires else {
        return "never".to_owned();
    };
    match expires.duration_since(now) {
        Ok(left) if !left.is_zero() => roughly(left),
        _ => {
            let since = now.duration_since(expires).unwrap_or_default();
            format!("expired {} ago", roughly(since))
        }
    }
}

fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (text, expected) in [
            ("90d", "2001-12-08T01:46:40Z"),
            ("1h 30m", "2001-09-09T03:16:40Z"),
            ("2027-03-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            ("2027-03-01", "2027-03-01T00:00:00Z"),
            ("2027-03-01T00:00:00.5Z", "2027-03-01T00:00:00.500000000Z"),
            ("2027-03-01T02:30:00+02:30", "2027-03-01T00:00:00Z"),
            ("2027-02-28T19:00:00-05:00", "2027-03-01T00:00:00Z"),
        ] {
            let moment = read("--expires", text, now).expect(text);
            assert_eq!(written(moment), expected, "{text}");
        }
        for bad in [
            "",
            "90",
            "soon",
            "-1d",
            "2027-13-45",
            "2027-03-01T00:00:00",
            "00:00:00",
            "9000years",
            "99999999999999years",
            "9999-12-31T23:59:59-01:00",
            "1960-01-01T00:00:00Z",
        ] {
            assert!(read("--expires", bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_time_in_a_file_can_be_written() {
        for text in [
            "1970-01-01T00:00:00Z",
            "1970-01-02T00:00:00+23:59",
            "9999-12-31T23:59:59.5Z",
            "2027-03-01T00:00:00-01:00",
        ] {
            let file = |moment: &str| {
                let digest = "1".repeat(64);
                let text = format!("[[key]]\nid='a'\nsha256='{digest}'\nexpires={moment}\n");
                let file = voxgate::keys::KeysFile::parse(&text, "k", voxgate::Dialect::Rime);
                let file = file.expect("a good file");
                file.keys()[0]
                    .principal()
                    .validity()
                    .expires
                    .expect("a moment")
            };
            let moment = file(text);
            assert_eq!(
                file(&written(moment)),
                moment,
                "{text}: {}",
                written(moment)
            );
        }
        let farthest = UNIX_EPOCH + 2 * YEAR_10000;
        assert!(written(farthest).starts_with("9999-"));
    }

    #[test]
    fn the_remaining_time_is_rounded_down() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (seconds, ahead, behind) in [
            (1, "1s", "expired 1s ago"),
            (60, "1m", "expired 1m ago"),
            (7199, "1h", "expired 1h ago"),
            (90 * 86400 - 1, "89d", "expired 89d ago"),
        ] {
            let distance = Duration::from_secs(seconds);
            assert_eq!(left(Some(now + distance), now), ahead);
            assert_eq!(left(Some(now - distance), now), behind);
        }
        assert_eq!(left(Some(now), now), "expired 0s ago");
        assert_eq!(left(None, now), "never");
    }
}
