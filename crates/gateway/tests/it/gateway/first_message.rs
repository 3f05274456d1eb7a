//! Credentials in the first message of a WebSocket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::harness::{DEPLOYMENT_KEY, KEY, Program, Started, serve_raw, wait_until};
use super::rejections::{client as address_of, connect_from};

const OTHER: &str = "another-key-that-is-long-enough";
const STREAM: &str = "/v1/text-to-speech/cove/multi-stream-input?model_id=m";

pub(super) type Socket = WebSocketStream<TcpStream>;

/// What an upstream saw: the headers of each handshake, and each message.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// An upstream like Rime's engine: it selects the first subprotocol that it recognizes, and says each
/// message again.
pub(super) async fn engine() -> (Seen, SocketAddr) {
    let seen = Seen::default();
    let keep = seen.clone();
    let address = serve_raw(move |stream| {
        let keep = keep.clone();
        async move {
            #[allow(
                clippy::result_large_err,
                reason = "the callback's type is tungstenite's"
            )]
            let record = |request: &Request, mut response: Response| {
                let headers = request.headers();
                keep.0.lock().unwrap().push(format!("{headers:?}"));
                if let Some(offer) = headers.get("sec-websocket-protocol") {
                    let first = offer.to_str().unwrap().split(',').next().unwrap();
                    let selected = first.parse().unwrap();
                    response
                        .headers_mut()
                        .insert("sec-websocket-protocol", selected);
                }
                Ok(response)
            };
            let Ok(mut socket) = accept_hdr_async(stream, record).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    let text = String::from_utf8_lossy(&message.clone().into_data()).into_owned();
                    keep.0.lock().unwrap().push(text);
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    (seen, address)
}

fn rime(upstream: SocketAddr) -> Program {
    let keys = format!("{KEY},{OTHER}");
    Program::gateway(upstream).var("VOXGATE_API_KEYS", keys)
}

pub(super) async fn open(
    gateway: &Started,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Socket {
    let url = format!("ws://{}{path}", gateway.address);
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    client_async(request, stream).await.expect("accepted").0
}

pub(super) async fn say(socket: &mut Socket, message: impl Into<Message>) -> Message {
    socket.send(message.into()).await.unwrap();
    next(socket).await
}

pub(super) async fn next(socket: &mut Socket) -> Message {
    let next = timeout(Duration::from_secs(60), socket.next()).await;
    next.expect("in time")
        .expect("not closed")
        .expect("a message")
}

fn config(key: &str) -> String {
    json!({"config": {"authorization": format!("Api-Key {key}"), "defaults": {"speaker": "astra"}}})
        .to_string()
}

/// The error in the engine's words, and the code of the close that follows.
async fn refused(socket: &mut Socket) -> (Value, u16) {
    let Message::Text(error) = next(socket).await else {
        panic!("no error");
    };
    let error: Value = serde_json::from_str(&error).unwrap();
    let Message::Close(Some(close)) = next(socket).await else {
        panic!("no close");
    };
    (error, close.code.into())
}

fn decisions(gateway: &Started) -> Vec<Value> {
    let mut records = gateway.records();
    records.retain(|record| record["event"] == "decision");
    records
}

#[tokio::test]
async fn a_key_in_the_first_message_is_judged_and_goes_no_further() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream).start();
    for (offer, sent) in [
        (None, Message::text(config(KEY))),
        (Some("rime.v1.json"), Message::text(config(KEY))),
        // `config { authorization defaults { speaker } }`
        (Some("rime.v1.binary"), {
            let key = format!("Api-Key {KEY}");
            let mut config = vec![0x0a, key.len() as u8];
            config.extend(key.bytes());
            config.extend([0x1a, 7, 0x1a, 5]);
            config.extend(b"astra");
            Message::binary([&[0x12, config.len() as u8][..], &config].concat())
        }),
    ] {
        let headers: Vec<_> = offer
            .map(|offer| ("sec-websocket-protocol", offer))
            .into_iter()
            .collect();
        let mut socket = open(&gateway, "/ws", &headers).await;
        assert!(seen.all().is_empty(), "the upstream is asked too early");
        let binary = sent.is_binary();
        let got = say(&mut socket, sent).await;
        let expected = match binary {
            false => {
                let left = r#"{"config":{"authorization":"","defaults":{"speaker":"astra"}}}"#;
                Message::text(left)
            }
            true => {
                let left = [&[0x12, 11, 0x0a, 0, 0x1a, 7, 0x1a, 5][..], b"astra"].concat();
                Message::binary(left)
            }
        };
        assert_eq!(got, expected);
        let start = r#"{"contextId":"a","start":{"text":"Hello"}}"#;
        assert_eq!(say(&mut socket, start).await, Message::text(start));
        // Without the answer to its close frame, a client that goes has aborted.
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
        let seen = std::mem::take(&mut *seen.0.lock().unwrap());
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(!seen.concat().contains(KEY), "{seen:?}");
        assert!(!seen[0].contains("authorization"), "{seen:?}");
        assert!(!seen[0].contains("extensions"), "{seen:?}");
    }
    wait_until("each connection has its records", || {
        let records = gateway.records();
        let complete = records
            .iter()
            .filter(|record| record["event"] == "complete");
        (complete.count() == 3).then_some(())
    })
    .await;
    assert!(!gateway.printed().contains(KEY));
    let decisions = decisions(&gateway);
    assert_eq!(decisions.len(), 3);
    for decision in decisions {
        assert_eq!(decision["outcome"], "accepted", "{decision}");
        let request_id = decision["request_id"].as_str().unwrap();
        assert_eq!(gateway.wait_for_completion(request_id)["ended"], "ok");
    }
}

