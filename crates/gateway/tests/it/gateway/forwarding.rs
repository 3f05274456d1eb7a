//! What the upstream sees, and what the client gets back.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, Version};
use axum::response::IntoResponse;
use axum::routing::any;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{DEPLOYMENT_KEY, KEY, Program, client, client_h2, send_raw, serve, serve_raw};

/// A server that answers with what it saw.
pub(super) async fn mirror() -> std::net::SocketAddr {
    async fn reflect(request: Request<Body>) -> impl IntoResponse {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let values = headers.entry(name.to_string()).or_default();
            values.push(value.to_str().unwrap().to_owned());
        }
        let saw = json!({
            "method": parts.method.as_str(),
            "target": parts.uri.path_and_query().unwrap().as_str(),
            "http2": parts.version == Version::HTTP_2,
            "headers": headers,
            "body": String::from_utf8(body.to_vec()).unwrap(),
        });
        (
            [
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=9"),
                ("x-kept", "1"),
            ],
            saw.to_string(),
        )
    }
    serve(Router::new().fallback(any(reflect))).await
}

pub(super) fn saw(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn the_upstream_sees_our_headers_and_none_that_the_client_forged() {
    let gateway = Program::validating(mirror().await).start();
    let request = format!(
        "POST /v1/rime-tts?a=%2F..&b HTTP/1.1\r\nHost: tts.example.com:8080\r\nAuthorization: Bearer {KEY}\r\n\
         Connection: close, X-Voxgate-Key-Id, X-Request-Id, X-Forwarded-For\r\n\
         X-Voxgate-Key-Id: root\r\nx_voxgate_key_id: root\r\nX.Voxgate.Key.Id: root\r\nX-Voxgate-Scope: root\r\n\
         X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Request-Id: mine\r\n\
         TE: trailers, gzip\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n\
         Keep-Alive: timeout=1\r\nX-Kept: kept\r\nContent-Length: 4\r\n\r\ntext"
    );
    let upstream_sees =
        |reply: &super::harness::Reply| saw(reply.body.rsplit("\r\n\r\n").next().unwrap());
    let reply = send_raw(gateway.address, request).await;
    // The first answer is `100 Continue`; the second is the upstream's.
    assert_eq!(reply.status, 100);
    let saw = upstream_sees(&reply);
    assert_eq!(saw["method"], "POST");
    assert_eq!(saw["target"], "/v1/rime-tts?a=%2F..&b");
    assert_eq!(saw["body"], "text");
    let mut headers = saw["headers"].as_object().unwrap().clone();
    let request_id = headers.remove("x-request-id").unwrap();
    assert_ne!(request_id, json!(["mine"]));
    assert!(headers.remove("traceparent").is_some());
    let host = headers.remove("host").unwrap();
    assert!(
        host[0].as_str().unwrap().starts_with("127.0.0.1:"),
        "{host}"
    );
    let expected = json!({
        "content-length": ["4"],
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-host": ["tts.example.com:8080"],
        "x-forwarded-proto": ["http"],
        "x-kept": ["kept"],
        "x-voxgate-key-id": ["env-1"],
    });
    assert_eq!(Value::Object(headers), expected);
    gateway.wait_for_completion(request_id[0].as_str().unwrap());
}

#[tokio::test]
async fn the_client_sees_no_hop_by_hop_header_and_a_request_id() {
    let gateway = Program::validating(mirror().await).start();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(reply.header("x-hop"), None);
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.header("x-kept"), Some("1"));
    let upstream_id = saw(&reply.body)["headers"]["x-request-id"][0].clone();
    assert_eq!(reply.header("x-request-id"), upstream_id.as_str());
}

#[tokio::test]
async fn the_deployment_key_takes_the_place_of_the_callers() {
    let upstream = mirror().await;
    let bearer = json!([format!("Bearer {DEPLOYMENT_KEY}")]);
    let preconfigured = Program::gateway(upstream)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .start();
    let both = Program::validating(upstream)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .var("VOXGATE_MODE", "validate")
        .start();
    for (gateway, status) in [(&preconfigured, 200), (&both, 401)] {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: y\r\nConnection: close\r\n\r\n";
        let reply = send_raw(gateway.address, request).await;
        assert_eq!(reply.status, status);
        if status == 200 {
            assert_eq!(saw(&reply.body)["headers"]["authorization"], bearer);
        }
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(both.address, request).await;
    assert_eq!(saw(&reply.body)["headers"]["authorization"], bearer);
    assert_eq!(
        saw(&reply.body)["headers"]["x-voxgate-key-id"],
        json!(["env-1"])
    );
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_forwarded() {
    let gateway = Program::validating(mirror().await).start();
    let request = |key: &str, content_type: &str| {
        Request::post(format!("http://{}/v1/rime-tts", gateway.address))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", content_type)
            .header("te", "trailers")
            .body(Full::new(Bytes::from("text")))
            .unwrap()
    };
    let client = client_h2();
    let reply = client.request(request(KEY, "text/plain")).await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.version()),
        (200, Version::HTTP_2)
    );
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let seen = saw(std::str::from_utf8(&body).unwrap());
    assert_eq!(
        (&seen["http2"], &seen["body"]),
        (&json!(false), &json!("text"))
    );
    let host = gateway.address.to_string();
    assert_eq!(seen["headers"]["x-forwarded-host"], json!([host]));

    let reply = client
        .request(request("unknown", "text/plain"))
        .await
        .unwrap();
    assert_eq!(reply.status(), 401);
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "invalid api key");

    let reply = client
        .request(request(KEY, "application/grpc+proto"))
        .await
        .unwrap();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let seen = saw(std::str::from_utf8(&body).unwrap());
    assert_eq!(
        (&seen["http2"], &seen["headers"]["te"]),
        (&json!(true), &json!(["trailers"]))
    );
}

