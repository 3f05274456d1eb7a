//! Explains a decision in the audit log.

use std::path::Path;

use serde_json::Value;
use voxgate::ConfigError;
use voxgate::env::{Environment, Settings};

use super::decided::{Decided, Step, kind_of};
use super::failure::ExplainError;
use super::request::RequestSpec;
use super::steps::Report;
use super::trial::{Laboratory, principal};

const AUDIT_DIR: &str = "VOXGATE_AUDIT_DIR";

/// Explains the request with this id.
pub(crate) fn explain(
    id: &str,
    environment: &Environment,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> Result<String, ExplainError> {
    let Some(directory) = environment.get(AUDIT_DIR) else {
        let message = "is not set; set it, or --audit-dir, to the directory of the audit log";
        return Err(ExplainError::wrong(AUDIT_DIR, message));
    };
    let lines = voxgate_audit_log::cli::find_request(Path::new(directory), id)?;
    let Some(decided) = read(&lines) else {
        let message = format!(
            "no decision with this id is in {directory}; give the value of X-Request-Id, and look in the \
             log of the gateway that answered"
        );
        return Err(ExplainError::wrong("--request-id", message));
    };
    // A decision of the past can be explained without the settings of today.
    let settings = settings().ok();
    let key = settings
        .as_ref()
        .zip(decided.key_id.as_deref())
        .and_then(|(settings, id)| principal(settings, id).ok());
    let report = Report {
        decided: &decided,
        settings: settings.as_ref(),
        principal: key,
        recorded: true,
    };
    let mut text = report.to_string();
    if let (Some(settings), Some(key), Some(kind)) = (&settings, key, decided.denial)
        && (Step::Key..=Step::Policy).contains(&Step::of(kind))
    {
        let spec = RequestSpec::recorded(&decided.method, &decided.path)?;
        let today = Laboratory::new(settings, environment, Some(key)).decide(&spec)?;
        text.push_str(&match today.denial {
            Some(kind) => format!(
                "\nWith the settings and files of now, it would be refused with the reason {}.\n",
                kind.as_str()
            ),
            None => "\nWith the settings and files of now, it would be accepted.\n".to_owned(),
        });
    }
    Ok(text)
}

/// The decision in these lines of the log: a decision, and the end of its request if it was accepted.
pub(crate) fn read(lines: &[String]) -> Option<Decided> {
    let mut decided = None;
    for line in lines {
        let record: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let status = record["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        match record["event"].as_str() {
            Some("decision") => {
                let reason = text("reason").unwrap_or_default();
                let mut read = Decided {
                    method: text("method").unwrap_or_default(),
                    path: text("path").unwrap_or_default(),
                    dialect: text("dialect").unwrap_or_default(),
                    auth_method: text("auth_method"),
                    key_id: text("key_id"),
                    scopes: text("scopes"),
                    denial: kind_of(&reason),
                    limit: text("limit"),
                    rule: text("rule"),
                    required_scope: text("required_scope"),
                    status,
                    ..Decided::default()
                };
                let when = text("ts").unwrap_or_default();
                let peer = text("peer").map(|peer| format!(", from {peer}"));
                let client = text("client").map(|client| format!(" (the client: {client})"));
                read.notes.push(format!(
                    "At {when}{}{}.",
                    peer.unwrap_or_default(),
                    client.unwrap_or_default()
                ));
                if read.denial.is_none() && reason != "ok" {
                    read.notes.push(format!(
                        "This version of voxgate does not know the reason {reason}."
                    ));
                }
                decided = Some(read);
            }
            Some("complete") => {
                let decided: &mut Decided = decided.as_mut()?;
                decided.status = status;
                decided.denial = text("failure").as_deref().and_then(kind_of);
                decided.in_body = decided
                    .denial
                    .is_some_and(|kind| Step::of(kind) <= Step::Limits);
                if let Some(ended) = text("ended") {
                    decided
                        .notes
                        .push(format!("The response ended with `{ended}`."));
                }
            }
            _ => {}
        }
    }
    decided
}
