//! The export of spans to a collector of OpenTelemetry, which is the test's own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::forwarding::{mirror, saw};
use super::harness::{KEY, Program, Started, send_raw, serve, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What a collector was sent, and what it answers first.
#[derive(Clone, Default)]
struct Collector {
    answers: Arc<Mutex<VecDeque<u16>>>,
    exports: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        async fn take(
            State(collector): State<Collector>,
            headers: HeaderMap,
            body: Bytes,
        ) -> StatusCode {
            let status = collector.answers.lock().unwrap().pop_front().unwrap_or(200);
            if status == 200 {
                let export = ExportTraceServiceRequest::decode(body).unwrap();
                collector.exports.lock().unwrap().push((headers, export));
            }
            StatusCode::from_u16(status).unwrap()
        }
        let router = Router::new().route("/otlp/v1/traces", post(take));
        serve(router.with_state(self.clone())).await
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().unwrap();
        let resources = exports
            .iter()
            .flat_map(|(_, export)| &export.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits for so many spans.
    async fn wait_for(&self, count: usize) -> Vec<Span> {
        wait_until("spans", || {
            Some(self.spans()).filter(|spans| spans.len() >= count)
        })
        .await
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute).unwrap()))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gateway(upstream: SocketAddr, collector: SocketAddr) -> Program {
    Program::validating(upstream)
        .var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1")
        .var(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{collector}/otlp/"),
        )
}

async fn get(gateway: &Started, target: &str, headers: &str) -> super::harness::Reply {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: tts.example:8080\r\n{headers}Connection: close\r\n\r\n"
    );
    send_raw(gateway.address, request).await
}

#[tokio::test]
async fn a_request_is_a_server_span_and_a_client_span_without_secrets() {
    let (collector, upstream) = (Collector::default(), mirror().await);
    let gateway = gateway(upstream, collector.start().await)
        .var(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "api-key=hunter2%3D,x-tenant=acme",
        )
        .var("OTEL_SERVICE_NAME", "tts-edge")
        .var(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test,service.name=other",
        )
        .start();
    let headers = format!(
        "Authorization: Bearer {KEY}\r\nUser-Agent: curl\r\nTraceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n"
    );
    let target = format!("/v1/x/{KEY}?token={KEY}&text=hello");
    let reply = get(&gateway, &target, &headers).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let spans = collector.wait_for(2).await;
    assert_eq!(spans.len(), 2);
    let of_kind = |kind| spans.iter().find(|span| span.kind == kind).unwrap();
    let (server, client) = (of_kind(2), of_kind(3));
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(span.name, "GET");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!(client.parent_span_id, server.span_id);
    let told = saw(&reply.body)["headers"]["traceparent"][0].clone();
    let expected = format!("00-{TRACE}-{}-01", hex(&client.span_id));
    assert_eq!(told, expected.as_str());

    let request_id = reply.header("x-request-id").unwrap().to_owned();
    let mut server = attributes(&server.attributes);
    assert!(server.remove("network.peer.port").is_some());
    assert!(server.remove("http.response.body.size").is_some());
    let expected = [
        ("client.address", "127.0.0.1"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("server.address", "tts.example"),
        ("server.port", "8080"),
        ("url.path", "/v1/x/***"),
        ("url.scheme", "http"),
        ("user_agent.original", "curl"),
        ("voxgate.auth_method", "api_key"),
        ("voxgate.dialect", "rime"),
        ("voxgate.ended", "ok"),
        ("voxgate.key_id", "env-1"),
        ("voxgate.outcome", "accepted"),
        ("voxgate.request_id", &request_id),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(server, BTreeMap::from(expected));
    let client = attributes(&client.attributes);
    let port = upstream.port().to_string();
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("voxgate.request_id", &request_id),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(client, BTreeMap::from(expected));

    let exports = collector.exports.lock().unwrap().clone();
    let (headers, export) = &exports[0];
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["api-key"], "hunter2=");
    assert_eq!(headers["x-tenant"], "acme");
    let resource = export.resource_spans[0].resource.as_ref().unwrap();
    let resource = attributes(&resource.attributes);
    assert_eq!(resource["service.name"], "tts-edge");
    assert_eq!(resource["deployment.environment.name"], "test");
    for (_, export) in &exports {
        assert!(!format!("{export:?}").contains(KEY));
    }
    assert!(!gateway.printed().contains("hunter2"));
}

#[tokio::test]
async fn a_refusal_is_a_span_and_a_strangers_trace_is_linked_and_does_not_decide() {
    let collector = Collector::default();
    let gateway = gateway(mirror().await, collector.start().await)
        .var("VOXGATE_CONTINUE_TRACES", "none")
        .var("OTEL_TRACES_SAMPLER", "parentbased_always_on")
        .start();
    // The flag says that it is not recorded.
    let sent = format!("Traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n");
    assert_eq!(get(&gateway, "/v1/x", &sent).await.status, 401);
    let spans = collector.wait_for(1).await;
    let [span] = &*spans else {
        panic!("{spans:?}");
    };
    assert_ne!(hex(&span.trace_id), TRACE);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(hex(&span.links[0].trace_id), TRACE);
    let attributes = attributes(&span.attributes);
    assert_eq!(attributes["error.type"], "missing_credential");
    assert_eq!(attributes["http.response.status_code"], "401");
    assert_eq!(attributes["voxgate.outcome"], "refused");
    // To a server, an error of the client's is no failure.
    assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0);
}