#[tokio::test]
async fn the_deployment_key_goes_up_in_the_header_alone() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream)
        .var("VOXGATE_MODE", "validate")
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .start();
    let mut socket = open(&gateway, "/ws", &[]).await;
    let got = say(&mut socket, config(KEY)).await;
    let left = r#"{"config":{"defaults":{"speaker":"astra"}}}"#;
    assert_eq!(got, Message::text(left));
    assert!(seen.all()[0].contains("authorization"), "{:?}", seen.all());
    let seen = seen.all().concat();
    assert!(!seen.contains(KEY), "{seen}");

    // Without a mode to validate, the caller's key is not read, and does not go up either.
    let (seen, upstream) = engine().await;
    let gateway = Program::gateway(upstream)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .start();
    let mut socket = open(&gateway, "/ws", &[]).await;
    assert_eq!(say(&mut socket, config(KEY)).await, Message::text(left));
    assert!(!seen.all().concat().contains(KEY));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_engines_words_and_recorded_once() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream)
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .start();
    let start = r#"{"contextId":"a","start":{"text":"Hello"}}"#;
    for (sent, reason) in [
        (
            config("unknown-key-that-is-long-enough"),
            "unknown_credential",
        ),
        (config(""), "malformed_credential"),
        (
            r#"{"config":{"authorization":"k"}}"#.to_owned(),
            "malformed_credential",
        ),
        (
            r#"{"config":{"authorization":"Api-Key \u00e9\n"}}"#.to_owned(),
            "malformed_credential",
        ),
        (
            r#"{"config":{"authorization":{}}}"#.to_owned(),
            "malformed_credential",
        ),
        // Two credentials; only one is valid.
        (
            format!(
                r#"{{"config":{{"authorization":"Api-Key {KEY}"}},"config":{{"authorization":"Api-Key {OTHER}"}}}}"#
            ),
            "conflicting_credentials",
        ),
        // The key would be in the second message.
        (start.to_owned(), "missing_credential"),
        (
            r#"{"config":{"defaults":{}}}"#.to_owned(),
            "missing_credential",
        ),
        ("plain text".to_owned(), "missing_credential"),
        (
            format!(r#"{{"config":{{"authorization":"Api-Key {KEY}",}}}}"#),
            "missing_credential",
        ),
    ] {
        let mut socket = open(&gateway, "/ws", &[]).await;
        socket.feed(Message::text(sent.clone())).await.unwrap();
        // Too late.
        socket.feed(Message::text(config(KEY))).await.unwrap();
        socket.flush().await.unwrap();
        let (error, code) = refused(&mut socket).await;
        assert_eq!(error["error"]["kind"], "unauthenticated", "{sent}");
        assert_eq!(code, 1008);
        let id = error["error"]["requestId"].as_str().unwrap();
        let record = gateway.wait_for_record("the decision", |record| record["request_id"] == id);
        assert_eq!(record["reason"], reason, "{sent}");
    }
    assert_eq!(decisions(&gateway).len(), 10);
    assert!(seen.all().is_empty(), "{:?}", seen.all());
}

