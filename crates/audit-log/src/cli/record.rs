//! Parses one record of the log (`docs/audit.schema.json`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::{Map, Value};

use super::peer;

/// The version of records that these commands read.
const VERSION: u64 = 1;

/// A string of a record. It is borrowed from the line unless it contains escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Record<'a> {
    v: u64,
    pub(super) ts: Text<'a>,
    pub(super) event: Text<'a>,
    pub(super) seq: Option<u64>,
    pub(super) instance: Option<Text<'a>>,
    pub(super) outcome: Option<Text<'a>>,
    pub(super) reason: Option<Text<'a>>,
    pub(super) limit: Option<Text<'a>>,
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<Text<'a>>,
    pub(super) trace_id: Option<Text<'a>>,
    pub(super) trace_parent: Option<Text<'a>>,
    pub(super) via: Option<Text<'a>>,
    pub(super) dialect: Option<Text<'a>>,
    pub(super) auth_method: Option<Text<'a>>,
    pub(super) key_id: Option<Text<'a>>,
    pub(super) account: Option<Text<'a>>,
    pub(super) label: Option<Text<'a>>,
    pub(super) scopes: Option<Text<'a>>,
    pub(super) rule: Option<Text<'a>>,
    pub(super) required_scope: Option<Text<'a>>,
    pub(super) cred_fp: Option<Text<'a>>,
    pub(super) peer: Option<Text<'a>>,
    pub(super) client: Option<Text<'a>>,
    pub(super) host: Option<Text<'a>>,
    pub(super) method: Option<Text<'a>>,
    pub(super) path: Option<Text<'a>>,
    pub(super) query_names: Option<Text<'a>>,
    pub(super) user_agent: Option<Text<'a>>,
    pub(super) protocol: Option<Text<'a>>,
    pub(super) failure: Option<Text<'a>>,
    pub(super) ended: Option<Text<'a>>,
    pub(super) duration_us: Option<u64>,
    pub(super) first_byte_us: Option<u64>,
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_received: Option<u64>,
    pub(super) characters: Option<u64>,
    #[serde(default)]
    pub(super) unmetered: bool,
    #[serde(default)]
    pub(super) uncounted: bool,
    pub(super) audio_ms: Option<u64>,
    pub(super) characters_billed: Option<u64>,
    pub(super) audio_billed_ms: Option<u64>,
    pub(super) cost_micros: Option<u64>,
    pub(super) cost_currency: Option<Text<'a>>,
    pub(super) voice: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) language: Option<Text<'a>>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) change: Option<Text<'a>>,
    pub(super) changed_by: Option<Text<'a>>,
    pub(super) changed_reason: Option<Text<'a>>,
    pub(super) rights_before: Option<Text<'a>>,
    pub(super) rights: Option<Text<'a>>,
    pub(super) rules_before: Option<u64>,
    pub(super) rules: Option<u64>,
    pub(super) policy_before: Option<Text<'a>>,
    pub(super) policy: Option<Text<'a>>,
    pub(super) first_seq: Option<u64>,
    pub(super) last_seq: Option<u64>,
    #[serde(default)]
    pub(super) truncated: bool,
}

/// The fields of every line, including lines that the log writes about itself.
#[derive(serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Head<'a> {
    v: u64,
    ts: Text<'a>,
    event: Text<'a>,
    instance: Option<Text<'a>>,
}

impl<'a> Record<'a> {
    /// The address of the client. In a record that names none, it is that of the peer.
    pub(super) fn client_address(&self) -> Option<IpAddr> {
        let address = self.client.as_deref().or(self.peer.as_deref());
        address.and_then(peer::address)
    }

    /// Parses a line. Returns `None` if it is not a record.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let record = serde_json::from_str(line).ok().or_else(|| other(line))?;
        let Self { v, ts, .. } = &record;
        (*v == VERSION && is_time(ts)).then_some(record)
    }

    pub(super) fn is_decision(&self) -> bool {
        &*self.event == "decision" && self.request_id.is_some()
    }

    pub(super) fn is_completion(&self) -> bool {
        &*self.event == "complete" && self.request_id.is_some()
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.outcome.as_deref() == Some("accepted")
    }
}

/// Parses a record about the log itself. Its fields may have other types.
fn other(line: &str) -> Option<Record<'_>> {
    let head: Head<'_> = serde_json::from_str(line).ok()?;
    let known = [
        "decision",
        "complete",
        "gap",
        "start",
        "stop",
        "keys",
        "key",
        "policy_changed",
    ];
    (!known.contains(&&*head.event)).then(|| Record {
        v: head.v,
        ts: head.ts,
        event: head.event,
        instance: head.instance,
        ..Record::default()
    })
}

/// Whether a text has the form `2026-03-14T10:11:12.123456Z`. Such times sort by their bytes.
pub(super) fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000Z";
    text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// Formats the fields of a line as `name=value`, without those that every line has.
pub(super) fn details(line: &str) -> String {
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) else {
        return String::new();
    };
    let common = ["v", "seq", "ts", "instance", "event", "chain", "truncated"];
    let fields = fields
        .iter()
        .filter(|(name, _)| !common.contains(&name.as_str()));
    let words = fields.map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TS: &str = r#""v":1,"ts":"2026-03-14T10:11:12.123456Z""#;

    #[test]
    fn only_records_are_parsed() {
        let line = format!(
            r#"{{{TS},"event":"decision","request_id":"r","path":"/a\u001b","status":401,"new":[1]}}"#
        );
        let record = Record::read(&line).expect("a record");
        assert!(record.is_decision() && !record.is_accepted());
        assert_eq!(record.path.as_deref(), Some("/a\u{1b}"));
        assert_eq!(record.status, Some(401));
        for line in [
            "",
            "listening",
            "{}",
            "[]",
            "{\"v\":1}",
            r#"{"v":2,"ts":"2026-03-14T10:11:12.123456Z","event":"start"}"#,
            r#"{"v":1,"ts":"2026-03-14 10:11:12.123456Z","event":"start"}"#,
            r#"{"v":1,"ts":"2026-03-14T10:11:12Z","event":"start"}"#,
            r#"{"v":1,"ts":"2026-03-14T10:11:12.123456Z","event":"decision","status":"x"}"#,
            r#"{"v":1,"ts":"2026-03-14T10:11:12.123456Z","event":"decision""#,
        ] {
            assert!(Record::read(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_record_about_the_log_may_have_fields_of_any_type() {
        let line = format!(r#"{{{TS},"event":"recovery","from":"a.jsonl","status":[]}}"#);
        let record = Record::read(&line).expect("a record");
        assert_eq!((&*record.event, record.from), ("recovery", None));
        assert_eq!(details(&line), "from=a.jsonl status=[]");
    }

    #[test]
    fn a_string_without_escapes_is_not_copied() {
        let line = format!(r#"{{{TS},"event":"stop","path":"/a","host":"\u0061"}}"#);
        let record = Record::read(&line).expect("a record");
        assert!(matches!(record.path, Some(Text(Cow::Borrowed("/a")))));
        assert!(matches!(&record.host, Some(Text(Cow::Owned(host))) if host == "a"));
    }
}
