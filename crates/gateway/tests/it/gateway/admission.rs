//! Who is let in, byte for byte.

use axum::Router;
use axum::routing::any;

use super::harness::{DEPLOYMENT_KEY, KEY, Program, Reply, Started, send_raw, serve};

const UPSTREAM_SAYS: &str = "spoken";

async fn upstream() -> std::net::SocketAddr {
    serve(Router::new().fallback(any(|| async { UPSTREAM_SAYS }))).await
}

/// A request with these header lines, as bytes: they need not be text.
async fn ask(gateway: &Started, header_lines: &[&[u8]]) -> Reply {
    let mut request = b"GET /v1/rime-tts HTTP/1.1\r\nHost: tts\r\nConnection: close\r\n".to_vec();
    for line in header_lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    send_raw(gateway.address, request).await
}

#[tokio::test]
async fn rimes_table_of_credentials() {
    let gateway = Program::validating(upstream().await).start();
    let with = |prefix: &str, key: &str, suffix: &str| {
        format!("Authorization:{prefix}{key}{suffix}").into_bytes()
    };
    let long = "k".repeat(8 * 1024);
    let mut non_ascii = with(" Bearer ", KEY, "");
    non_ascii.extend_from_slice(&[0xc3, 0xa9, 0xff]);
    let accepted = (200, UPSTREAM_SAYS, "ok");
    let missing = (401, "missing headers", "missing_credential");
    let malformed = (401, "invalid api key", "malformed_credential");
    let unknown = (401, "invalid api key", "unknown_credential");
    let conflicting = (401, "invalid api key", "conflicting_credentials");
    let good = with(" Bearer ", KEY, "");
    let table = [
        ("accepted", vec![good.clone()], accepted),
        (
            "double space after the scheme",
            vec![with(" Bearer  ", KEY, "")],
            accepted,
        ),
        (
            "white space around the value",
            vec![with("\t Bearer ", KEY, " \t")],
            accepted,
        ),
        ("missing", vec![], missing),
        (
            "in a header of another vendor",
            vec![format!("X-Api-Key: {KEY}").into_bytes()],
            missing,
        ),
        (
            "unknown",
            vec![with(" Bearer ", "unknown-key-that-is-long-enough", "")],
            unknown,
        ),
        (
            "other case",
            vec![with(" Bearer ", &KEY.to_uppercase(), "")],
            unknown,
        ),
        (
            "one byte short",
            vec![with(" Bearer ", &KEY[1..], "")],
            unknown,
        ),
        ("one byte more", vec![with(" Bearer ", KEY, "x")], unknown),
        ("8 KiB", vec![with(" Bearer ", &long, "")], unknown),
        ("non-ASCII bytes", vec![non_ascii], unknown),
        ("bare token", vec![with(" ", KEY, "")], malformed),
        (
            "lower-case scheme",
            vec![with(" bearer ", KEY, "")],
            malformed,
        ),
        ("another scheme", vec![with(" Basic ", KEY, "")], malformed),
        (
            "tab after the scheme",
            vec![with(" Bearer\t", KEY, "")],
            malformed,
        ),
        (
            "tab and space after the scheme",
            vec![with(" Bearer \t", KEY, "")],
            malformed,
        ),
        ("two words", vec![with(" Bearer ", KEY, " x")], malformed),
        ("scheme alone", vec![with(" Bearer", "", "")], malformed),
        ("empty", vec![with("", "", "")], malformed),
        ("two headers", vec![good.clone(), good], conflicting),
    ];
    for (name, lines, (status, body, reason)) in table {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let reply = ask(&gateway, &lines).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (status, body),
            "{name}"
        );
        let request_id = reply.header("x-request-id").expect(name);
        let record = gateway.wait_for_record(name, |record| record["request_id"] == request_id);
        assert_eq!(record["event"], "decision", "{name}");
        assert_eq!(record["reason"], reason, "{name}");
        if status == 401 {
            assert_eq!(reply.header("content-type"), Some("text/plain"), "{name}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{name}");
            assert_eq!(record["outcome"], "refused", "{name}");
            assert_eq!(record["status"], 401, "{name}");
        } else {
            assert_eq!(record["outcome"], "accepted", "{name}");
            assert_eq!(record["key_id"], "env-1", "{name}");
        }
    }
}