#[tokio::test]
async fn a_key_after_the_first_message_ends_the_tunnel() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream).start();
    let bearer = format!("Bearer {KEY}");
    let start = r#"{"contextId":"a","start":{"text":"Hello"}}"#;
    // After a header, after a first message, after a `start`, and in the same segment as the first.
    for (headers, before, together) in [
        (vec![("authorization", bearer.as_str())], vec![], false),
        (vec![], vec![config(KEY)], false),
        (vec![], vec![config(KEY), start.to_owned()], false),
        (vec![], vec![config(KEY)], true),
    ] {
        let mut socket = open(&gateway, "/ws", &headers).await;
        for message in before {
            match together {
                true => socket.feed(Message::text(message)).await.unwrap(),
                false => _ = say(&mut socket, message).await,
            }
        }
        socket.feed(Message::text(config(KEY))).await.unwrap();
        socket.flush().await.unwrap();
        let mut got = next(&mut socket).await;
        if got.to_text().unwrap().contains("defaults") {
            got = next(&mut socket).await;
        }
        let error: Value = serde_json::from_str(got.to_text().unwrap()).unwrap();
        assert_eq!(error["error"]["kind"], "unauthenticated", "{error}");
        assert!(next(&mut socket).await.is_close());
        let id = error["error"]["requestId"].as_str().unwrap();
        assert_eq!(gateway.wait_for_completion(id)["ended"], "refused");
    }
    assert!(!seen.all().concat().contains(KEY));
}

#[tokio::test]
async fn elevenlabs_contexts_use_the_key_that_the_connection_began_with() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream).var("VOXGATE_DIALECT", "elevenlabs").start();
    let message = |name: &str, key: &str| json!({"text": " ", name: key}).to_string();
    let plain = Message::text(r#"{"text":" "}"#);
    for name in ["xi-api-key", "xi_api_key", "authorization"] {
        let key = match name {
            "authorization" => format!("Bearer {KEY}"),
            _ => KEY.to_owned(),
        };
        let mut socket = open(&gateway, STREAM, &[]).await;
        let first = message(name, &key);
        assert_eq!(say(&mut socket, first).await, plain, "{name}");
        // The same key for another context, and a message without one.
        let again = message("xi_api_key", KEY);
        assert_eq!(say(&mut socket, again).await, plain);
        assert_eq!(say(&mut socket, plain.clone()).await, plain);
        // A key that is also valid, and one that is not.
        let other = [OTHER, "unknown-key-that-is-long-enough"][name.len() % 2];
        socket
            .send(message("xi_api_key", other).into())
            .await
            .unwrap();
        let (error, code) = refused(&mut socket).await;
        assert_eq!(error["error"], "invalid_api_key", "{error}");
        assert_eq!((error["code"].as_u64(), code), (Some(1008), 1008));
    }
    let mut socket = open(&gateway, STREAM, &[("xi-api-key", KEY)]).await;
    assert_eq!(say(&mut socket, message("xi_api_key", KEY)).await, plain);
    socket
        .send(message("xi_api_key", OTHER).into())
        .await
        .unwrap();
    refused(&mut socket).await;
    let seen = seen.all().concat();
    assert!(!seen.contains(KEY) && !seen.contains(OTHER), "{seen}");
    let mut socket = open(&gateway, STREAM, &[]).await;
    socket.send(plain).await.unwrap();
    assert_eq!(refused(&mut socket).await.0["error"], "invalid_api_key");
}

