//! The access log: one line for each request, only if it is asked for.

use serde_json::Value;

use super::forwarding::mirror;
use super::harness::{KEY, Program, Started, send_raw, wait_until};

async fn get(gateway: &Started, key: &str) -> String {
    let request = format!(
        "GET /v1/{key}?a=1&{key} HTTP/1.1\r\nHost: tts.example\r\nAuthorization: Bearer {key}\r\n\
         User-Agent: a\"b\\c\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    reply.header("x-request-id").unwrap().to_owned()
}

/// The lines about this request.
fn lines(gateway: &Started, request_id: &str) -> Vec<Value> {
    let printed = gateway.printed();
    let lines = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["target"] == "voxgate::access" && line["request_id"] == request_id)
        .collect()
}

async fn line(gateway: &Started, request_id: &str) -> Value {
    wait_until("line", || lines(gateway, request_id).pop()).await
}

fn program(upstream: std::net::SocketAddr) -> Program {
    Program::validating(upstream).var("VOXGATE_LOG_FORMAT", "json")
}

#[tokio::test]
async fn a_line_has_the_fields_of_the_audit_records_and_no_key() {
    let gateway = program(mirror().await)
        .var("VOXGATE_LOG", "info,voxgate::access=info")
        .var("VOXGATE_AUDIT_ADDRESSES", "prefix")
        .start();
    for (key, is_accepted) in [(KEY, true), ("wrong-key-of-a-guesser", false)] {
        let id = get(&gateway, key).await;
        let mut line = line(&gateway, &id).await;
        assert_eq!(lines(&gateway, &id).len(), 1);
        let decision = gateway.wait_for_record("decision", |record| {
            record["event"] == "decision" && record["request_id"] == *id
        });
        let mut fields = decision.as_object().unwrap().clone();
        if is_accepted {
            let completion = gateway.wait_for_completion(&id);
            fields.extend(completion.as_object().unwrap().clone());
        }
        // The record escapes text as JSON does.
        assert_eq!(line["user_agent"], "a\\\"b\\\\c");
        let line = line.as_object_mut().unwrap();
        for own in ["timestamp", "level", "message", "target", "user_agent"] {
            assert!(line.remove(own).is_some(), "{own}");
        }
        if !is_accepted {
            assert!(line.remove("duration_us").is_some());
        }
        for only in [
            "v",
            "seq",
            "ts",
            "instance",
            "event",
            "user_agent",
            "chain",
            "cred_fp",
        ] {
            fields.remove(only);
        }
        assert_eq!(Value::from(line.clone()), Value::from(fields));
    }
    assert!(!gateway.printed().contains(KEY));
}

#[tokio::test]
async fn it_is_off_unless_the_filter_names_it() {
    let gateway = program(mirror().await).var("VOXGATE_LOG", "debug").start();
    let before = get(&gateway, KEY).await;
    gateway.wait_for_completion(&before);
    let filter = "info,voxgate::access=info";
    let put = format!(
        "PUT /log-level HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{filter}",
        filter.len()
    );
    assert_eq!(send_raw(gateway.admin, put).await.status, 200);
    let after = get(&gateway, KEY).await;
    line(&gateway, &after).await;
    assert!(lines(&gateway, &before).is_empty());
}
