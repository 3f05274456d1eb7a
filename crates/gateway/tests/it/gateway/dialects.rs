//! What the vendors' dialects look like from both ends of the gateway. The vendors' own clients
//! are in `tests/clients`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::routing::any;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{accept_hdr_async, client_async};

use super::harness::{KEY, Program, Started, send_raw, serve, serve_raw};

/// What an upstream saw of each request: the target, and the headers.
type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

async fn recorder() -> (Seen, SocketAddr) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let answer = move |uri: Uri, headers: HeaderMap| async move {
        keep.lock().unwrap().push((uri.to_string(), headers));
        "spoken"
    };
    (seen, serve(Router::new().fallback(any(answer))).await)
}

/// An upstream that agrees to every WebSocket, and to no subprotocol.
async fn websocket_recorder() -> (Seen, SocketAddr) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let address = serve_raw(move |stream| {
        let keep = Arc::clone(&keep);
        async move {
            #[allow(
                clippy::result_large_err,
                reason = "the callback's type is tungstenite's"
            )]
            let record = |request: &Request, response: Response| {
                let (target, headers) = (request.uri().to_string(), request.headers().clone());
                keep.lock().unwrap().push((target, headers));
                Ok(response)
            };
            let Ok(mut socket) = accept_hdr_async(stream, record).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (seen, address)
}

/// The status and the reason on record of a request with these lines.
async fn ask(gateway: &Started, start: &str, lines: &[&str]) -> (u16, String) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("{start} HTTP/1.1\r\nHost: tts\r\nConnection: close\r\n{lines}\r\n");
    let reply = send_raw(gateway.address, request).await;
    let request_id = reply.header("x-request-id").unwrap().to_owned();
    let record = gateway.wait_for_record("decision", |record| {
        record["event"] == "decision" && record["request_id"] == request_id
    });
    (reply.status, record["reason"].as_str().unwrap().to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn a_key_in_the_query_goes_no_further() {
    let (seen, upstream) = websocket_recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "kugel")
        .start();
    let url = format!(
        "ws://{}/ws/tts?voice=a%2Fb&api_key={KEY}&&x",
        gateway.address
    );
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut socket, _) = client_async(url.into_client_request().unwrap(), stream)
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let (target, headers) = seen.lock().unwrap()[0].clone();
    assert_eq!(target, "/ws/tts?voice=a%2Fb&&x");
    assert!(!format!("{headers:?}").contains(KEY));
    assert!(!gateway.printed().contains(KEY));
    // Without an upgrade, the query is no place for a key.
    let (status, reason) = ask(&gateway, &format!("GET /ws/tts?api_key={KEY}"), &[]).await;
    assert_eq!((status, reason.as_str()), (401, "missing_credential"));
}

#[tokio::test]
async fn a_key_among_the_subprotocols_is_answered_by_its_name() {
    let (seen, upstream) = websocket_recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "deepgram")
        .start();
    for (offer, name) in [
        (format!("token, {KEY}"), "token"),
        (format!("bearer, {KEY}"), "bearer"),
    ] {
        let mut request = format!("ws://{}/v1/speak?model=a", gateway.address)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", offer.parse().unwrap());
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (_, response) = client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], name);
        let (target, headers) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(target, "/v1/speak?model=a");
        assert_eq!(headers["sec-websocket-protocol"], name);
        assert!(!format!("{headers:?}").contains(KEY));
    }
}

#[tokio::test]
async fn one_key_on_two_carriers_is_one_key() {
    let (seen, upstream) = recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "kugel")
        .start();
    let (bearer, raw) = (
        format!("Authorization: Bearer {KEY}"),
        format!("X-API-Key: eu-{KEY}"),
    );
    let start = "POST /v1/tts/generate";
    assert_eq!(
        ask(&gateway, start, &[&bearer, &raw]).await,
        refused(200, "ok")
    );
    let (_, headers) = seen.lock().unwrap().pop().unwrap();
    assert!(!headers.contains_key("x-api-key") && !headers.contains_key("authorization"));
    let other = ask(
        &gateway,
        start,
        &[&bearer, "X-API-Key: another-key-of-somebody"],
    )
    .await;
    assert_eq!(other, refused(401, "conflicting_credentials"));
}