/// The bytes of a client that is slow, cuts its frames and speaks before its credential.
#[tokio::test]
async fn the_first_message_is_read_however_it_is_cut() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream).start();
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
    assert!(!head.contains("extensions"), "{head}");
    let text = config(KEY);
    let (first, second) = text.split_at(20);
    let sent = [
        frame(0x89, b"1"),
        frame(0x01, first.as_bytes()),
        frame(0x89, b"2"),
        frame(0x80, second.as_bytes()),
    ]
    .concat();
    stream.set_nodelay(true).unwrap();
    for byte in sent {
        stream.write_all(&[byte]).await.unwrap();
    }
    for pong in [b"1", b"2"] {
        let mut got = [0; 3];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [0x8a, 1, pong[0]]);
    }
    let mut got = [0; 2];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got[0], 0x81);
    assert!(!seen.all().concat().contains(KEY));
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    let masked = payload.iter().zip([1, 2, 3, 4].into_iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

#[tokio::test]
async fn what_is_no_message_is_refused_with_its_code() {
    let (seen, upstream) = engine().await;
    let gateway = rime(upstream).start();
    let mut too_long = vec![0x81, 0xff];
    too_long.extend((64 * 1024 + 1_u64).to_be_bytes());
    too_long.extend([0; 4]);
    for (sent, code) in [
        // Without a mask, compressed, with a reserved opcode, and too long.
        (vec![0x81, 1, b'a'], 1002),
        (frame(0xc1, b"a"), 1002),
        (frame(0x83, b"a"), 1002),
        (too_long, 1009),
        (frame(0x89, b"").repeat(17), 1002),
    ] {
        let mut socket = open(&gateway, "/ws", &[]).await;
        socket.get_mut().write_all(&sent).await.unwrap();
        let mut got = next(&mut socket).await;
        while got.is_pong() {
            got = next(&mut socket).await;
        }
        assert!(got.to_text().unwrap().contains("unauthenticated"), "{got}");
        let Message::Close(Some(close)) = next(&mut socket).await else {
            panic!("no close");
        };
        assert_eq!(u16::from(close.code), code);
    }
    // A client that closes, and one that goes.
    let mut socket = open(&gateway, "/ws", &[]).await;
    socket.close(None).await.unwrap();
    drop(open(&gateway, "/ws", &[]).await);
    wait_until("each has its decision", || {
        (decisions(&gateway).len() == 7).then_some(())
    })
    .await;
    for decision in decisions(&gateway) {
        assert_eq!(decision["reason"], "missing_credential", "{decision}");
    }
    assert!(seen.all().is_empty());
}

/// Clients without a credential wait, and hold no place.
#[tokio::test]
async fn those_that_wait_give_way() {
    let (_, upstream) = engine().await;
    let gateway = rime(upstream)
        .var("VOXGATE_FIRST_MESSAGE_CONNECTIONS", "4")
        .start();
    let url = format!("ws://{}/ws", gateway.address);
    let mut waiting = Vec::new();
    for number in 0..40 {
        let stream = connect_from(address_of(number % 20), gateway.address).await;
        let request = url.as_str().into_client_request().unwrap();
        waiting.push(client_async(request, stream).await.expect("accepted").0);
    }
    // One that sends its key is served.
    let mut socket = open(&gateway, "/ws", &[]).await;
    assert!(say(&mut socket, config(KEY)).await.is_text());
    let mut evicted = 0;
    for socket in &mut waiting[..36] {
        let (error, _) = refused(socket).await;
        assert_eq!(error["error"]["kind"], "unauthenticated");
        evicted += 1;
    }
    assert_eq!(evicted, 36);
    // It keeps its place.
    assert!(say(&mut socket, "hello").await.is_text());
}

/// Connections that wait count for their client, and give way to its requests.
#[tokio::test]
async fn those_that_wait_count_for_their_client() {
    let (_, upstream) = engine().await;
    let gateway = rime(upstream)
        .var("VOXGATE_CONNECTIONS_PER_CLIENT", "3")
        .start();
    let url = format!("ws://{}/ws", gateway.address);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let stream = connect_from(address_of(1), gateway.address).await;
        let request = url.as_str().into_client_request().unwrap();
        waiting.push(client_async(request, stream).await.expect("accepted").0);
    }
    sleep(Duration::from_millis(300)).await;
    let stream = connect_from(address_of(1), gateway.address).await;
    let request = url.as_str().into_client_request().unwrap();
    let mut socket = client_async(request, stream).await.expect("accepted").0;
    assert!(say(&mut socket, config(KEY)).await.is_text());
    refused(&mut waiting[0]).await;
}