#[tokio::test]
async fn the_sampler_decides_and_its_decision_is_sent_on() {
    let collector = Collector::default();
    let address = collector.start().await;
    let upstream = mirror().await;
    let not_recorded = format!("Traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n");
    let recorded = format!("Traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
    for (sampler, share, sent, is_sampled) in [
        ("always_off", "", &*recorded, false),
        ("always_on", "", &*not_recorded, true),
        ("parentbased_always_off", "", &*recorded, true),
        ("parentbased_always_off", "", "", false),
        ("traceidratio", "0", &*recorded, false),
        ("parentbased_traceidratio", "0", &*recorded, true),
        ("parentbased_traceidratio", "1", &*not_recorded, false),
    ] {
        let mut gateway = gateway(upstream, address).var("OTEL_TRACES_SAMPLER", sampler);
        if !share.is_empty() {
            gateway = gateway.var("OTEL_TRACES_SAMPLER_ARG", share);
        }
        let mut gateway = gateway.start();
        let before = collector.spans().len();
        let headers = format!("Authorization: Bearer {KEY}\r\n{sent}");
        let reply = get(&gateway, "/v1/x", &headers).await;
        let told = saw(&reply.body)["headers"]["traceparent"][0].clone();
        let flags = u8::from_str_radix(&told.as_str().unwrap()[53..], 16).unwrap();
        let case = format!("{sampler} {share} {sent}");
        assert_eq!(flags & 1 == 1, is_sampled, "{case}");
        gateway.wait_for_completion(reply.header("x-request-id").unwrap());
        // What is left is exported at the end of the program.
        gateway.terminate();
        assert!(gateway.exit_status().await.success());
        let spans = collector.spans().len() - before;
        assert_eq!(spans, if is_sampled { 2 } else { 0 }, "{case}");
    }
}

#[tokio::test]
async fn a_collector_that_is_out_costs_spans_that_are_counted_and_no_request() {
    // Nothing listens on the port when the listener is dropped.
    let nothing = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = gateway(mirror().await, nothing)
        .var("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
        .start();
    let headers = format!("Authorization: Bearer {KEY}\r\n");
    assert_eq!(get(&gateway, "/v1/x", &headers).await.status, 200);
    gateway.wait_for_log("cannot export spans to the collector");
    loop {
        let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let metrics = send_raw(gateway.admin, request).await.body;
        assert!(
            metrics.contains("voxgate_spans_exported_total 0\n"),
            "{metrics}"
        );
        if metrics.contains("voxgate_spans_lost_total{reason=\"export_failed\"} 2\n") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_is_sent_again_when_the_collector_says_so() {
    let collector = Collector::default();
    collector.answers.lock().unwrap().extend([503, 429]);
    let gateway = gateway(mirror().await, collector.start().await).start();
    assert_eq!(get(&gateway, "/v1/x", "").await.status, 401);
    assert_eq!(collector.wait_for(1).await.len(), 1);
    assert!(collector.answers.lock().unwrap().is_empty());
}

#[test]
fn wrong_settings_are_named_and_a_disabled_export_has_none() {
    let check = |vars: &[(&str, &str)]| {
        let mut program = Program::new(&["check"])
            .var("VOXGATE_UPSTREAM", "http://127.0.0.1:9")
            .var("VOXGATE_LISTEN", "127.0.0.1:0")
            .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0")
            .var("VOXGATE_API_KEYS", KEY)
            .var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (name, value) in vars {
            program = program.var(name, value);
        }
        program.run()
    };
    let (code, out, _) = check(&[]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Spans of requests are exported to http://collector:4318/v1/traces.\n"));
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://user:hunter2@collector:4318",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_SDK_DISABLED", "hunter2"),
    ] {
        let (code, _, error) = check(&[(name, value)]);
        assert_eq!(code, Some(64), "{name}");
        assert!(
            error.contains(&format!("{name}: ")) && !error.contains("hunter2"),
            "{error}"
        );
    }
    let share = [
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ];
    assert!(check(&share).2.contains("OTEL_TRACES_SAMPLER_ARG: "));
    let disabled = [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "x")];
    let (code, out, _) = check(&disabled);
    assert!(
        code == Some(0) && !out.contains("Spans of requests"),
        "{out}"
    );
}