#[tokio::test]
async fn scopes_voices_and_kinds_limit_a_key() {
    let (_, upstream) = recorder().await;
    let keys = tempfile::NamedTempFile::new().unwrap();
    let text = "
        [[key]]\nid = \"all\"\nsecret = \"id:unlimited-key\"
        [[key]]\nid = \"reader\"\nsecret = \"id:reading-key-1\"\nscopes = [\"voices:read\"]
        [[key]]\nid = \"live\"\nsecret = \"id:realtime-key-1\"\nkind = \"realtime\"
    ";
    std::fs::write(keys.path(), text).unwrap();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_DIALECT", "inworld")
        .var("VOXGATE_KEYS_FILE", keys.path())
        .start();
    let basic = |key: &str| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(key);
        format!("Authorization: Basic {encoded}")
    };
    let (all, reader, live) = (
        basic("id:unlimited-key"),
        basic("id:reading-key-1"),
        basic("id:realtime-key-1"),
    );
    let ok = refused(200, "ok");
    let forbidden = refused(403, "insufficient_scope");
    let (no_rule, realtime_only) = (refused(403, "no_rule"), refused(403, "realtime_only"));
    for (start, key, expected) in [
        ("POST /voices/v1/voices", &all, &ok),
        ("GET /unnamed", &all, &ok),
        ("GET /voices/v1/voices", &reader, &ok),
        ("POST /voices/v1/voices", &reader, &forbidden),
        ("PATCH /voices/v1/voices/a", &reader, &forbidden),
        ("DELETE /voices/v1/voices/a", &reader, &forbidden),
        ("GET /v1/routers", &reader, &forbidden),
        ("GET /unnamed", &reader, &no_rule),
        // The permissions of a key do not concern TTS.
        ("POST /tts/v1/voice", &reader, &ok),
        ("POST /tts/v1/voice", &live, &realtime_only),
        ("GET /voices/v1/voices", &live, &realtime_only),
        ("GET /api/v1/realtime/session", &live, &ok),
        ("POST /v1/realtime/calls", &live, &ok),
    ] {
        assert_eq!(
            ask(&gateway, start, &[key]).await,
            *expected,
            "{start} {key}"
        );
    }
    // A key that nobody has is a 403 to Inworld's clients.
    let unknown = ask(&gateway, "POST /tts/v1/voice", &[&basic("id:unknown-key")]).await;
    assert_eq!(unknown, refused(403, "unknown_credential"));
}

#[tokio::test]
async fn a_voice_of_somebody_else_is_refused() {
    let (_, upstream) = recorder().await;
    let (keys, policy) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    let text =
        format!("[[key]]\nid = \"a\"\nsecret = \"{KEY}\"\nvoices = [\"cove\", \"team-*\"]\n");
    std::fs::write(keys.path(), text).unwrap();
    let rule = "[[rule]]\nmethod = \"GET\"\npath = \"/v1/preview\"\nscope = \"tts:synthesize\"\nvoice = \"query:voice\"\n";
    std::fs::write(policy.path(), rule).unwrap();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_DIALECT", "supertone")
        .var("VOXGATE_KEYS_FILE", keys.path())
        .var("VOXGATE_POLICY_FILE", policy.path())
        .start();
    let key = format!("x-sup-api-key: {KEY}");
    for (start, status) in [
        ("POST /v1/text-to-speech/cove", 200),
        ("POST /v1/text-to-speech/team-7/stream", 200),
        ("POST /v1/text-to-speech/other", 403),
        ("POST /v1/text-to-speech/c%6Fve", 200),
        ("GET /v1/voices", 200),
        ("GET /v1/preview?voice=cove", 200),
        ("GET /v1/preview?voice=other", 403),
        ("GET /v1/preview", 403),
    ] {
        assert_eq!(ask(&gateway, start, &[&key]).await.0, status, "{start}");
    }
}

