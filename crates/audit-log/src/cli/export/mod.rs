//! `voxgate audit export`: writes decisions and completions in the formats of SIEMs.

mod cef;
mod ecs;
mod ocsf;
#[cfg(feature = "parquet")]
mod parquet;

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use super::failure::CommandError;
use super::pending_decisions::PendingDecisions;
use super::record::Record;
use super::{arguments, log, output, query};

const AFTER: &str = "\
Examples:
  voxgate audit export --format ocsf --since 1d /var/log/voxgate > events.ndjson
  voxgate audit export --format cef /var/log/voxgate | logger --tcp --server siem.example

  voxgate audit export --format csv --account acme --since 2026-03 /var/log/voxgate > march.csv
  voxgate audit export --format parquet /var/log/voxgate > requests.parquet

For JSON as it is in the log, use `voxgate audit query --format json`.

In CSV and Parquet, each request is one row. Otherwise, each decision and each completion is one line; a completion includes the address, method and \
path of its decision.";

#[cfg(feature = "parquet")]
const FORMATS: [&str; 5] = ["ocsf", "ecs", "cef", "csv", "parquet"];
#[cfg(not(feature = "parquet"))]
const FORMATS: [&str; 4] = ["ocsf", "ecs", "cef", "csv"];

/// A decision, or a completion with its decision.
struct Event<'a> {
    record: &'a Record<'a>,
    decision: Option<&'a Record<'a>>,
}

impl<'a> Event<'a> {
    /// Returns a field of the record or, if it has none, of its decision.
    fn text(&self, get: for<'r> fn(&'r Record<'_>) -> Option<&'r str>) -> Option<&'a str> {
        get(self.record).or_else(|| get(self.decision?))
    }

    /// Returns an id that is unique to this record.
    fn uid(&self) -> Option<String> {
        let instance = self.record.instance.as_deref()?;
        Some(format!("{instance}-{}", self.record.seq?))
    }

    fn reason(&self) -> &'a str {
        let text = self.text(|record| record.reason.as_deref());
        text.unwrap_or(if self.record.is_completion() {
            "ok"
        } else {
            "unknown"
        })
    }

    /// Whether the request was accepted or, for a completion, ended without an error.
    fn succeeded(&self) -> bool {
        if self.record.is_completion() {
            let answered = self.record.status.is_some_and(|status| status < 400);
            answered && matches!(self.record.ended.as_deref(), Some("ok"))
        } else {
            self.record.is_accepted()
        }
    }
}

pub(super) fn command(reasons: &[&'static str]) -> Command {
    let command = Command::new("export")
        .about("Write decisions and completions for a SIEM")
        .after_help(AFTER)
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(FORMATS))
                .required(true)
                .help("Output format: OCSF or the Elastic Common Schema (JSON lines), CEF, or CSV or Parquet with one row for each request"),
        );
    arguments::with_paths(arguments::with_filters(command, reasons))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CommandError> {
    let filter = arguments::filter(matches)?;
    let sources = arguments::sources(matches)?;
    if matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "csv")
    {
        return query::write_csv(filter, &sources);
    }
    #[cfg(feature = "parquet")]
    if matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "parquet")
    {
        return parquet::write(filter, &sources);
    }
    let convert = match matches.get_one::<String>("format").map(String::as_str) {
        Some("ecs") => |event: &Event<'_>| ecs::line(event).to_string(),
        Some("cef") => cef::line,
        _ => |event: &Event<'_>| ocsf::line(event).to_string(),
    };
    let mut open = PendingDecisions::new();
    let mut others = 0_u64;
    let mut out = output::stdout();
    let reading = log::read(
        &sources,
        |_| true,
        |line, record| {
            let request_id = record.request_id.as_deref().unwrap_or_default();
            let mut before = None;
            if record.is_completion() {
                before = open.take(request_id);
            } else if record.is_decision() {
                if record.is_accepted() {
                    // The decisions that this one displaces were already exported.
                    open.insert(request_id, line);
                }
            } else {
                others += u64::from(filter.wants(record, None));
                return Ok(ControlFlow::Continue(()));
            }
            let decision = before.as_deref().and_then(Record::read);
            if filter.wants(record, decision.as_ref()) {
                let event = Event {
                    record,
                    decision: decision.as_ref(),
                };
                writeln!(out, "{}", convert(&event))?;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    out.flush()?;
    reading.invalid_lines.warn();
    if others > 0 {
        let _ = writeln!(
            io::stderr(),
            "voxgate: skipped {others} records of other kinds; to see them, run `voxgate audit query \
             --records`"
        );
    }
    Ok(())
}

/// Makes a JSON object of the fields that have a value.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    let fields: Map<String, Value> = fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    match fields.is_empty() {
        true => Value::Null,
        false => Value::Object(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const DECISION: &str = r#"{"v":1,"seq":7,"ts":"2026-03-14T10:11:12.123456Z","instance":"00ff","event":"decision","outcome":"accepted","reason":"ok","request_id":"r1","trace_parent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","dialect":"rime","auth_method":"api_key","key_id":"ivr","account":"acme","label":"IVR","peer":"10.1.2.3:4567","host":"tts.example","method":"POST","path":"/v1/rime-tts","query_names":"a&b","user_agent":"x","protocol":"HTTP/1.1"}"#;
    pub(super) const REFUSED: &str = r#"{"v":1,"seq":8,"ts":"2026-03-14T10:11:12.123456Z","instance":"00ff","event":"decision","outcome":"refused","reason":"unknown_credential","status":401,"request_id":"r2","dialect":"rime","cred_fp":"0011223344556677","peer":"[::1]:9","method":"GET","path":"/a|b=\u001b\n\\\u202e<script>","protocol":"HTTP/2","truncated":true}"#;
    pub(super) const COMPLETION: &str = r#"{"v":1,"seq":9,"ts":"2026-03-14T10:11:13.000000Z","instance":"00ff","event":"complete","request_id":"r1","key_id":"ivr","status":200,"ended":"ok","duration_us":876544,"first_byte_us":1500,"bytes_sent":66044}"#;

    pub(super) fn with<T>(
        line: &str,
        decision: Option<&str>,
        check: impl Fn(&Event<'_>) -> T,
    ) -> T {
        let record = Record::read(line).expect("a record");
        let decision = decision.map(|line| Record::read(line).expect("a record"));
        check(&Event {
            record: &record,
            decision: decision.as_ref(),
        })
    }

    #[test]
    fn an_upstream_error_is_not_a_success() {
        for (change, to, expected) in [
            ("", "", true),
            ("\"status\":200", "\"status\":101", true),
            ("\"status\":200", "\"status\":502", false),
            ("\"status\":200,", "", false),
            ("\"ended\":\"ok\"", "\"ended\":\"client_abort\"", false),
        ] {
            let line = COMPLETION.replacen(change, to, 1);
            assert_eq!(
                with(&line, None, |event| event.succeeded()),
                expected,
                "{line}"
            );
        }
    }
}
