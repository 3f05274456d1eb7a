//! What a policy file and settings open and close, as a client sees it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Uri};
use axum::routing::{any, get};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use tempfile::TempDir;

use super::harness::{DEPLOYMENT_KEY, KEY, Program, Reply, Started, client_h2, send_raw, serve};

const OTHER_KEY: &str = "another-key-that-is-long-enough";

async fn ask(gateway: &Started, method: &str, target: &str, key: &str) -> Reply {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    send_raw(gateway.address, request).await
}

fn file(directory: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Answers with the target that it received.
async fn mirror() -> std::net::SocketAddr {
    serve(Router::new().fallback(any(|uri: Uri| async move { uri.to_string() }))).await
}

#[tokio::test]
async fn an_encoded_slash_is_forwarded_as_it_is_where_a_rule_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let policy = "[[rule]]\nmethod = \"DELETE\"\npath = \"/v1/models/{model%2F}\"\n\
                  scope = \"admin:models\"\nexplicit = true\n";
    let keys = format!(
        "[[key]]\nid = \"any\"\nsecret = \"{KEY}\"\n\
         [[key]]\nid = \"admin\"\nsecret = \"{OTHER_KEY}\"\nscopes = [\"admin:models\"]\n"
    );
    let gateway = Program::gateway(mirror().await)
        .var("VOXGATE_DIALECT", "openai")
        .var(
            "VOXGATE_POLICY_FILE",
            file(&directory, "policy.toml", policy),
        )
        .var("VOXGATE_KEYS_FILE", file(&directory, "keys.toml", &keys))
        .start();
    for (method, target, key, status) in [
        ("GET", "/v1/models/org%2Fmodel", KEY, 200),
        ("GET", "/v1/models/org%2fmodel?a=%2F", KEY, 200),
        ("GET", "/v1/models/org%2Fmodel", OTHER_KEY, 403),
        ("DELETE", "/v1/models/org%2Fmodel", OTHER_KEY, 200),
        ("DELETE", "/v1/models/org%2Fmodel", KEY, 403),
        ("POST", "/v1/models/org%2Fmodel", KEY, 400),
        ("GET", "/v1/voices/org%2Fmodel", KEY, 400),
        ("GET", "/v1/models/..%2Fvoices", KEY, 400),
        ("GET", "/v1/models/%2e%2e%2Fvoices", KEY, 400),
        ("GET", "/v1/models/org%252Fmodel", KEY, 400),
        ("GET", "/v1/models/org%2F%c0%ae%c0%ae", KEY, 400),
        ("GET", "/v1/models/org%2F", KEY, 400),
    ] {
        let answer = ask(&gateway, method, target, key).await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        if status == 200 {
            assert_eq!(answer.body, target);
        }
    }
}

#[tokio::test]
async fn without_keys_nobody_has_an_explicit_scope() {
    let directory = tempfile::tempdir().unwrap();
    let policy = "[rest]\nscope = \"admin:server\"\nexplicit = true\n";
    let gateway = Program::gateway(mirror().await)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .var(
            "VOXGATE_POLICY_FILE",
            file(&directory, "policy.toml", policy),
        )
        .start();
    assert_eq!(ask(&gateway, "POST", "/v1/rime-tts", KEY).await.status, 200);
    assert_eq!(ask(&gateway, "POST", "/restart", KEY).await.status, 403);
}

#[tokio::test]
async fn the_health_service_of_grpc_is_opened_by_one_line() {
    let grpc = Router::new().fallback(any(|headers: HeaderMap| async move {
        assert!(!headers.contains_key("authorization"));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [
            // A message of five bytes of header and `status: SERVING`.
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[
                0, 0, 0, 0, 2, 8, 1,
            ]))),
            Ok(Frame::trailers(trailers)),
        ];
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
            frames,
        )))
    }));
    let gateway = Program::validating(serve(grpc).await)
        .var("VOXGATE_DIALECT", "bearer")
        .var("VOXGATE_PUBLIC", "POST /grpc.health.v1.Health/Check")
        .start();
    for (path, expected) in [
        ("/grpc.health.v1.Health/Check", "0"),
        ("/grpc.health.v1.Health/Watch", "16"),
        ("/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize", "16"),
    ] {
        let request = Request::post(format!("http://{}{path}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))
            .unwrap();
        let answer = client_h2().request(request).await.unwrap();
        let refused = answer.headers().get("grpc-status").cloned();
        let body = answer.into_body().collect().await.unwrap();
        let status = refused.or_else(|| body.trailers()?.get("grpc-status").cloned());
        assert_eq!(status.unwrap(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_key_with_voices_sees_only_these() {
    let list = r#"{"voices":["cove","other"]}"#;
    let directory = tempfile::tempdir().unwrap();
    let keys = format!(
        "[[key]]\nid = \"any\"\nsecret = \"{KEY}\"\n\
         [[key]]\nid = \"cove\"\nsecret = \"{OTHER_KEY}\"\nvoices = [\"cove\"]\n"
    );
    let keys = file(&directory, "keys.toml", &keys);
    let server = Router::new()
        .route("/v1/audio/voices", get(move || async move { list }))
        .fallback(get(|| async { "a list of nothing that is known" }));
    let server = serve(server).await;
    let gateway = |filter: &str| {
        Program::gateway(server)
            .var("VOXGATE_DIALECT", "openai")
            .var("VOXGATE_KEYS_FILE", &keys)
            .var("VOXGATE_FILTER_LISTS", filter)
            .start()
    };
    let (on, off) = (gateway("on"), gateway("off"));
    for (gateway, key, expected) in [
        (&on, OTHER_KEY, r#"{"voices":["cove"]}"#),
        (&on, KEY, list),
        (&off, OTHER_KEY, list),
    ] {
        let answer = ask(gateway, "GET", "/v1/audio/voices", key).await;
        assert_eq!((answer.status, &*answer.body), (200, expected));
    }
}