#[tokio::test]
async fn what_is_public_needs_no_key_and_is_said_at_start() {
    let (seen, upstream) = recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_PUBLIC", "GET /health, GET /data/voices/all.json")
        .start();
    let start = gateway.wait_for_record("start", |record| record["event"] == "start");
    assert_eq!(start["public"], "GET /health, GET /data/voices/all.json");
    let key = format!("Authorization: Bearer {KEY}");
    assert_eq!(ask(&gateway, "GET /health", &[]).await, refused(200, "ok"));
    // Nobody asked for this key; nobody gets it.
    assert_eq!(
        ask(&gateway, "GET /health?x", &[&key]).await,
        refused(200, "ok")
    );
    assert!(!seen.lock().unwrap()[1].1.contains_key("authorization"));
    assert_eq!(seen.lock().unwrap()[1].1["x-voxgate-key-id"], "public");
    for start in [
        "POST /health",
        "GET /health/",
        "GET /healt%68",
        "GET /data/voices/other.json",
    ] {
        assert_eq!(
            ask(&gateway, start, &[]).await,
            refused(401, "missing_credential"),
            "{start}"
        );
    }
    assert_eq!(
        ask(&gateway, "GET /x/../health", &[]).await,
        refused(400, "ambiguous_path")
    );
}

#[tokio::test]
async fn the_dialect_is_told_by_the_request() {
    let (seen, upstream) = recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "auto")
        .start();
    let bearer = format!("Authorization: Bearer {KEY}");
    for (start, line, dialect) in [
        ("POST /v1/rime-tts", bearer.clone(), "rime"),
        (
            "POST /v1/tts/generate",
            format!("X-API-Key: {KEY}"),
            "kugel",
        ),
        (
            "POST /v1/text-to-speech/a",
            format!("xi-api-key: {KEY}"),
            "elevenlabs",
        ),
        (
            "POST /v1/text-to-speech/a",
            format!("x-sup-api-key: {KEY}"),
            "supertone",
        ),
        ("POST /v1/audio/speech", bearer.clone(), "openai"),
    ] {
        assert_eq!(
            ask(&gateway, start, &[&line]).await,
            refused(200, "ok"),
            "{start}"
        );
        let (_, headers) = seen.lock().unwrap().pop().unwrap();
        assert!(!format!("{headers:?}").contains(KEY), "{start}");
        let spoken = |record: &serde_json::Value| record["dialect"] == dialect;
        gateway.wait_for_record(dialect, spoken);
    }
    let unknown = ask(&gateway, "GET /unknown", &[&bearer]).await;
    assert_eq!(unknown, refused(401, "unrecognized_dialect"));
    // Each is refused in its own words.
    let request = "POST /v1/rime-tts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(
        send_raw(gateway.address, request).await.body,
        "missing headers"
    );
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_grpcs_form() {
    let (_, upstream) = recorder().await;
    let gateway = Program::validating(upstream).start();
    let request = hyper::Request::post(format!("http://{}/tts.Speech/Say", gateway.address))
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::<hyper::body::Bytes>::default())
        .unwrap();
    let reply = super::harness::client_h2().request(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "application/grpc");
    assert_eq!(reply.headers()["grpc-status"], "16");
    assert_eq!(reply.headers()["grpc-message"], "The API key is missing.");
}

#[test]
fn the_policy_is_shown_as_a_table() {
    let (code, out, error) = Program::new(&["policy", "--dialect", "supertone"])
        .var("VOXGATE_PUBLIC", "GET /health")
        .run();
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["METHOD", "PATH", "REQUIRES", "VOICE"]);
    assert_eq!(lines[1][..2], ["GET", "/health"]);
    assert_eq!(
        lines[2],
        [
            "POST",
            "/v1/text-to-speech/{voice_id}",
            "tts:synthesize",
            "path:voice_id"
        ]
    );
    let (code, _, error) = Program::new(&["policy", "--dialect", "nobody"]).run();
    assert_eq!(code, Some(64));
    assert!(error.contains("VOXGATE_DIALECT"), "{error}");
}