#[tokio::test]
async fn grpc_trailers_reach_the_client() {
    let grpc = Router::new().fallback(any(|| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from("m"))),
            Ok(Frame::trailers(trailers)),
        ];
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
            frames,
        )))
    }));
    let gateway = Program::validating(serve(grpc).await).start();
    let request = Request::post(format!("http://{}/tts.Speech/Say", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::default())
        .unwrap();
    let reply = client_h2().request(request).await.unwrap();
    let body = reply.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn several_upstreams_share_one_door() {
    let named = |name: &'static str| {
        serve(Router::new().fallback(any(move |uri: Uri| async move { format!("{name}{uri}") })))
    };
    let (http, ws) = (named("http").await, named("ws").await);
    let gateway = Program::validating("unused")
        .var(
            "VOXGATE_UPSTREAM",
            format!("/v1=http://{http},/ws=http://{ws}"),
        )
        .start();
    for (path, status, body) in [
        ("/v1/rime-tts?q=1", 200, "http/v1/rime-tts?q=1"),
        ("/ws", 200, "ws/ws"),
        ("/ws2", 404, "not found"),
    ] {
        let request = Request::get(format!("http://{}{path}", gateway.address))
            .header("authorization", format!("Bearer {KEY}"))
            .body(Full::default())
            .unwrap();
        let reply = client().request(request).await.unwrap();
        assert_eq!(reply.status(), status, "{path}");
        assert_eq!(
            reply.into_body().collect().await.unwrap().to_bytes(),
            body,
            "{path}"
        );
    }
}

/// A server may merge trailers into the headers, which were judged without them.
#[tokio::test]
async fn the_clients_trailers_go_no_further() {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let record = move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let named = request.headers().contains_key("trailer");
            let body = request.into_body().collect().await.unwrap();
            sender
                .send((named, body.trailers().cloned(), body.to_bytes()))
                .unwrap();
        }
    };
    let gateway = Program::validating(serve(Router::new().fallback(any(record))).await).start();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\nTrailer: x-voxgate-key-id\r\n\r\n\
         4\r\ntext\r\n0\r\nx-voxgate-key-id: root\r\n\r\n"
    );
    assert_eq!(send_raw(gateway.address, request).await.status, 200);
    let (named, trailers, body) = received.recv().await.unwrap();
    assert!(!named && trailers.is_none_or(|trailers| trailers.is_empty()));
    assert_eq!(body, "text");
}

/// The identifier in the answer is the one on record, whatever the upstream says.
#[tokio::test]
async fn the_upstream_cannot_answer_in_our_name() {
    let forged = || async { [("x-request-id", "theirs"), ("x-voxgate-key-id", "root")] };
    let gateway = Program::validating(serve(Router::new().fallback(any(forged))).await).start();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    assert_eq!(reply.header("x-voxgate-key-id"), None);
    let completion = gateway.wait_for_completion(reply.header("x-request-id").unwrap());
    assert_eq!(completion["ended"], "ok", "an empty body is no abort");
}

#[tokio::test]
async fn what_could_turn_a_judged_request_into_another_is_removed() {
    let gateway = Program::validating(mirror().await).start();
    let names = [
        "X-Original-URL",
        "X_Rewrite_Url",
        "X-HTTP-Method-Override",
        "Proxy",
        "X-Remote-User",
        "True-Client-IP",
    ];
    let lines: String = names
        .iter()
        .map(|name| format!("{name}: forged\r\n"))
        .collect();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n{lines}\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("forged"), "{}", reply.body);
}

/// With both, a client and a proxy in front of it could cut the connection in two ways.
#[tokio::test]
async fn an_answer_with_a_length_and_chunks_keeps_the_chunks() {
    let upstream = serve_raw(|mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                      9\r\nin chunks\r\n0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let gateway = Program::validating(upstream).start();
    let request = Request::get(format!("http://{}/", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    for client in [client(), client_h2()] {
        let reply = client.request(request.clone()).await.unwrap();
        assert!(!reply.headers().contains_key("content-length"));
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "in chunks");
    }
}