#[tokio::test]
async fn without_places_a_websocket_is_refused_before_its_upgrade() {
    let (_, upstream) = engine().await;
    let gateway = rime(upstream)
        .var("VOXGATE_FIRST_MESSAGE_CONNECTIONS", "0")
        .start();
    let url = format!("ws://{}/ws", gateway.address);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = url.into_client_request().unwrap();
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) =
        client_async(request, stream).await
    else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 401);
    assert_eq!(response.body().as_deref(), Some(&b"missing headers"[..]));
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_is_told_to_the_client() {
    // It selects no subprotocol, although the client was told of one.
    let upstream = super::tunnels::echo().await;
    let gateway = rime(upstream).start();
    let offer = [("sec-websocket-protocol", "rime.v1.json")];
    let mut socket = open(&gateway, "/ws", &offer).await;
    socket.send(config(KEY).into()).await.unwrap();
    let (error, code) = refused(&mut socket).await;
    assert_eq!(error["error"]["kind"], "unavailable", "{error}");
    assert_eq!(code, 1011);
    // It is not there.
    let gateway = rime("127.0.0.1:1".parse().unwrap()).start();
    let mut socket = open(&gateway, "/ws", &[]).await;
    socket.send(config(KEY).into()).await.unwrap();
    assert_eq!(refused(&mut socket).await.0["error"]["kind"], "unavailable");
}

/// A keys file in which the key is in force, or not.
fn keys_file(folder: &std::path::Path, disabled: bool) -> std::path::PathBuf {
    let file = folder.join("keys.toml");
    let table = format!("[[key]]\nid = \"a\"\nsecret = \"{KEY}\"\ndisabled = {disabled}\n");
    // Replaced at once, as editors and Kubernetes do.
    std::fs::write(folder.join("new"), table).unwrap();
    std::fs::rename(folder.join("new"), &file).unwrap();
    file
}

#[tokio::test]
async fn a_key_that_is_revoked_counts_no_more_for_those_that_wait() {
    let (seen, upstream) = engine().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_KEYS_FILE", keys_file(folder.path(), false))
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .start();
    let mut accepted = open(&gateway, "/ws", &[]).await;
    assert!(say(&mut accepted, config(KEY)).await.is_text());
    let mut waiting = open(&gateway, "/ws", &[]).await;
    keys_file(folder.path(), true);
    // The open tunnel shows when the file was read.
    let Message::Close(Some(close)) = next(&mut accepted).await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1008);
    seen.0.lock().unwrap().clear();
    // If reading took more than ten seconds, this one is no longer waiting.
    if waiting.send(config(KEY).into()).await.is_err() {
        return;
    }
    let (error, _) = refused(&mut waiting).await;
    assert_eq!(error["error"]["kind"], "unauthenticated");
    let id = error["error"]["requestId"].as_str().unwrap();
    let record = gateway.wait_for_record("the decision", |record| record["request_id"] == id);
    let reason = record["reason"].as_str().unwrap();
    assert!(
        ["disabled_credential", "missing_credential"].contains(&reason),
        "{record}"
    );
    assert!(seen.all().is_empty());
}
