//! WebSocket tunnels, one and many.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::harness::{KEY, Program, Started, send_raw, serve_raw};

pub(super) type Socket = WebSocketStream<TcpStream>;

/// A server that says every message again, and answers a close with a close.
pub(super) async fn echo() -> SocketAddr {
    serve_raw(|stream| async move {
        let Ok(mut socket) = accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

pub(super) async fn connect(gateway: &Started, key: &str) -> Result<(Socket, String), Error> {
    let mut request = format!("ws://{}/ws3?speaker=cove", gateway.address).into_client_request()?;
    let value = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (socket, response) = client_async(request, stream).await?;
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    Ok((socket, request_id))
}

pub(super) async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard, Message::text(text));
}

#[tokio::test]
async fn a_tunnel_carries_frames_and_leaves_one_record_at_its_end() {
    let gateway = Program::validating(echo().await).start();
    let (mut socket, request_id) = connect(&gateway, KEY).await.unwrap();
    say(&mut socket, "hello").await;
    let still_open = |record: &serde_json::Value| record["event"] == "complete";
    assert!(!gateway.records().iter().any(still_open));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    let completion = gateway.wait_for_completion(&request_id);
    assert_eq!(completion["ended"], "ok");
    assert_eq!(completion["status"], 101);
    // A frame of 5 bytes and a close frame: 2 bytes of header each way, 4 of mask from a client.
    assert_eq!(completion["bytes_sent"], (2 + 5) + 2);
    assert_eq!(completion["bytes_received"], (2 + 4 + 5) + (2 + 4));
}

#[tokio::test]
async fn a_tunnel_outlives_the_time_limits_of_requests() {
    let gateway = Program::validating(echo().await)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "1")
        .var("VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS", "1")
        .var("VOXGATE_REQUEST_TIMEOUT_SECONDS", "1")
        .start();
    let (mut socket, _) = connect(&gateway, KEY).await.unwrap();
    for _ in 0..3 {
        say(&mut socket, "hello").await;
        sleep(Duration::from_millis(1200)).await;
    }
    say(&mut socket, "still there").await;
}

#[tokio::test]
async fn a_refusal_comes_before_the_upgrade() {
    let gateway = Program::validating(echo().await).start();
    let Err(Error::Http(response)) = connect(&gateway, "wrong").await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 401);
    assert_eq!(response.body().as_deref(), Some(&b"invalid api key"[..]));
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let gateway = Program::validating(echo().await).start();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    assert_ne!(reply.status, 101);
}

#[tokio::test]
async fn a_client_that_vanishes_closes_the_upstreams_side() {
    let (ended, mut has_ended) = tokio::sync::mpsc::unbounded_channel();
    let upstream = serve_raw(move |stream| {
        let ended = ended.clone();
        async move {
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
            let _ = ended.send(());
        }
    });
    let gateway = Program::validating(upstream.await).start();
    let (socket, request_id) = connect(&gateway, KEY).await.unwrap();
    drop(socket);
    has_ended.recv().await.expect("the upstream's side ends");
    gateway.wait_for_completion(&request_id);
}

const MANY: usize = 2000;

/// Each tunnel takes two descriptors here and two in the gateway.
fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    assert!(
        maximum.is_none_or(|maximum| maximum > 3 * MANY as u64),
        "the hard limit of open files is too low"
    );
}

#[tokio::test]
async fn two_thousand_tunnels_echo_and_then_drain_without_a_lost_frame() {
    raise_file_limit();
    // As long as it takes: none of them is to be cut.
    let mut gateway = Program::validating(echo().await)
        .var("VOXGATE_DRAIN_SECONDS", "86400")
        .start();
    let mut sockets = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        sockets.push(connect(&gateway, KEY).await.unwrap().0);
    }
    let all = sockets
        .iter_mut()
        .enumerate()
        .map(|(index, socket)| async move {
            say(socket, &format!("before {index}")).await;
        });
    futures_util::future::join_all(all).await;

    gateway.terminate();
    gateway.wait_for_log("draining");
    // Every tunnel still carries everything that is said, until it is closed.
    let all = sockets
        .iter_mut()
        .enumerate()
        .map(|(index, socket)| async move {
            for round in 0..5 {
                socket
                    .feed(Message::text(format!("{round} of {index}")))
                    .await
                    .unwrap();
            }
            socket.flush().await.unwrap();
            socket.close(None).await.unwrap();
            let mut heard = Vec::new();
            while let Some(message) = socket.next().await {
                match message.unwrap() {
                    Message::Text(text) => heard.push(text.to_string()),
                    other => assert!(other.is_close(), "{other:?}"),
                }
            }
            let expected: Vec<String> = (0..5).map(|round| format!("{round} of {index}")).collect();
            assert_eq!(heard, expected);
        });
    futures_util::future::join_all(all).await;
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    gateway.wait_for_log("stopped");
    let completions = gateway
        .records()
        .into_iter()
        .filter(|record| record["event"] == "complete");
    let ended: Vec<_> = completions.map(|record| record["ended"].clone()).collect();
    assert_eq!(ended.len(), MANY);
    let ill: Vec<_> = ended.iter().filter(|ended| *ended != "ok").collect();
    assert!(ill.is_empty(), "{} of {MANY}: {ill:?}", ill.len());
}
