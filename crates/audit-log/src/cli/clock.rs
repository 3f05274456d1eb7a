//! The time zone in which times are read and shown.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time zone, UTC unless the command line names another one.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    pub(super) zone: TimeZone,
    name: String,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            name: "UTC".to_owned(),
        }
    }
}

impl Clock {
    /// Finds a zone by its IANA name, such as `Europe/Berlin`. `local` is the zone of this machine.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let zone = match name {
            "local" => TimeZone::try_system().ok()?,
            name => TimeZone::get(name).ok()?,
        };
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Some(Self { zone, name })
    }

    /// The zone's name, for titles.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Formats the `ts` of a record as `2026-03-14 10:11:12`.
    pub(super) fn moment(&self, ts: &str) -> String {
        let utc = || ts.get(..19).unwrap_or(ts).replace('T', " ");
        match ts.parse::<Timestamp>() {
            Ok(time) if self.zone != TimeZone::UTC => {
                let time = self.zone.to_datetime(time);
                time.strftime("%Y-%m-%d %H:%M:%S").to_string()
            }
            _ => utc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_the_zone() {
        let utc = Clock::default();
        let ts = "2026-03-29T00:59:59.999999Z";
        assert_eq!(
            (utc.name(), &*utc.moment(ts)),
            ("UTC", "2026-03-29 00:59:59")
        );
        assert_eq!(utc.moment("2026"), "2026");
        let berlin = Clock::parse("europe/berlin").expect("a zone");
        assert_eq!(berlin.name(), "Europe/Berlin");
        assert_eq!(berlin.moment(ts), "2026-03-29 01:59:59");
        // The clock is moved forward at this moment.
        assert_eq!(
            berlin.moment("2026-03-29T01:00:00.000000Z"),
            "2026-03-29 03:00:00"
        );
        assert!(Clock::parse("Europe/Nowhere").is_none());
        assert!(Clock::parse("local").is_some());
    }
}
