//! What is turned away before it is a request is counted, and on record.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::harness::{KEY, Program, Started, send_raw, serve, wait_until};
use super::lifecycle::admin;

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An HTTP/2 connection with these frames after its settings.
pub(super) fn http2(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.as_bytes(), &frame(4, 0, 0, b""), &frames.concat()].concat()
}

/// Header fields without compression (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // An integer with a prefix of 7 bits (RFC 7541 §5.1).
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An address of this machine, one for each client.
pub(super) fn client(number: usize) -> IpAddr {
    Ipv4Addr::from(0x7f00_0100 + u32::try_from(number).unwrap()).into()
}

pub(super) async fn connect_from(client: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends this, and reads until the gateway closes the connection. Returns the address it came from.
async fn send_from(client: IpAddr, address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect_from(client, address).await;
    let own = stream.local_addr().unwrap();
    // The gateway may close it before everything is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    own.to_string()
}

async fn send(address: SocketAddr, bytes: &[u8]) -> String {
    send_from(Ipv4Addr::LOCALHOST.into(), address, bytes).await
}

/// The metric of rejections for one reason.
async fn count(gateway: &Started, reason: &str) -> u64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let name = format!("voxgate_rejections_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
        .parse()
        .unwrap()
}

fn rejected(records: &[Value]) -> Vec<&Value> {
    let is_rejected = |record: &&Value| record["event"] == "rejected";
    records.iter().filter(is_rejected).collect()
}

#[tokio::test]
async fn what_is_no_request_is_on_record_without_its_content() {
    let gateway = Program::validating(serve(Router::new()).await)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "2")
        .start();
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/hunter2"),
        (":authority", "a"),
    ];
    let large = "x".repeat(70_000);
    let header = |more: &[(&str, &str)]| block(&[&pseudo[..], more].concat());
    // HEADERS with END_STREAM, in parts of 16 KiB.
    let parts = |block: &[u8]| {
        let chunks: Vec<&[u8]> = block.chunks(16_384).collect();
        let last = chunks.len() - 1;
        let frames = chunks.iter().enumerate().map(|(at, chunk)| {
            let (kind, flags) = if at == 0 { (1, 1) } else { (9, 0) };
            frame(kind, flags | if at == last { 4 } else { 0 }, 1, chunk)
        });
        frames.collect::<Vec<_>>()
    };
    let end = frame(7, 0, 0, &[0; 8]);
    let cases: &[(&str, Vec<u8>)] = &[
        ("malformed", b"hunter2 hunter2 hunter2\r\n\r\n".to_vec()),
        (
            "malformed",
            b"GET /hunter2 HTTP/1.1\r\nHo st: a\r\n\r\n".to_vec(),
        ),
        (
            "malformed",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hunter2".to_vec(),
        ),
        (
            "malformed",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: hunter2\r\n\r\n".to_vec(),
        ),
        (
            "header_too_large",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n").into(),
        ),
        (
            "header_too_large",
            format!("GET /{large} HTTP/1.1\r\nHost: a\r\n\r\n").into(),
        ),
        (
            "bad_preface",
            b"PRI * HTTP/2.0\r\n\r\nhunter2\r\n\r\n".to_vec(),
        ),
        ("header_timeout", b"GET /hunter2 HTTP/1.1\r\nHost".to_vec()),
        ("header_timeout", b"PRI * HTTP/2.0\r\n\r\nS".to_vec()),
        ("header_timeout", http2(&[])),
        ("protocol_error", http2(&[frame(0, 0, 1, b"hunter2")])),
        (
            "protocol_error",
            http2(&[frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff")]),
        ),
        (
            "malformed",
            http2(&[
                frame(1, 5, 1, &header(&[("connection", "hunter2")])),
                end.clone(),
            ]),
        ),
        (
            "header_too_large",
            http2(&[parts(&header(&[("x", &large)])), vec![end.clone()]].concat()),
        ),
    ];
    let mut before = Vec::new();
    for (reason, _) in cases {
        before.push((*reason, count(&gateway, reason).await));
    }
    let sent = cases
        .iter()
        .enumerate()
        .map(async |(number, (reason, bytes))| {
            // A client of its own: the records of one client in a second are few.
            let peer = send_from(client(number), gateway.address, bytes).await;
            (number, *reason, peer, bytes.len() as u64)
        });
    for (number, reason, peer, length) in join_all(sent).await {
        let is_it =
            |record: &Value| record["event"] == "rejected" && record["peer"] == peer.as_str();
        let record = gateway.wait_for_record(&format!("{number}: {reason}"), is_it);
        assert_eq!(record["reason"], reason, "{number}: {record}");
        let received = record["bytes_received"].as_u64().unwrap();
        assert!((1..=length).contains(&received), "{number}: {record}");
    }
    for (reason, before) in before {
        let expected = cases.iter().filter(|(own, _)| *own == reason).count() as u64;
        assert_eq!(count(&gateway, reason).await, before + expected, "{reason}");
    }
    let printed = gateway.printed();
    assert!(!printed.contains("hunter2"), "{printed}");
}

/// Streams beyond those that the gateway announces are refused by the implementation of HTTP/2.
#[tokio::test]
async fn too_many_streams_are_on_record() {
    let never = || async { std::future::pending::<()>().await };
    let upstream = serve(Router::new().fallback(axum::routing::any(never))).await;
    let gateway = Program::validating(upstream).start();
    let authorization = format!("Bearer {KEY}");
    let header = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("authorization", &authorization),
    ]);
    let streams: Vec<Vec<u8>> = (0..300)
        .map(|number| frame(1, 5, 2 * number + 1, &header))
        .collect();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(&http2(&streams)).await.unwrap();
    let is_it = |record: &Value| record["reason"] == "too_many_streams";
    let record = gateway.wait_for_record("refused stream", is_it);
    assert_eq!(record["event"], "rejected");
    // 256 are announced.
    assert_eq!(count(&gateway, "too_many_streams").await, 300 - 256);
    drop(stream);
}

