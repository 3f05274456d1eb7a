//! Audit records as readable lines.

use std::fmt;
use std::io::{self, Write as _};
use std::time::SystemTime;

use voxgate::audit::{Completion, Decision, Start};
use voxgate::{AuditRecord, AuditSink, Principal};
use voxgate_terminal::color::{Colors, Tone};

const MAX_PATH_BYTES: usize = 60;

/// Prints each record to standard output when it is made.
pub(super) struct Printer(pub(super) Colors);

impl AuditSink for Printer {
    fn record(&self, record: &AuditRecord<'_>) {
        let (time, word, line) = match record {
            AuditRecord::Start(start) => (start.time, "started", started(start)),
            AuditRecord::Decision(decision) => {
                let word = match decision.status {
                    None => "accepted",
                    Some(_) => "refused",
                };
                (decision.time, word, decided(decision))
            }
            AuditRecord::Completion(completion) => {
                (completion.time, "ended", completed(completion))
            }
            _ => return,
        };
        let (time, Self(colors)) = (Clock(time), self);
        let padding = " ".repeat("accepted".len() - word.len());
        let word = colors.paint(Tone::of_state(word), word);
        // A closed terminal is not an error.
        let _ = writeln!(io::stdout(), "{time}  {word}{padding}  {line}");
    }
}

fn started(start: &Start) -> String {
    format!("mode {}, dialect {}", start.mode, start.dialect)
}

fn decided(decision: &Decision<'_>) -> String {
    let path = decision.path.as_bytes();
    let shown = path[..path.len().min(MAX_PATH_BYTES)].escape_ascii();
    let request = format!("{} {shown}", decision.http_method);
    match (decision.status, decision.principal) {
        (None, principal) => {
            let method = decision.auth_method.map_or("", |method| method.as_str());
            let id = principal.map_or("", Principal::id);
            format!("{request} for {id} ({method})")
        }
        (Some(status), _) => {
            format!("{request} with {}: {}", status.as_u16(), decision.reason())
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
        "{status} for {}: {} bytes sent{received} in {} ms ({})",
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
