//! Exports records in the Open Cybersecurity Schema Framework (OCSF): decisions as Authentication,
//! completions as API Activity.

use serde_json::{Value, json};

use super::super::peer;
use super::super::when::milliseconds;
use super::{Event, object};

/// The version of the schema that defines these names.
const VERSION: &str = "1.8.0";
const AUTHENTICATION: u64 = 3002;
const API_ACTIVITY: u64 = 6003;
/// The activity `Logon`: a new session was requested.
const LOGON: u64 = 1;
const OTHER: u64 = 99;

pub(super) fn line(event: &Event<'_>) -> Value {
    let is_completion = event.record.is_completion();
    let (class, activity) = match is_completion {
        false => (AUTHENTICATION, (LOGON, "Logon")),
        true => (API_ACTIVITY, activity(event)),
    };
    let (status, status_id) = match event.succeeded() {
        true => ("Success", 1),
        false => ("Failure", 2),
    };
    // A refusal needs attention. The failure of an upstream is not caused by its caller.
    let (severity, severity_id) = match event.succeeded() || is_completion {
        true => ("Informational", 1),
        false => ("Low", 2),
    };
    let detail = match is_completion {
        true => event
            .record
            .failure
            .as_deref()
            .or(event.record.ended.as_deref()),
        false => Some(event.reason()),
    };
    let head = json!({
        "activity_id": activity.0,
        "activity_name": activity.1,
        "category_uid": class / 1000,
        "category_name": if is_completion { "Application Activity" } else { "Identity & Access Management" },
        "class_uid": class,
        "class_name": if is_completion { "API Activity" } else { "Authentication" },
        "type_uid": class * 100 + activity.0,
        "severity_id": severity_id,
        "severity": severity,
        "time": milliseconds(&event.record.ts),
        "status_id": status_id,
        "status": status,
        "metadata": metadata(event),
        "src_endpoint": endpoint(event),
        "http_request": request(event),
    });
    let service = json!({ "name": "voxgate" });
    let specific = match is_completion {
        false => object([
            ("user", user(event)),
            ("service", service),
            ("auth_protocol_id", json!(OTHER)),
            (
                "auth_protocol",
                json!(
                    event
                        .text(|r| r.auth_method.as_deref())
                        .unwrap_or("api_key")
                ),
            ),
            ("logon_type_id", json!(3)),
            ("logon_type", json!("Network")),
            ("is_remote", json!(true)),
        ]),
        true => object([
            ("actor", json!({ "user": user(event) })),
            (
                "api",
                json!({
                    "operation": operation(event),
                    "service": service,
                    "request": { "uid": event.record.request_id.as_deref().unwrap_or_default() },
                }),
            ),
            (
                "duration",
                json!(event.record.duration_us.unwrap_or(0) / 1000),
            ),
        ]),
    };
    let optional = object([
        ("status_detail", json!(detail)),
        (
            "status_code",
            json!(event.record.status.map(|status| status.to_string())),
        ),
        ("http_response", response(event)),
        ("unmapped", unmapped(event)),
    ]);
    let mut line = head;
    for part in [specific, optional] {
        if let (Value::Object(line), Value::Object(part)) = (&mut line, part) {
            line.extend(part);
        }
    }
    line
}

/// Returns the activity that corresponds to the method (RFC 9110 §9.3).
fn activity(event: &Event<'_>) -> (u64, &'static str) {
    match event.text(|r| r.method.as_deref()) {
        Some("POST") => (1, "Create"),
        Some("GET" | "HEAD") => (2, "Read"),
        Some("PUT" | "PATCH") => (3, "Update"),
        Some("DELETE") => (4, "Delete"),
        Some(_) => (OTHER, "Other"),
        None => (0, "Unknown"),
    }
}

fn operation(event: &Event<'_>) -> String {
    let method = event.text(|r| r.method.as_deref());
    let path = event.text(|r| r.path.as_deref());
    format!(
        "{} {}",
        method.unwrap_or("unknown"),
        path.unwrap_or("unknown")
    )
}

fn metadata(event: &Event<'_>) -> Value {
    object([
        ("version", json!(VERSION)),
        (
            "product",
            json!({ "name": "voxgate", "vendor_name": "voxgate", "version": env!("CARGO_PKG_VERSION") }),
        ),
        ("log_name", json!("audit")),
        ("log_version", json!("1")),
        ("event_code", json!(&*event.record.event)),
        ("original_time", json!(&*event.record.ts)),
        ("original_event_uid", json!(event.uid())),
        ("sequence", json!(event.record.seq)),
        ("correlation_uid", json!(event.record.request_id.as_deref())),
        (
            "is_truncated",
            if event.record.truncated {
                json!(true)
            } else {
                Value::Null
            },
        ),
    ])
}