#[tokio::test]
async fn a_browsers_subprotocol_for_openai_is_read_and_goes_no_further() {
    let (seen, upstream) = websocket_recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "openai")
        .start();
    let open = async |offers: &str, header: Option<&str>| {
        let mut request = format!("ws://{}/v1/realtime?model=a", gateway.address)
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", offers.parse().unwrap());
        if let Some(key) = header {
            let value = format!("Bearer {key}").parse().unwrap();
            headers.insert("authorization", value);
        }
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let opened = client_async(request, stream).await;
        opened.map(|(_, response)| response.headers()["sec-websocket-protocol"].clone())
    };
    let key = format!("openai-insecure-api-key.{KEY}");
    for (offers, header) in [
        (format!("realtime, {key}, openai-beta.realtime-v1"), None),
        (
            format!("realtime, {key}, openai-beta.realtime-v1"),
            Some(KEY),
        ),
    ] {
        assert_eq!(open(&offers, header).await.unwrap(), "realtime");
        let (_, headers) = seen.lock().unwrap().pop().unwrap();
        let offered = &headers["sec-websocket-protocol"];
        assert_eq!(offered, "realtime, openai-beta.realtime-v1");
        assert!(!format!("{headers:?}").contains(KEY));
    }
    let other = "realtime, openai-insecure-api-key.another-key-that-is-long-enough";
    assert!(open(other, Some(KEY)).await.is_err());
    assert!(open(other, None).await.is_err());
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_named_header_holds_the_key() {
    let (seen, upstream) = recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_CREDENTIAL_HEADER", "X-Api-Key")
        .start();
    for line in [
        format!("x-api-key: {KEY}"),
        format!("X-Api-Key: Bearer {KEY}"),
    ] {
        let answer = ask(&gateway, "POST /v1/rime-tts", &[&line]).await;
        assert_eq!(answer, (200, "ok".to_owned()));
        let (_, headers) = seen.lock().unwrap().pop().unwrap();
        assert!(!headers.contains_key("x-api-key"), "{headers:?}");
        assert!(!format!("{headers:?}").contains(KEY));
    }
    let wrong = ["x-api-key: unknown-key-that-is-long-enough"];
    let answer = ask(&gateway, "POST /v1/rime-tts", &wrong).await;
    assert_eq!(answer, refused(401, "unknown_credential"));
    let both = [&*format!("authorization: Bearer {KEY}"), wrong[0]];
    let answer = ask(&gateway, "POST /v1/rime-tts", &both).await;
    assert_eq!(answer, refused(401, "conflicting_credentials"));
    assert!(seen.lock().unwrap().is_empty());
}

/// A licence of Smallest AI goes to its self-hosted server with the scheme `Token`.
#[tokio::test]
async fn a_licence_of_smallest_goes_up_as_a_token() {
    let (seen, upstream) = recorder().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "smallest")
        .var("VOXGATE_MODE", "validate")
        .var("SMALLEST_API_KEY", "licence-key-that-is-long-enough")
        .start();
    let token = format!("Authorization: Token {KEY}");
    let bearer = format!("Authorization: Bearer {KEY}");
    for (path, line, expected) in [
        ("/v1/speak", &token, "Token licence-key-that-is-long-enough"),
        (
            "/waves/v1/tts",
            &bearer,
            "Bearer licence-key-that-is-long-enough",
        ),
        (
            "/waves/v1/tts",
            &token,
            "Bearer licence-key-that-is-long-enough",
        ),
    ] {
        let answer = ask(&gateway, &format!("POST {path}"), &[line]).await;
        assert_eq!(answer, (200, "ok".to_owned()));
        let (_, headers) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(headers["authorization"], expected, "{path}");
    }
}

/// The health paths of self-hosted servers (Rime's engine and API container, Smallest AI, Deepgram,
/// NIM), each opened by one line.
#[tokio::test]
async fn a_health_path_is_opened_by_one_line() {
    let (_, upstream) = recorder().await;
    let paths = [
        "/readyz",
        "/health",
        "/api/v1/health",
        "/v1/status",
        "/v1/status/engine",
        "/v1/health/ready",
    ];
    let public = paths.map(|path| format!("GET {path}")).join(",");
    let gateway = Program::validating(upstream)
        .var("VOXGATE_PUBLIC", public)
        .start();
    for path in paths {
        let answer = ask(&gateway, &format!("GET {path}"), &[]).await;
        assert_eq!(answer, (200, "ok".to_owned()), "{path}");
        let answer = ask(&gateway, &format!("GET {path}/x"), &[]).await;
        assert_eq!(answer.0, 401, "{path}");
    }
}
