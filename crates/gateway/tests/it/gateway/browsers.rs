//! Pages of other origins.

use super::forwarding::mirror;
use super::harness::{KEY, Program, Reply, Started, send_raw};

const PAGE: &str = "https://app.example";

async fn ask(gateway: &Started, start: &str, headers: &str) -> Reply {
    let request =
        format!("{start} HTTP/1.1\r\nHost: tts.example\r\n{headers}Connection: close\r\n\r\n");
    send_raw(gateway.address, request).await
}

fn preflight(origin: &str) -> String {
    format!(
        "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization\r\n"
    )
}

#[tokio::test]
async fn a_page_may_ask_and_read_what_it_is_refused() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_CORS_ORIGINS", PAGE)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "1")
        .start();
    let name = "access-control-allow-origin";
    // As many as it takes: none of them is a failure.
    for _ in 0..4 {
        let answer = ask(&gateway, "OPTIONS /v1/x", &preflight(PAGE)).await;
        assert_eq!((answer.status, answer.header(name)), (200, Some(PAGE)));
        let allowed = answer.header("access-control-allow-headers");
        assert_eq!(allowed, Some("authorization"));
    }
    let wrong = format!("Origin: {PAGE}\r\nAuthorization: Bearer wrong-key-of-a-page\r\n");
    let refused = ask(&gateway, "GET /v1/x", &wrong).await;
    assert_eq!((refused.status, refused.header(name)), (401, Some(PAGE)));
    assert_eq!(refused.header("access-control-expose-headers"), Some("*"));
    let id = refused.header("x-request-id").unwrap().to_owned();
    let decision = gateway.wait_for_record("decision", |record| record["request_id"] == id);
    assert_eq!(decision.get("limit"), None, "{decision}");
    let right = format!("Origin: {PAGE}\r\nAuthorization: Bearer {KEY}\r\n");
    let served = ask(&gateway, "GET /v1/x", &right).await;
    assert_eq!((served.status, served.header(name)), (200, Some(PAGE)));
    let vary = served.headers.iter().filter(|(name, _)| name == "vary");
    assert!(vary.into_iter().any(|(_, value)| value.contains("origin")));

    for (start, headers) in [
        ("OPTIONS /v1/x", preflight("https://evil.example")),
        ("GET /v1/x", right.replace(PAGE, "https://evil.example")),
    ] {
        let answer = ask(&gateway, start, &headers).await;
        assert_eq!(answer.header(name), None, "{start}");
    }
}

#[tokio::test]
async fn a_websocket_of_another_page_is_refused_in_the_vendors_words() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_CORS_ORIGINS", PAGE)
        .start();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    // Without a credential, its handshake would be accepted to wait for a first message.
    for credential in [format!("Authorization: Bearer {KEY}\r\n"), String::new()] {
        let headers = format!("Origin: https://evil.example\r\n{upgrade}{credential}");
        let request = format!("GET /ws HTTP/1.1\r\nHost: tts.example\r\n{headers}\r\n");
        let closed = request.replace("Connection: Upgrade", "Connection: Upgrade, close");
        let answer = send_raw(gateway.address, closed).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (403, "access forbidden")
        );
        let id = answer.header("x-request-id").unwrap().to_owned();
        let decision = gateway.wait_for_record("decision", |record| record["request_id"] == id);
        assert_eq!(decision["reason"], "origin_not_allowed");
    }
}

#[tokio::test]
async fn preflights_go_to_the_server_if_they_are_to() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_CORS_ORIGINS", PAGE)
        .var("VOXGATE_CORS_PREFLIGHTS", "forward")
        .var("VOXGATE_PUBLIC", "OPTIONS /v1/*")
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "1")
        .start();
    let answer = ask(&gateway, "OPTIONS /v1/x", &preflight(PAGE)).await;
    assert_eq!((answer.status, answer.header("x-kept")), (200, Some("1")));
    for _ in 0..3 {
        let answer = ask(&gateway, "OPTIONS /v2/x", &preflight(PAGE)).await;
        assert_eq!(answer.status, 401);
        let id = answer.header("x-request-id").unwrap().to_owned();
        let decision = gateway.wait_for_record("decision", |record| record["request_id"] == id);
        assert_eq!(decision.get("limit"), None, "a preflight is no failure");
    }
}
