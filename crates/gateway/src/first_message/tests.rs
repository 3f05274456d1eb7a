//! Waiting for the first message, on a clock that stands still except for those who wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, service_fn};
use voxgate_websocket::{Message, VendorError};

use super::*;

/// The credential of each request that was decided.
type Decided = Arc<Mutex<Vec<Option<HeaderValue>>>>;

/// A client after its handshake, in front of a layer that refuses every request.
async fn open(waiting: &ConnectionLimiter, stop: &CancellationToken) -> (DuplexStream, Decided) {
    let client = ClientAddr([192, 0, 2, 1].into());
    let connections = ConnectionLimiter::new(1, 1);
    let permit = connections.try_acquire(Some(client.0)).expect("room");
    let first_messages = FirstMessages::new(
        Dialect::Rime,
        waiting.clone(),
        TaskTracker::new(),
        stop.clone(),
    );
    let decided = Decided::default();
    let keep = Arc::clone(&decided);
    let refuse = service_fn(move |request: Request<RequestBody>| {
        let credential = request.headers().get(AUTHORIZATION).cloned();
        keep.lock().expect("no panic").push(credential);
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        async { Ok::<_, Infallible>(response) }
    });
    let service = ServiceBuilder::new()
        .map_request(|request| RequestBody::wrap(request, None))
        .map_request(move |mut request: Request<RequestBody>| {
            request.extensions_mut().insert(client);
            request
        })
        .layer(FirstMessageLayer::new(
            Some(first_messages),
            Activity::new(permit),
        ))
        .service(refuse);
    let (mut client, near) = duplex(4096);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(near), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::spawn(connection);
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.write_all(handshake.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    (client, decided)
}

async fn expect_refusal(mut client: DuplexStream, sentence: &str) {
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.expect("the end");
    let error = VendorError {
        kind: "unauthenticated",
        message: sentence,
        request_id: None,
        close_code: 1008,
    };
    let mut expected = Vec::new();
    let format = voxgate_websocket::CredentialFormat::Rime;
    format.error(error, false).write(None, &mut expected);
    let close = voxgate_websocket::ControlFrame::close(1008, sentence);
    close.write(None, &mut expected);
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&told));
}

fn config() -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = Message::text(r#"{"config":{"authorization":"Api-Key k"}}"#);
    message.write(Some([1, 2, 3, 4]), &mut bytes);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_client_has_ten_seconds_however_slowly_it_sends() {
    for drips in [false, true] {
        let waiting = ConnectionLimiter::new(1, 1);
        let (mut client, decided) = open(&waiting, &CancellationToken::new()).await;
        let begun = Instant::now();
        for byte in config().iter().take(9) {
            if drips {
                client.write_all(&[*byte]).await.expect("sent");
            }
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_millis(900)).await;
        assert!(decided.lock().expect("no panic").is_empty());
        assert_eq!(waiting.open(), 1);
        sleep(Duration::from_millis(200)).await;
        // One decision, about a request without a credential.
        assert_eq!(*decided.lock().expect("no panic"), [None]);
        assert_eq!(waiting.open(), 0);
        assert!(begun.elapsed() < Duration::from_secs(11));
        let sentence = "No API key was received within ten seconds.";
        expect_refusal(client, sentence).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_credential_stands_in_the_vendors_header() {
    let waiting = ConnectionLimiter::new(1, 1);
    let (mut client, decided) = open(&waiting, &CancellationToken::new()).await;
    client.write_all(&config()).await.expect("sent");
    expect_refusal(client, "The API key is missing or invalid.").await;
    let expected = HeaderValue::from_static("Api-Key k");
    assert_eq!(*decided.lock().expect("no panic"), [Some(expected)]);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_gateway_stops() {
    let stop = CancellationToken::new();
    let waiting = ConnectionLimiter::new(1, 1);
    let (client, decided) = open(&waiting, &stop).await;
    let begun = Instant::now();
    stop.cancel();
    expect_refusal(client, "The gateway stops.").await;
    assert_eq!(*decided.lock().expect("no panic"), [None]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_next_client_takes_the_place_of_one_that_waits() {
    let stop = CancellationToken::new();
    let waiting = ConnectionLimiter::new(1, 1);
    let (first, decided) = open(&waiting, &stop).await;
    sleep(Duration::from_millis(100)).await;
    let (_second, _) = open(&waiting, &stop).await;
    let sentence = "No API key was received, and the connection is needed.";
    expect_refusal(first, sentence).await;
    assert_eq!(*decided.lock().expect("no panic"), [None]);
}
