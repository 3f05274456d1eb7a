//! The listener for proxies that ask. tests/proxies has the proxies themselves.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::forwarding::mirror;
use super::harness::{KEY, Program, Reply, Started, send_raw};
use super::rejections::{client as stranger, connect_from};

async fn gateway(more: &[(&str, &str)]) -> Started {
    let mut program = Program::validating(mirror().await)
        .var("VOXGATE_AUTHORIZE_LISTEN", "127.0.0.1:0")
        .var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1/32");
    for (name, value) in more {
        program = program.var(name, value);
    }
    program.start()
}

/// nginx asks about `POST /v1/rime-tts` of 203.0.113.7, with these headers besides.
async fn ask(gateway: &Started, headers: &str) -> Reply {
    let question = format!(
        "GET /authorize/nginx HTTP/1.1\r\nHost: voxgate\r\nX-Original-Method: POST\r\n\
         X-Original-URI: /v1/rime-tts?a=b\r\nX-Original-Host: tts.example\r\n\
         X-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n{headers}\r\n"
    );
    send_raw(gateway.authorizer(), question).await
}

#[tokio::test]
async fn a_proxy_learns_who_calls_and_the_record_says_who_asked() {
    let gateway = gateway(&[]).await;
    let key = format!("Authorization: Bearer {KEY}\r\nX-Request-Id: theirs\r\n");
    let answer = ask(&gateway, &key).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-voxgate-key-id"), Some("env-1"));
    assert_eq!(answer.header("x-voxgate-target"), Some("/v1/rime-tts?a=b"));
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let record = gateway.wait_for_record("decision", |record| record["request_id"] == *id);
    assert_eq!(record["via"], "nginx");
    assert_eq!(record["client"], "203.0.113.7");
    assert_eq!(record["client_request_id"], "theirs");
    assert_eq!(record["host"], "tts.example");
    assert_eq!(record["method"], "POST");
    assert_eq!(record["path"], "/v1/rime-tts");
    // The end of the request is not seen, and nothing counts as in flight.
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metrics = send_raw(gateway.admin, metrics).await.body;
    assert!(
        metrics.contains("\nvoxgate_requests_in_flight 0\n"),
        "{metrics}"
    );
    assert!(
        gateway
            .records()
            .iter()
            .all(|record| record["event"] != "complete")
    );
    assert!(!gateway.printed().contains(KEY));
}

#[tokio::test]
async fn a_request_that_is_not_named_in_one_way_is_refused() {
    let gateway = gateway(&[]).await;
    let key = format!("Authorization: Bearer {KEY}\r\n");
    for wrong in [
        "X-Original-URI: /other\r\n",
        "X-Original-Method: GET\r\n",
        "X-Forwarded-Uri: /other\r\n",
        "X-Original-URL: /other\r\n",
    ] {
        let answer = ask(&gateway, &format!("{key}{wrong}")).await;
        assert_eq!(answer.status, 403, "{wrong}");
        assert_eq!(answer.header("x-voxgate-status"), Some("400"), "{wrong}");
    }
    gateway.wait_for_log("X-Original-URI occurs more than once");
    let without_client = format!(
        "GET /authorize/nginx HTTP/1.1\r\nHost: voxgate\r\nX-Original-Method: POST\r\n\
         X-Original-URI: /v1/rime-tts\r\nX-Original-Host: tts.example\r\n{key}Connection: close\r\n\r\n"
    );
    assert_eq!(
        send_raw(gateway.authorizer(), without_client).await.status,
        403,
        "no client is named"
    );
    gateway.wait_for_record("refusal", |record| record["reason"] == "unclear_original");
    let other = "GET /v1/rime-tts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(send_raw(gateway.authorizer(), other).await.status, 404);
}

#[tokio::test]
async fn only_trusted_proxies_may_ask() {
    let gateway = gateway(&[]).await;
    let mut stream = connect_from(stranger(1), gateway.authorizer()).await;
    // The gateway may have closed the connection already.
    let _ = stream
        .write_all(b"GET /authorize/nginx HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    gateway.wait_for_record("rejection", |record| {
        record["event"] == "rejected" && record["reason"] == "untrusted_proxy"
    });
}

#[test]
fn it_does_not_start_without_the_networks_of_proxies() {
    let program = Program::validating("127.0.0.1:1").var("VOXGATE_AUTHORIZE_LISTEN", "127.0.0.1:0");
    let (code, _, errors) = program.run();
    assert_eq!(code, Some(64));
    assert!(errors.contains("VOXGATE_TRUSTED_PROXIES"), "{errors}");
}
