//! Writes the report for programs: JSON, and CSV.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::csv;
use super::super::log::InvalidLines;
use super::basis::Basis;
use super::gather::{Usage, UsageReport};
use super::sums;
use super::top::Top;

const TITLES: [&str; 11] = [
    "period",
    "key_id",
    "accepted",
    "refused",
    "streams",
    "bytes_sent",
    "first_use",
    "last_use",
    "reasons",
    "characters",
    "audio_ms",
];
/// The longest list of addresses and of fingerprints.
const MOST: usize = 1000;

/// One line for each period and key.
pub(super) fn csv(out: &mut impl Write, report: &UsageReport) -> io::Result<()> {
    csv::write(out, TITLES.into_iter())?;
    for ((period, key), usage) in &report.usage {
        let reasons = usage
            .reasons
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        let fields = [
            period.clone(),
            key.clone().unwrap_or_default(),
            usage.accepted.to_string(),
            usage.refused.to_string(),
            usage.streams.to_string(),
            usage.bytes.to_string(),
            usage.first.clone().unwrap_or_default(),
            usage.last.clone().unwrap_or_default(),
            reasons,
            usage.characters.to_string(),
            usage.audio_ms.to_string(),
        ];
        csv::write(out, fields.iter().map(String::as_str))?;
    }
    Ok(())
}

/// One object.
pub(super) fn json(
    report: &UsageReport,
    invalid_lines: &InvalidLines,
    files: usize,
    basis: Option<&Basis>,
) -> Value {
    let findings = sums::findings(report, invalid_lines);
    let rows = report.usage.iter().map(|((period, key), usage)| {
        let mut row = figures(usage);
        row["period"] = json!(period);
        row["key_id"] = json!(key);
        row
    });
    let span = report.span.as_ref();
    json!({
        "first": span.map(|(first, _)| first),
        "last": span.map(|(_, last)| last),
        "records": report.records,
        "files": files,
        "complete": findings.complete,
        "findings": findings.sentences,
        "basis": basis.map(|basis| json!({
            "verdict": basis.verdict,
            "lines": basis.lines,
            "chain": basis.chain,
        })),
        "total": figures(&sums::total(report)),
        "usage": rows.collect::<Vec<_>>(),
        "unknown_credentials": entries(&report.prints),
        "failed_authentications": entries(&report.peers),
        "changes": report.changes.latest().map(|change| json!({
            "ts": change.ts,
            "what": change.what,
            "change": change.change,
            "by": change.by,
            "before": change.before,
            "now": change.now,
        })).collect::<Vec<_>>(),
    })
}

fn figures(usage: &Usage) -> Value {
    json!({
        "accepted": usage.accepted,
        "refused": usage.refused,
        "streams": usage.streams,
        "bytes_sent": usage.bytes,
        "first_use": usage.first,
        "last_use": usage.last,
        "reasons": usage.reasons.iter().collect::<BTreeMap<_, _>>(),
        "characters": usage.characters,
        "audio_ms": usage.audio_ms,
    })
}

fn entries(top: &Top) -> Value {
    let entries = top.most(MOST).into_iter().map(|(name, entry)| {
        json!({ "name": name, "times": entry.count, "first": entry.first, "last": entry.last })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::super::sums::tests::report;
    use super::*;

    #[test]
    fn csv_and_json_have_every_figure() {
        let report = report(&[
            r#""seq":1,"ts":"2026-03-14T10:11:12.000000Z","event":"decision","outcome":"accepted","reason":"ok","request_id":"a","key_id":"=ivr""#,
            r#""seq":2,"ts":"2026-03-14T10:11:13.000000Z","event":"complete","request_id":"a","key_id":"=ivr","status":200,"ended":"ok","bytes_sent":7,"characters":11,"audio_ms":250"#,
            r#""seq":3,"ts":"2026-03-14T10:11:14.000000Z","event":"decision","outcome":"refused","reason":"missing_credential","status":401,"request_id":"b","peer":"[::1]:9""#,
            r#""seq":4,"ts":"2026-03-14T10:11:15.000000Z","event":"decision","outcome":"refused","reason":"insufficient_scope","status":403,"request_id":"c","key_id":"x","peer":"10.0.0.1:9""#,
            r#""seq":5,"ts":"2026-03-14T10:11:16.000000Z","event":"key","change":"changed","key_id":"x","changed_by":"ann@host","changed_reason":"ticket","rights_before":"scopes=a b","rights":"scopes=a""#,
            r#""seq":6,"ts":"2026-03-14T10:11:17.000000Z","event":"policy_changed","rules_before":3,"rules":4,"policy":"01234567890123""#,
        ]);
        let mut text = Vec::new();
        csv(&mut text, &report).expect("in memory");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], TITLES.join(","));
        assert_eq!(lines[1], "2026-03,,0,1,0,0,,,missing_credential 1,0,0");
        assert!(
            lines[2].starts_with("2026-03,'=ivr,1,0,0,7,2026-03-14T10:11:12.000000Z,"),
            "{text}"
        );
        assert!(lines[2].ends_with(",11,250"), "{text}");
        let basis = Basis {
            verdict: "whole".to_owned(),
            lines: 4,
            chain: "ab".to_owned(),
        };
        let json = json(&report, &InvalidLines::default(), 1, Some(&basis));
        assert_eq!(json["basis"]["verdict"], "whole");
        assert_eq!(json["total"]["accepted"], 1);
        assert_eq!(json["total"]["characters"], 11);
        assert_eq!(json["usage"][1]["audio_ms"], 250);
        assert_eq!(json["usage"][1]["key_id"], "=ivr");
        // Whatever the caller sent instead of a key: but a missing right is no failed authentication.
        let failed = json["failed_authentications"].as_array().expect("a list");
        assert_eq!(failed.len(), 1, "{json}");
        assert_eq!(failed[0]["name"], "::1");
        let changes = json["changes"].as_array().expect("a list");
        assert_eq!(changes.len(), 2, "{json}");
        assert_eq!(changes[0]["what"], "key x");
        assert_eq!(changes[0]["by"], "ann@host: ticket");
        assert_eq!(changes[0]["before"], "scopes=a b");
        assert_eq!(changes[0]["now"], "scopes=a");
        assert_eq!(changes[1]["before"], "3 rules, file none");
        assert_eq!(changes[1]["now"], "4 rules, file 012345678901");
    }
}