/// Returns the key. An unknown credential is identified by its fingerprint.
fn user(event: &Event<'_>) -> Value {
    let key = event.text(|r| r.key_id.as_deref());
    let account = event.text(|r| r.account.as_deref());
    object([
        ("uid", json!(key)),
        (
            "name",
            json!(
                event
                    .text(|r| r.label.as_deref())
                    .or(key)
                    .unwrap_or("unknown")
            ),
        ),
        (
            "credential_uid",
            json!(event.text(|r| r.cred_fp.as_deref())),
        ),
        ("type_id", json!(if key.is_some() { 4 } else { 0 })),
        (
            "type",
            json!(if key.is_some() { "Service" } else { "Unknown" }),
        ),
        (
            "account",
            object([("uid", json!(account)), ("name", json!(account))]),
        ),
    ])
}

fn endpoint(event: &Event<'_>) -> Value {
    let peer = event.text(|r| r.peer.as_deref());
    match peer.and_then(|peer| Some((peer::address(peer)?, peer::port(peer)))) {
        Some((address, port)) => object([("ip", json!(address)), ("port", json!(port))]),
        None => json!({ "name": "unknown" }),
    }
}

fn request(event: &Event<'_>) -> Value {
    let url = object([
        ("path", json!(event.text(|r| r.path.as_deref()))),
        ("hostname", json!(event.text(|r| r.host.as_deref()))),
    ]);
    object([
        ("uid", json!(event.record.request_id.as_deref())),
        ("http_method", json!(event.text(|r| r.method.as_deref()))),
        ("url", url),
        ("user_agent", json!(event.text(|r| r.user_agent.as_deref()))),
        ("version", json!(event.text(|r| r.protocol.as_deref()))),
    ])
}

fn response(event: &Event<'_>) -> Value {
    let Some(status) = event.record.status else {
        return Value::Null;
    };
    object([
        ("code", json!(status)),
        ("body_length", json!(event.record.bytes_sent)),
        (
            "latency",
            json!(event.record.first_byte_us.map(|latency| latency / 1000)),
        ),
    ])
}

fn unmapped(event: &Event<'_>) -> Value {
    object([
        ("instance", json!(event.record.instance.as_deref())),
        ("via", json!(event.text(|r| r.via.as_deref()))),
        ("dialect", json!(event.text(|r| r.dialect.as_deref()))),
        ("scopes", json!(event.text(|r| r.scopes.as_deref()))),
        ("rule", json!(event.text(|r| r.rule.as_deref()))),
        (
            "required_scope",
            json!(event.text(|r| r.required_scope.as_deref())),
        ),
        (
            "query_names",
            json!(event.text(|r| r.query_names.as_deref())),
        ),
        ("client", json!(event.text(|r| r.client.as_deref()))),
        ("trace_id", json!(event.text(|r| r.trace_id.as_deref()))),
        (
            "trace_parent",
            json!(event.text(|r| r.trace_parent.as_deref())),
        ),
        ("ended", json!(event.record.ended.as_deref())),
        ("bytes_received", json!(event.record.bytes_received)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{COMPLETION, DECISION, REFUSED, with};
    use super::*;

    #[test]
    fn a_decision_is_an_authentication() {
        let event = with(REFUSED, None, line);
        for (name, expected) in [
            ("/class_uid", json!(3002)),
            ("/category_uid", json!(3)),
            ("/type_uid", json!(300_201)),
            ("/severity_id", json!(2)),
            ("/status_id", json!(2)),
            ("/status", json!("Failure")),
            ("/status_detail", json!("unknown_credential")),
            ("/time", json!(1_773_483_072_123_u64)),
            ("/metadata/version", json!("1.8.0")),
            ("/metadata/original_event_uid", json!("00ff-8")),
            ("/metadata/is_truncated", json!(true)),
            ("/user/name", json!("unknown")),
            ("/user/credential_uid", json!("0011223344556677")),
            ("/service/name", json!("voxgate")),
            ("/src_endpoint/ip", json!("::1")),
            ("/http_response/code", json!(401)),
        ] {
            assert_eq!(event.pointer(name), Some(&expected), "{name}");
        }
        let accepted = with(DECISION, None, line);
        assert_eq!(accepted["status_id"], 1);
        assert_eq!(accepted["user"]["uid"], "ivr");
        assert_eq!(accepted["user"]["account"]["uid"], "acme");
        assert_eq!(accepted.pointer("/metadata/is_truncated"), None);
    }

    #[test]
    fn a_completion_is_an_api_activity_with_its_decisions_address() {
        let event = with(COMPLETION, Some(DECISION), line);
        for (name, expected) in [
            ("/class_uid", json!(6003)),
            ("/category_uid", json!(6)),
            ("/activity_name", json!("Create")),
            ("/type_uid", json!(600_301)),
            ("/api/operation", json!("POST /v1/rime-tts")),
            ("/actor/user/uid", json!("ivr")),
            ("/src_endpoint/port", json!(4567)),
            ("/duration", json!(876)),
            ("/http_response/body_length", json!(66044)),
            ("/http_response/latency", json!(1)),
            ("/unmapped/ended", json!("ok")),
        ] {
            assert_eq!(event.pointer(name), Some(&expected), "{name}");
        }
        let alone = with(COMPLETION, None, line);
        assert_eq!(alone["src_endpoint"]["name"], "unknown");
        assert_eq!(alone["type_uid"], 600_300);
        assert_eq!(alone["api"]["operation"], "unknown unknown");
    }
}
