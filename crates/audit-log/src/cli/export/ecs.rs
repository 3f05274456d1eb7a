//! Exports records in the Elastic Common Schema (ECS).

use serde_json::{Value, json};

use super::super::peer;
use super::{Event, object};

const VERSION: &str = "8.17.0";

pub(super) fn line(event: &Event<'_>) -> Value {
    let record = event.record;
    let is_completion = record.is_completion();
    let peer = event.text(|r| r.peer.as_deref());
    let key = event.text(|r| r.key_id.as_deref());
    // Each category has its own types. `event.outcome` says whether the request succeeded.
    let kinds = match (is_completion, event.succeeded()) {
        (false, _) => json!(["start"]),
        (true, true) => json!(["access"]),
        (true, false) => json!(["access", "error"]),
    };
    let outcome = if event.succeeded() {
        "success"
    } else {
        "failure"
    };
    let reason = match is_completion {
        true => record.failure.as_deref().or(record.ended.as_deref()),
        false => Some(event.reason()),
    };
    let protocol = event.text(|r| r.protocol.as_deref());
    let protocol = protocol.map(|protocol| protocol.trim_start_matches("HTTP/"));
    let client = event.text(|r| r.client.as_deref()).and_then(peer::address);
    // Records of older versions have only what the client sent.
    let of_client = || {
        let parent = event.text(|r| r.trace_parent.as_deref());
        parent.and_then(|parent| parent.split('-').nth(1))
    };
    let trace = event.text(|r| r.trace_id.as_deref()).or_else(of_client);
    object([
        ("@timestamp", json!(&*record.ts)),
        ("ecs.version", json!(VERSION)),
        ("event.kind", json!("event")),
        (
            "event.category",
            json!([if is_completion {
                "web"
            } else {
                "authentication"
            }]),
        ),
        ("event.type", kinds),
        ("event.outcome", json!(outcome)),
        ("event.action", json!(&*record.event)),
        ("event.reason", json!(reason)),
        ("event.module", json!("voxgate")),
        ("event.dataset", json!("voxgate.audit")),
        ("event.id", json!(event.uid())),
        ("event.sequence", json!(record.seq)),
        (
            "event.duration",
            json!(
                record
                    .duration_us
                    .map(|duration| duration.saturating_mul(1000))
            ),
        ),
        ("service.type", json!("voxgate")),
        ("service.node.name", json!(record.instance.as_deref())),
        ("source.ip", json!(peer.and_then(peer::address))),
        ("source.port", json!(peer.and_then(peer::port))),
        ("client.ip", json!(client)),
        ("source.bytes", json!(record.bytes_received)),
        ("user.id", json!(key)),
        ("user.name", json!(event.text(|r| r.label.as_deref()))),
        (
            "user.roles",
            json!(
                event
                    .text(|r| r.scopes.as_deref())
                    .map(|s| s.split(' ').collect::<Vec<_>>())
            ),
        ),
        (
            "organization.id",
            json!(event.text(|r| r.account.as_deref())),
        ),
        ("rule.name", json!(event.text(|r| r.rule.as_deref()))),
        ("http.request.id", json!(record.request_id.as_deref())),
        (
            "http.request.method",
            json!(event.text(|r| r.method.as_deref())),
        ),
        ("http.version", json!(protocol)),
        ("http.response.status_code", json!(record.status)),
        ("http.response.body.bytes", json!(record.bytes_sent)),
        ("url.path", json!(event.text(|r| r.path.as_deref()))),
        ("url.domain", json!(event.text(|r| r.host.as_deref()))),
        (
            "user_agent.original",
            json!(event.text(|r| r.user_agent.as_deref())),
        ),
        ("trace.id", json!(trace)),
        ("labels", labels(event)),
    ])
}

/// Fields that the schema does not define.
fn labels(event: &Event<'_>) -> Value {
    let record = event.record;
    object([
        ("dialect", json!(event.text(|r| r.dialect.as_deref()))),
        (
            "auth_method",
            json!(event.text(|r| r.auth_method.as_deref())),
        ),
        ("cred_fp", json!(event.text(|r| r.cred_fp.as_deref()))),
        (
            "query_names",
            json!(event.text(|r| r.query_names.as_deref())),
        ),
        ("ended", json!(record.ended.as_deref())),
        (
            "first_byte_us",
            json!(record.first_byte_us.map(|time| time.to_string())),
        ),
        (
            "truncated",
            if record.truncated {
                json!("true")
            } else {
                Value::Null
            },
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{COMPLETION, DECISION, REFUSED, with};
    use super::*;

    #[test]
    fn fields_have_the_names_of_the_schema() {
        let refused = with(REFUSED, None, line);
        for (name, expected) in [
            ("@timestamp", json!("2026-03-14T10:11:12.123456Z")),
            ("ecs.version", json!("8.17.0")),
            ("event.category", json!(["authentication"])),
            ("event.type", json!(["start"])),
            ("event.outcome", json!("failure")),
            ("event.reason", json!("unknown_credential")),
            ("source.ip", json!("::1")),
            ("http.response.status_code", json!(401)),
            ("http.version", json!("2")),
            ("url.path", json!("/a|b=\u{1b}\n\\\u{202e}<script>")),
        ] {
            assert_eq!(refused[name], expected, "{name}");
        }
        let complete = with(COMPLETION, Some(DECISION), line);
        for (name, expected) in [
            ("event.category", json!(["web"])),
            ("event.type", json!(["access"])),
            ("event.outcome", json!("success")),
            ("event.duration", json!(876_544_000)),
            ("user.id", json!("ivr")),
            ("organization.id", json!("acme")),
            ("source.port", json!(4567)),
            ("http.response.body.bytes", json!(66044)),
            ("trace.id", json!("0af7651916cd43dd8448eb211c80319c")),
        ] {
            assert_eq!(complete[name], expected, "{name}");
        }
        assert_eq!(complete["labels"]["ended"], "ok");
    }
}