/// Neither a request, nor a refusal, nor a connection on which nothing was sent is one.
#[tokio::test]
async fn what_was_a_request_or_nothing_is_not_rejected() {
    let mut gateway = Program::validating(serve(Router::new()).await)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "1")
        .var("VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS", "1")
        .start();
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n".to_owned(),
    ] {
        // Closed by the gateway when it has been idle.
        send_raw(gateway.address, format!("{head}\r\n")).await;
    }
    send(gateway.address, b"").await;
    gateway.terminate();
    gateway.exit_status().await;
    let records = gateway.records();
    assert_eq!(rejected(&records), [] as [&Value; 0]);
}

#[tokio::test]
async fn many_rejections_of_one_client_are_counted_and_few_are_recorded() {
    let mut gateway = Program::validating(serve(Router::new()).await).start();
    let sent = 60;
    join_all((0..sent).map(|_| send(gateway.address, b"\0\r\n\r\n"))).await;
    assert_eq!(count(&gateway, "malformed").await, sent);
    gateway.terminate();
    gateway.exit_status().await;
    let records = gateway.records();
    let rejected = rejected(&records);
    let omitted = |record: &&Value| record["omitted"].as_u64().unwrap_or(0);
    let stand_for: u64 = rejected.iter().map(|record| 1 + omitted(record)).sum();
    assert_eq!(stand_for, sent, "{rejected:?}");
    assert!(rejected.len() < sent as usize / 2, "{rejected:?}");
}

/// A listener for both families sees IPv4 clients in the form of IPv6.
#[tokio::test]
async fn an_ipv4_client_is_one_on_record_whatever_the_listener() {
    let gateway = Program::validating(serve(Router::new()).await)
        .var("VOXGATE_LISTEN", "[::]:0")
        .start();
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address.port()));
    let refused = send_raw(
        address,
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(refused.status, 401);
    let decision = gateway.wait_for_record("decision", |record| record["event"] == "decision");
    let peer = send(address, b"\0\r\n\r\n").await;
    let rejected = gateway.wait_for_record("rejection", |record| record["event"] == "rejected");
    assert_eq!(rejected["peer"], peer.as_str());
    let peer = decision["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    wait_until("log of the rejected connection", || {
        gateway
            .printed()
            .contains("the connection failed")
            .then_some(())
    })
    .await;
    let printed = gateway.printed();
    assert!(!printed.contains("::ffff:"), "{printed}");
}