#[tokio::test]
async fn a_preconfigured_gateway_does_not_look_at_the_header() {
    let gateway = Program::gateway(upstream().await)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .start();
    let long = format!("Authorization: Bearer {}", "k".repeat(8 * 1024));
    let cases: [&[&[u8]]; 6] = [
        &[],
        &[b"Authorization:"],
        &[b"Authorization: garbage \xff\xfe\t"],
        &[b"Authorization: Bearer one", b"Authorization: Bearer two"],
        &[b"Authorization: bearer"],
        &[long.as_bytes()],
    ];
    for lines in cases {
        let reply = ask(&gateway, lines).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, UPSTREAM_SAYS));
        let request_id = reply.header("x-request-id").unwrap();
        let record =
            gateway.wait_for_record("decision", |record| record["request_id"] == request_id);
        assert_eq!(record["auth_method"], "deployment_key");
        assert_eq!(record["key_id"], "deployment");
    }
}

#[tokio::test]
async fn a_host_that_is_not_one_plain_authority_is_refused() {
    let gateway = Program::validating(upstream().await).start();
    let cases: [&[&str]; 9] = [
        &[],
        &["Host: a", "Host: a"],
        &["Host:"],
        &["Host: a/path"],
        &["Host: user@a"],
        &["Host: a, b"],
        &["Host: a b"],
        &["Host: a:port"],
        &["Host: a", "Host: b"],
    ];
    for hosts in cases {
        let lines: String = hosts.iter().map(|host| format!("{host}\r\n")).collect();
        let request = format!(
            "GET / HTTP/1.1\r\n{lines}Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        let reply = send_raw(gateway.address, request).await;
        assert_eq!(reply.status, 400, "{hosts:?}");
        assert_eq!(
            reply.body, "bad request: the Host header is invalid",
            "{hosts:?}"
        );
    }
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let gateway = Program::validating(upstream().await).start();
    for path in [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a//b",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a%00",
        "/./a",
        "/a%",
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: tts\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        let reply = send_raw(gateway.address, request).await;
        assert_eq!(reply.status, 400, "{path}");
    }
    for (method, target) in [("TRACE", "/"), ("CONNECT", "tts:80")] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: tts:80\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            send_raw(gateway.address, request).await.status,
            405,
            "{method}"
        );
    }
}

#[tokio::test]
async fn one_record_is_one_line_whatever_the_client_sends() {
    let gateway = Program::validating(upstream().await).start();
    let reply = ask(
        &gateway,
        &[
            b"User-Agent: \"}\t\xff\\{\"outcome\":\"accepted\"",
            b"Authorization: Bearer x",
        ],
    )
    .await;
    assert_eq!(reply.status, 401);
    let reply = ask(
        &gateway,
        &[format!("User-Agent: {}", "u".repeat(1000)).as_bytes()],
    )
    .await;
    let request_id = reply.header("x-request-id").unwrap();
    let record = gateway.wait_for_record("decision", |record| record["request_id"] == request_id);
    assert_eq!(record["user_agent"].as_str().unwrap().len(), 256);
    assert_eq!(record["truncated"], true);
    // Every line so far is one JSON object: `records` parses them all.
    let records = gateway.records();
    let shown = records[1]["user_agent"].as_str().unwrap();
    assert_eq!(shown, "\"}\t%FF\\{\"outcome\":\"accepted\"");
}

#[tokio::test]
async fn no_secret_is_printed_or_exported() {
    let wrong = "wrong-key-that-is-long-enough";
    let gateway = Program::validating(upstream().await)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .var("VOXGATE_MODE", "validate")
        .var("VOXGATE_LOG", "trace")
        .start();
    let bearer = |key: &str| format!("Authorization: Bearer {key}").into_bytes();
    let bare = format!("Authorization: {KEY}").into_bytes();
    let query = format!("GET /v1?api_key={KEY} HTTP/1.1\r\nHost: tts\r\nConnection: close\r\n\r\n");
    let mut replies = vec![send_raw(gateway.address, query).await];
    for lines in [
        vec![bearer(KEY)],
        vec![bearer(wrong)],
        vec![bare],
        vec![bearer(KEY), bearer(wrong)],
    ] {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        replies.push(ask(&gateway, &lines).await);
    }
    let request_id = replies[1].header("x-request-id").unwrap().to_owned();
    gateway.wait_for_completion(&request_id);
    let metrics = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    replies.push(send_raw(gateway.admin, metrics).await);
    let everything = format!("{}\n{replies:?}", gateway.printed());
    assert!(
        everything.contains("voxgate_decisions_total"),
        "{everything}"
    );
    assert!(everything.contains("unknown_credential"), "{everything}");
    for secret in [KEY, DEPLOYMENT_KEY, wrong] {
        assert!(!everything.contains(secret), "{secret} in {everything}");
    }
}
