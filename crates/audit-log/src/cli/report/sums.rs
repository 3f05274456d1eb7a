//! Findings and totals of a report.

use std::collections::BTreeMap;

use super::super::log::InvalidLines;
use super::gather::{Usage, UsageReport};

/// Shown instead of a key id if no key is known.
pub(super) const NO_KEY: &str = "(no known key)";

/// How complete the log is. An auditor needs this first.
pub(super) struct Findings {
    pub(super) complete: bool,
    pub(super) sentences: Vec<String>,
}

pub(super) fn findings(report: &UsageReport, invalid_lines: &InvalidLines) -> Findings {
    let sum = |of: fn(&super::sequence::Sequence) -> u64| -> u64 {
        report.instances.values().map(of).sum()
    };
    let (lost, unaccounted, repeated) = (
        sum(|sequence| sequence.lost()),
        sum(|sequence| sequence.unaccounted()),
        sum(|sequence| sequence.repeated),
    );
    let instances = report.instances.len();
    let late = report.instances.values();
    let late = late.filter(|sequence| sequence.begins().is_some_and(|first| first > 1));
    let late = late.count();
    let running = report
        .instances
        .values()
        .filter(|sequence| !sequence.stopped);
    let running = running.count();
    let mut sentences = Vec::new();
    let mut say = |wrong: u64, text: String| {
        if wrong > 0 {
            sentences.push(text);
        }
    };
    say(
        lost,
        format!(
            "Missing records: {lost}. Recorded as lost: {}. Unexplained: {unaccounted}.",
            lost.saturating_sub(unaccounted)
        ),
    );
    say(
        invalid_lines.count,
        format!("Some lines could not be read: {invalid_lines}."),
    );
    say(
        late as u64,
        format!(
            "Instances without their first records: {late} of {instances}. Those records are not in \
             these files."
        ),
    );
    say(
        repeated,
        format!("Duplicate records: {repeated}. Each copy was counted."),
    );
    let complete = sentences.is_empty();
    if complete {
        sentences.push(format!(
            "No record is missing between the first and the last record of each instance (instances: \
             {instances}), and every line could be read."
        ));
    }
    if running > 0 {
        sentences.push(format!(
            "Instances without a stop record: {running} of {instances}. They are still running, they \
             crashed, or their last records are not in these files."
        ));
    }
    sentences.push(
        "To check whether records were changed or cut off at the end, run `voxgate audit verify`."
            .to_owned(),
    );
    Findings {
        complete,
        sentences,
    }
}

pub(super) fn key_name(key: Option<&str>) -> &str {
    key.unwrap_or(NO_KEY)
}

pub(super) fn total(report: &UsageReport) -> Usage {
    let mut total = Usage::default();
    for usage in report.usage.values() {
        total.add(usage);
    }
    total
}

/// Returns the totals of each key, the busiest first.
pub(super) fn by_key(report: &UsageReport) -> Vec<(&str, Usage)> {
    let mut sums: BTreeMap<&str, Usage> = BTreeMap::new();
    for ((_, key), usage) in &report.usage {
        sums.entry(key_name(key.as_deref())).or_default().add(usage);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.accepted + usage.refused));
    sums
}

/// Returns the totals of each period, the earliest first.
pub(super) fn by_period(report: &UsageReport) -> Vec<(&str, Usage)> {
    let mut sums: BTreeMap<&str, Usage> = BTreeMap::new();
    for ((period, _), usage) in &report.usage {
        sums.entry(period).or_default().add(usage);
    }
    sums.into_iter().collect()
}

/// Formats a count, as a range if it may be too high.
pub(super) fn at_most(entry: &super::top::Entry) -> String {
    match entry.error {
        0 => entry.count.to_string(),
        error => format!("{} to {}", entry.count - error, entry.count),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::filter::Filter;
    use super::super::super::record::Record;
    use super::super::gather::Period;
    use super::*;

    pub(in super::super) fn report(lines: &[&str]) -> UsageReport {
        let mut report = UsageReport::new(Period::Month, Filter::default());
        for fields in lines {
            let line = format!("{{\"v\":1,\"instance\":\"i\",{fields}}}");
            report.add(&Record::read(&line).expect(fields), None);
        }
        report
    }

    const ACCEPTED: &str = r#""seq":1,"ts":"2026-03-14T10:11:12.000000Z","event":"decision","outcome":"accepted","reason":"ok","request_id":"a","key_id":"ivr""#;
    const COMPLETE: &str = r#""seq":2,"ts":"2026-03-14T10:11:13.000000Z","event":"complete","request_id":"a","key_id":"ivr","status":101,"bytes_sent":5000"#;
    const REFUSED: &str = r#""seq":4,"ts":"2026-04-01T00:00:00.000000Z","event":"decision","outcome":"refused","reason":"unknown_credential","request_id":"b","cred_fp":"00ff","peer":"[::ffff:10.1.2.3]:5""#;
    const STOP: &str = r#""seq":5,"ts":"2026-04-01T00:00:01.000000Z","event":"stop""#;

    #[test]
    fn usage_is_totalled_by_key_and_period() {
        let report = report(&[ACCEPTED, COMPLETE, REFUSED, STOP]);
        let keys = by_key(&report);
        assert_eq!(keys[0].0, NO_KEY);
        assert_eq!(keys[0].1.reasons["unknown_credential"], 1);
        let ivr = &keys[1].1;
        assert_eq!((ivr.accepted, ivr.streams, ivr.bytes), (1, 1, 5000));
        assert_eq!(ivr.first.as_deref(), Some("2026-03-14T10:11:12.000000Z"));
        let periods = by_period(&report);
        let names: Vec<&str> = periods.iter().map(|(period, _)| *period).collect();
        assert_eq!(names, ["2026-03", "2026-04"]);
        assert_eq!(report.prints.most(1)[0].0, "00ff");
        assert_eq!(report.peers.most(1)[0].0, "10.1.2.3");
        assert_eq!((total(&report).accepted, total(&report).refused), (1, 1));
    }

    #[test]
    fn missing_records_are_reported() {
        let whole = InvalidLines::default();
        let say = |lines: &[&str]| findings(&report(lines), &whole);
        let gap = r#""ts":"2026-03-14T10:11:13.000000Z","event":"gap","from":3,"to":3"#;
        let found = say(&[ACCEPTED, COMPLETE, REFUSED, STOP]);
        assert!(!found.complete);
        assert!(found.sentences[0].contains("records: 1. Recorded as lost: 0. Unexplained: 1."));
        let found = say(&[ACCEPTED, COMPLETE, gap, REFUSED, STOP]);
        assert!(found.sentences[0].contains("records: 1. Recorded as lost: 1. Unexplained: 0."));
        let found = say(&[ACCEPTED, COMPLETE]);
        assert!(found.complete);
        assert!(found.sentences[0].starts_with("No record is missing"));
        assert!(found.sentences[1].contains("without a stop record: 1 of 1."));
        let found = say(&[REFUSED, REFUSED, STOP]);
        assert!(found.sentences[0].starts_with("Instances without their first records: 1 of 1."));
        assert!(found.sentences[1].starts_with("Duplicate records: 1."));
    }
}
