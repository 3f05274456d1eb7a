//! Audit records as readable lines.

use std::fmt;
use std::io::{self, Write as _};
use std::time::SystemTime;

use voxgate::audit::{Completion, Decision, Start};
use voxgate::{AuditRecord, AuditSink, Principal};

const MAX_PATH_BYTES: usize = 60;

/// Prints each record to standard output when it is made.
pub(super) struct Printer;

impl AuditSink for Printer {
    fn record(&self, record: &AuditRecord<'_>) {
        let line = match record {
            AuditRecord::Start(start) => started(start),
            AuditRecord::Decision(decision) => decided(decision),
            AuditRecord::Completion(completion) => completed(completion),
            _ => return,
        };
        // A closed terminal is not an error.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

fn started(start: &Start) -> String {
    format!(
        "{}  started   mode {}, dialect {}",
        Clock(start.time),
        start.mode,
        start.dialect
    )
}

fn decided(decision: &Decision<'_>) -> String {
    let path = decision.path.as_bytes();
    let shown = path[..path.len().min(MAX_PATH_BYTES)].escape_ascii();
    let request = format!("{} {shown}", decision.http_method);
    let time = Clock(decision.time);
    match (decision.status, decision.principal) {
        (None, principal) => {
            let method = decision.auth_method.map_or("", |method| method.as_str());
            let id = principal.map_or("", Principal::id);
            format!("{time}  accepted  {request} for {id} ({method})")
        }
        (Some(status), _) => {
            format!(
                "{time}  refused   {request} with {}: {}",
                status.as_u16(),
                decision.reason()
            )
        }
    }
}

fn completed(completion: &Completion<'_>) -> String {
    let status = completion.status.map_or(0, |status| status.as_u16());
    let received = match completion.bytes_received {
        Some(bytes) => format!(" and {bytes} bytes received"),
        None => String::new(),
    };
    format!(
        "{}  ended     {status} for {}: {} bytes sent{received} in {} ms ({})",
        Clock(completion.time),
        completion.principal.id(),
        completion.bytes_sent,
        completion.duration.as_millis(),
        completion
            .failure
            .map_or(completion.ended.as_str(), |failure| failure.as_str()),
    )
}

/// The time of day in UTC.
struct Clock(SystemTime);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_rfc3339_millis(self.0).to_string();
        let clock = text.split_once('T').map_or("", |(_, clock)| clock);
        f.write_str(clock.trim_end_matches('Z'))
    }
}
