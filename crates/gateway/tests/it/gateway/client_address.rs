//! Which client a request is from, with proxies and load balancers in front. A test's address decides
//! whether it is one: 127.0.0.1 is trusted, and 127.0.1.x is not.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use voxgate::Digest;

use super::forwarding::{mirror, saw};
use super::harness::{KEY, Program, Started};
use super::rejections::{client as stranger, connect_from};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TRUSTED: (&str, &str) = ("VOXGATE_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8");

/// What a client can write to be somebody else.
const SPOOFED: &str = "X-Forwarded-For: 203.0.113.7\r\nForwarded: for=203.0.113.7;proto=https;host=evil\r\n\
    X-Real-IP: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
    X-Forwarded-Port: 443\r\nX-Request-Id: theirs\r\nTrue-Client-IP: 203.0.113.7\r\n\
    X-Client-IP: 203.0.113.7\r\nX-Forwarded-Client-Cert: By=x\r\nX-Voxgate-Key-Id: root\r\n";

/// Sends bytes from an address, and reads until the server closes the connection.
async fn send_from(from: IpAddr, gateway: &Started, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect_from(from, gateway.address).await;
    // The server may have closed the connection already.
    let _ = stream.write_all(bytes.as_ref()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn request(key: &str, headers: &str) -> String {
    format!(
        "GET /v1/x HTTP/1.1\r\nHost: tts.example\r\nAuthorization: Bearer {key}\r\n{headers}\
         Connection: close\r\n\r\n"
    )
}

/// The decision about the request with this answer, and the headers that the upstream saw.
fn outcome(gateway: &Started, answer: &str) -> (Value, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header");
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let id = id.unwrap_or_else(|| panic!("no request id: {answer}"));
    let decision = gateway.wait_for_record("decision", |record| {
        record["event"] == "decision" && record["request_id"] == id
    });
    let headers = match head.starts_with("HTTP/1.1 200 ") {
        true => saw(body)["headers"].clone(),
        false => Value::Null,
    };
    (decision, headers)
}

#[tokio::test]
async fn no_header_from_outside_a_trusted_network_changes_address_scheme_or_identity() {
    let upstream = mirror().await;
    for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let gateway = Program::validating(upstream)
            .var(TRUSTED.0, TRUSTED.1)
            .var("VOXGATE_CLIENT_ADDRESS_HEADER", header)
            .start();
        let answer = send_from(stranger(1), &gateway, request(KEY, SPOOFED)).await;
        let (decision, mut headers) = outcome(&gateway, &answer);
        let own = stranger(1).to_string();
        assert_eq!(decision["client"], own.as_str(), "{decision}");
        assert!(decision["peer"].as_str().unwrap().starts_with(&own));
        assert_eq!(decision["key_id"], "env-1");
        assert_eq!(decision.get("client_request_id"), None);
        let headers = headers.as_object_mut().unwrap();
        assert_ne!(headers.remove("x-request-id").unwrap(), json!(["theirs"]));
        headers.remove("traceparent");
        headers.remove("host");
        let expected = json!({
            "x-forwarded-for": [own],
            "x-forwarded-host": ["tts.example"],
            "x-forwarded-proto": ["http"],
            "x-voxgate-key-id": ["env-1"],
        });
        assert_eq!(Value::Object(headers.clone()), expected, "{header}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_what_it_asked_for() {
    let gateway = Program::validating(mirror().await)
        .var(TRUSTED.0, TRUSTED.1)
        .start();
    // 192.0.2.1 is what the client itself wrote.
    let headers = "X-Forwarded-For: 192.0.2.1, 203.0.113.7, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: voices.example\r\nX-Forwarded-Port: 8443\r\nX-Request-Id: theirs-1\r\n\
        X-Forwarded-User: root\r\nX-Real-IP: 192.0.2.1\r\nX-Voxgate-Key-Id: root\r\n";
    let answer = send_from(PROXY, &gateway, request(KEY, headers)).await;
    let (decision, mut headers) = outcome(&gateway, &answer);
    assert_eq!(decision["client"], "203.0.113.7");
    assert!(decision["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(decision["client_request_id"], "theirs-1");
    let headers = headers.as_object_mut().unwrap();
    let id = headers.remove("x-request-id").unwrap();
    assert_eq!(id[0], decision["request_id"]);
    headers.remove("traceparent");
    headers.remove("host");
    let expected = json!({
        "x-forwarded-for": ["203.0.113.7, 10.1.1.1, 127.0.0.1"],
        "x-forwarded-host": ["voices.example"],
        "x-forwarded-port": ["8443"],
        "x-forwarded-proto": ["https"],
        "x-voxgate-key-id": ["env-1"],
    });
    assert_eq!(Value::Object(headers.clone()), expected);

    // The identifier of a proxy that passes what its client wrote is masked as other texts are.
    let headers = format!("X-Request-Id: {KEY}\r\n");
    let answer = send_from(PROXY, &gateway, request(KEY, &headers)).await;
    let (decision, _) = outcome(&gateway, &answer);
    assert!(decision["client_request_id"].is_string());
    assert!(!gateway.printed().contains(KEY));
}

#[tokio::test]
async fn records_have_no_more_of_a_client_than_they_may() {
    let gateway = Program::validating(mirror().await)
        .var(TRUSTED.0, TRUSTED.1)
        .var("VOXGATE_AUDIT_ADDRESSES", "prefix")
        .start();
    let headers = "X-Forwarded-For: 203.0.113.77\r\n";
    let answer = send_from(PROXY, &gateway, request(KEY, headers)).await;
    let (decision, headers) = outcome(&gateway, &answer);
    assert_eq!(decision["client"], "203.0.113.0");
    assert_eq!(
        headers["x-forwarded-for"],
        json!(["203.0.113.77, 127.0.0.1"])
    );
    let records = gateway.records();
    assert!(
        !records
            .iter()
            .any(|record| record.to_string().contains("203.0.113.77"))
    );
}

#[tokio::test]
async fn failures_are_counted_for_the_client_and_not_for_its_proxy() {
    let gateway = Program::validating(mirror().await)
        .var(TRUSTED.0, TRUSTED.1)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "1")
        .start();
    let fail = async |client: &str| {
        let headers = format!("X-Forwarded-For: {client}\r\n");
        let answer = send_from(PROXY, &gateway, request("wrong-key-of-a-guesser", &headers)).await;
        let (decision, _) = outcome(&gateway, &answer);
        assert_eq!(decision["client"], client);
        decision.get("limit").cloned()
    };
    assert_eq!(fail("203.0.113.7").await, None);
    assert_eq!(fail("203.0.113.7").await, Some(json!("peer_failures")));
    assert_eq!(fail("203.0.113.8").await, None);
    // An address in a header of a stranger's is no way out.
    for number in 0..2 {
        let headers = format!("X-Forwarded-For: 203.0.113.10{number}\r\n");
        let wrong = request("wrong-key-of-a-guesser", &headers);
        let answer = send_from(stranger(2), &gateway, wrong).await;
        let (decision, _) = outcome(&gateway, &answer);
        assert_eq!(decision.get("limit").is_some(), number > 0, "{decision}");
    }
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_only() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys.toml");
    let digest = Digest::of(KEY.as_bytes()).to_hex();
    let text = format!(
        "[[key]]\nid = \"office\"\nsha256 = \"{digest}\"\nallow_from = [\"203.0.113.0/24\", \"::1\"]\n"
    );
    std::fs::write(&keys, text).unwrap();
    let gateway = Program::gateway(mirror().await)
        .var("VOXGATE_KEYS_FILE", &keys)
        .var(TRUSTED.0, TRUSTED.1)
        .start();
    for (from, named, accepted) in [
        (PROXY, "203.0.113.7", true),
        (PROXY, "203.0.113.7, 198.51.100.1", false),
        (PROXY, "198.51.100.1", false),
        // The proxy itself is no client of the office.
        (PROXY, "unknown", false),
        (stranger(3), "203.0.113.7", false),
    ] {
        let headers = format!("X-Forwarded-For: {named}\r\n");
        let answer = send_from(from, &gateway, request(KEY, &headers)).await;
        let (decision, _) = outcome(&gateway, &answer);
        let reason = if accepted {
            "ok"
        } else {
            "address_not_allowed"
        };
        assert_eq!(decision["reason"], reason, "{from} {named}");
        assert_eq!(decision["key_id"], "office");
        let status = if accepted {
            "HTTP/1.1 200 "
        } else {
            "HTTP/1.1 403 "
        };
        assert!(answer.starts_with(status), "{answer}");
    }
}

/// A header of version 2 with this source address and TLVs behind it.
fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1, 0x9c, 0x40, 0x1f, 0x90]);
    header.extend([4, 0, 2, 1, 2]);
    header
}

#[tokio::test]
async fn a_load_balancer_names_the_client_before_the_first_byte() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_PROXY_PROTOCOL", "127.0.0.1")
        .var("VOXGATE_TRUSTED_PROXIES", "10.0.0.0/8")
        .var("VOXGATE_CONNECTIONS_PER_CLIENT", "1")
        .start();
    let version_1 = |source| format!("PROXY TCP4 {source} 127.0.0.1 40000 8080\r\n").into_bytes();
    let via = "X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n";
    for (header, headers, client) in [
        (version_1("203.0.113.7"), SPOOFED, "203.0.113.7"),
        (version_2([203, 0, 113, 8]), SPOOFED, "203.0.113.8"),
        (
            b"PROXY TCP6 2001:db8::7 ::1 40000 8080\r\n".to_vec(),
            "",
            "2001:db8::7",
        ),
        // The load balancer itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), SPOOFED, "127.0.0.1"),
        // A trusted proxy behind the load balancer.
        (version_1("10.0.0.9"), via, "198.51.100.1"),
    ] {
        let bytes = [header, request(KEY, headers).into_bytes()].concat();
        let answer = send_from(PROXY, &gateway, bytes).await;
        let (decision, headers) = outcome(&gateway, &answer);
        assert_eq!(decision["client"], client);
        assert!(decision["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        let first = headers["x-forwarded-for"][0].as_str().unwrap();
        assert_eq!(first.split(", ").next(), Some(client));
    }
    // Connections count for the clients, so that one client of many does not keep another out.
    let mut open = Vec::new();
    for client in ["203.0.113.1", "203.0.113.2"] {
        let mut stream = connect_from(PROXY, gateway.address).await;
        stream.write_all(&version_1(client)).await.unwrap();
        let keep = request(KEY, "").replace("Connection: close\r\n", "");
        stream.write_all(keep.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 ");
        open.push(stream);
    }
}

#[tokio::test]
async fn the_proxy_protocol_is_required_from_its_networks_and_refused_elsewhere() {
    let gateway = Program::validating(mirror().await)
        .var("VOXGATE_PROXY_PROTOCOL", "127.0.0.1")
        .start();
    let version_1 = "PROXY TCP4 203.0.113.7 127.0.0.1 40000 8080\r\n";
    let with_header = [version_1.as_bytes(), request(KEY, "").as_bytes()].concat();
    let with_version_2 = [version_2([203, 0, 113, 7]), request(KEY, "").into_bytes()].concat();
    let without = request(KEY, "").into_bytes();
    let twice = [version_1.as_bytes(), &with_header].concat();
    for (from, bytes, answered) in [
        (PROXY, &without, ""),
        (PROXY, &twice, "HTTP/1.1 400 "),
        (stranger(4), &with_header, "HTTP/1.1 400 "),
        (stranger(5), &with_version_2, "HTTP/1.1 400 "),
    ] {
        let answer = send_from(from, &gateway, bytes).await;
        assert!(
            answer.starts_with(answered) && answered.is_empty() == answer.is_empty(),
            "{answer}"
        );
    }
    let rejected = |record: &Value| record["reason"] == "proxy_protocol";
    for peer in ["127.0.1.4:", "127.0.1.5:"] {
        gateway.wait_for_record(peer, |record| {
            rejected(record) && record["peer"].as_str().unwrap().starts_with(peer)
        });
    }
    gateway.wait_for_record("rejection with the named client", |record| {
        rejected(record) && record["client"] == "203.0.113.7"
    });
    assert!(
        gateway
            .records()
            .iter()
            .all(|record| record["event"] != "decision")
    );
}
