//! The traces that requests belong to. 127.0.0.1 is a trusted proxy here, and 127.0.1.x is not.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::forwarding::{mirror, saw};
use super::harness::{KEY, Program, Started};
use super::rejections::{client as stranger, connect_from};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

async fn send_from(from: IpAddr, gateway: &Started, key: &str, headers: &str) -> String {
    let mut stream = connect_from(from, gateway.address).await;
    let request = format!(
        "GET /v1/x HTTP/1.1\r\nHost: tts.example\r\nAuthorization: Bearer {key}\r\n{headers}\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The decision about the request with this answer.
fn decision(gateway: &Started, answer: &str) -> Value {
    let mut lines = answer.lines();
    let id = lines.find_map(|line| line.strip_prefix("x-request-id: "));
    let id = id.unwrap_or_else(|| panic!("no request id: {answer}"));
    gateway.wait_for_record("decision", |record| {
        record["event"] == "decision" && record["request_id"] == id
    })
}

/// The decision and the headers that the upstream saw.
fn forwarded(gateway: &Started, answer: &str) -> (Value, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    (decision(gateway, answer), saw(body)["headers"].clone())
}

#[tokio::test]
async fn only_the_trace_of_a_trusted_caller_is_continued() {
    let upstream = mirror().await;
    let sent = format!("Traceparent: {PARENT}\r\nTracestate: a=1\r\nTracestate: b=2\r\n");
    for (continued, from, is_continued) in [
        (None, PROXY, true),
        (None, stranger(1), false),
        (Some("all"), stranger(2), true),
        (Some("none"), PROXY, false),
    ] {
        let mut gateway = Program::validating(upstream).var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1");
        if let Some(continued) = continued {
            gateway = gateway.var("VOXGATE_CONTINUE_TRACES", continued);
        }
        let gateway = gateway.start();
        let answer = send_from(from, &gateway, KEY, &sent).await;
        let (decision, headers) = forwarded(&gateway, &answer);
        let case = format!("{continued:?} {from}");
        let trace_id = decision["trace_id"].as_str().expect("a trace");
        assert_eq!(decision["trace_parent"], PARENT, "{case}");
        let completion = gateway.wait_for_completion(decision["request_id"].as_str().unwrap());
        assert_eq!(completion["trace_id"], trace_id, "{case}");
        if is_continued {
            assert_eq!(headers["traceparent"], json!([PARENT]), "{case}");
            assert_eq!(headers["tracestate"], json!(["a=1", "b=2"]), "{case}");
            assert_eq!(trace_id, TRACE, "{case}");
        } else {
            // The caller's flag does not count either.
            let parent = headers["traceparent"][0].as_str().unwrap();
            assert!(parent.starts_with(&format!("00-{trace_id}-")) && parent.ends_with("-03"));
            assert_eq!(headers.get("tracestate"), None, "{case}");
            assert_ne!(trace_id, TRACE, "{case}");
        }
    }
}

#[tokio::test]
async fn each_request_has_a_trace_also_if_it_is_refused() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let mut traces = Vec::new();
    for (key, sent) in [
        (KEY, ""),
        ("wrong-key-of-a-guesser", ""),
        (KEY, "Traceparent: 1\r\nTracestate: a=1\r\n"),
        (
            KEY,
            &*format!("Traceparent: {PARENT}\r\nTraceparent: {PARENT}\r\n"),
        ),
    ] {
        let answer = send_from(PROXY, &gateway, key, sent).await;
        traces.push(decision(&gateway, &answer)["trace_id"].clone());
    }
    traces.push(json!(TRACE));
    traces.sort_by_key(Value::to_string);
    traces.dedup();
    assert_eq!(traces.len(), 5, "{traces:?}");
    assert!(traces.iter().all(Value::is_string));
}

#[tokio::test]
async fn log_lines_about_a_request_have_its_trace() {
    // Nothing listens on the port when the listener is dropped.
    let nothing = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = Program::validating(nothing)
        .var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let sent = format!("Traceparent: {PARENT}\r\n");
    send_from(PROXY, &gateway, KEY, &sent).await;
    gateway.wait_for_log(&format!("\"trace_id\":\"{TRACE}\""));
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_build_without_the_export_of_spans_says_so() {
    let check = Program::new(&["check"])
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:9")
        .var("VOXGATE_LISTEN", "127.0.0.1:0")
        .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .var("VOXGATE_API_KEYS", KEY)
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
        .var("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (code, out, _) = check.run();
    assert_eq!(code, Some(0));
    let note =
        "note: OTEL_EXPORTER_OTLP_ENDPOINT: has no effect: this build lacks the feature `otlp`";
    assert!(out.contains(note), "{out}");
}
