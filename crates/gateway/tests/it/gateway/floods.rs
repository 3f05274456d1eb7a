//! Floods of HTTP/2 frames, and clients that look a little like them.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, Started, client_h2, serve, wait_until};
use super::lifecycle::admin;
use super::rejections::{block, client, connect_from, frame, http2};

const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// More frames than any of these connections may send.
const MANY: u32 = 200_000;

fn request_header(stream: u32, end: bool) -> Vec<u8> {
    let authorization = format!("Bearer {KEY}");
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("authorization", &authorization),
    ];
    frame(1, if end { 5 } else { 4 }, stream, &block(&fields))
}

/// Sends these frames until the gateway closes the connection. Returns how many were sent.
async fn flood(address: SocketAddr, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(1..) = read.read(&mut buffer).await {}
    });
    write.write_all(&http2(&[])).await.unwrap();
    let mut sent = 0;
    while sent < MANY {
        let batch: Vec<u8> = (sent..sent + 50).flat_map(&frames).collect();
        if write.write_all(&batch).await.is_err() {
            break;
        }
        sent += 50;
    }
    reading.await.unwrap();
    sent
}

async fn ask(address: SocketAddr) -> (u16, Bytes) {
    let request = hyper::Request::get(format!("http://{address}/"))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = client_h2().request(request).await.unwrap();
    let status = reply.status().as_u16();
    (
        status,
        reply.into_body().collect().await.unwrap().to_bytes(),
    )
}

async fn floods(gateway: &Started) -> u64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let name = "voxgate_rejections_total{reason=\"flood\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.unwrap().parse().unwrap()
}

/// Each is closed, honest clients are served meanwhile, and nothing is left of it.
#[tokio::test]
async fn floods_of_frames_without_progress_are_closed() {
    let upstream = serve(Router::new().route("/", get(|| async { "audio" }))).await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LOG", "info")
        .start();
    let address = gateway.address;
    assert_eq!(ask(address).await.0, 200);
    let before = (gateway.memory_kib("VmRSS"), gateway.open_files());

    type Frames = Box<dyn Fn(u32) -> Vec<u8>>;
    let same = |bytes: Vec<u8>| -> Frames { Box::new(move |_| bytes.clone()) };
    let kinds: Vec<Frames> = vec![
        same(frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        same(frame(4, 0, 0, b"")),
        same(frame(PING, 0, 0, b"12345678")),
        same(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        same(frame(77, 0, 0, b"unknown")),
        // Requests that are cancelled at once.
        Box::new(|number| {
            let stream = 2 * number + 1;
            let cancel = frame(3, 0, stream, &[0, 0, 0, 8]);
            [request_header(stream, true), cancel].concat()
        }),
        // A request whose body has many frames and no bytes.
        Box::new(|number| match number {
            0 => request_header(1, false),
            _ => frame(0, 0, 1, b""),
        }),
    ];
    let honest = async {
        for _ in 0..40 {
            let answer = ask(address).await;
            assert_eq!((answer.0, &answer.1[..]), (200, &b"audio"[..]));
        }
    };
    let flooded = join_all(kinds.iter().map(|kind| flood(address, kind)));
    let (sent, ()) = tokio::join!(flooded, honest);
    for (kind, sent) in sent.iter().enumerate() {
        assert!(*sent < MANY, "{kind} was not closed");
    }
    assert!(floods(&gateway).await >= kinds.len() as u64);
    let record = gateway.wait_for_record("flood", |record| record["reason"] == "flood");
    assert_eq!(record["event"], "rejected");
    wait_until("files back to the start", || {
        // A connection to the upstream may stay for the next request.
        (gateway.open_files() <= before.1 + 2).then_some(())
    })
    .await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before.0);
    assert!(grown < 24 * 1024, "{grown} KiB after the floods");
}

const LONG: usize = 32 * 1024 * 1024;

/// A long answer that takes no memory.
async fn long() -> Body {
    const PART: &[u8] = &[7; 64 * 1024];
    let parts = std::iter::repeat_n(PART, LONG / PART.len());
    Body::from_stream(stream::iter(parts.map(Ok::<_, std::io::Error>)))
}

/// Some clients open two windows for each part that they read. That is no flood, however long it takes.
#[tokio::test]
async fn a_client_that_opens_windows_as_it_reads_is_served() {
    let upstream = serve(Router::new().route("/", get(long))).await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_LOG", "info")
        .start();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = http2(&[request_header(1, true)]);
    stream.write_all(&request).await.unwrap();
    let (mut taken, mut parts) = (0, 0);
    let mut header = [0; 9];
    let mut payload = Vec::new();
    while taken < LONG {
        stream.read_exact(&mut header).await.expect("it goes on");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        payload.resize(length as usize, 0);
        stream.read_exact(&mut payload).await.expect("it goes on");
        if header[3] == 0 && length > 0 {
            taken += length as usize;
            parts += 1;
            let increment = length.to_be_bytes();
            let windows = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &increment));
            // The stream may have ended meanwhile, but not the connection.
            stream.write_all(&windows.concat()).await.unwrap();
        }
    }
    assert!(parts > 1_000, "{parts} parts");
    assert_eq!(floods(&gateway).await, 0);
}

/// Many slow clients of each kind, from many addresses, and an honest one: all of its requests are
/// served at once. When the slow ones are gone, nothing is left of them.
#[tokio::test]
async fn slow_clients_do_not_touch_an_honest_one() {
    let upstream = Router::new()
        .route("/", get(|| async { "audio" }))
        .route("/long", get(long));
    let gateway = Program::validating(serve(upstream).await)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "2")
        .var("VOXGATE_LOG", "info")
        .start();
    let address = gateway.address;
    assert_eq!(ask(address).await.0, 200);
    let before = (gateway.memory_kib("VmRSS"), gateway.open_files());

    let head = format!("GET /long HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n");
    // Streams for which no window is opened: SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let mut no_window = vec![frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])];
    no_window.extend((0..20).map(|number| request_header(2 * number + 1, true)));
    let slow: [Vec<u8>; 6] = [
        Vec::new(),
        b"PRI * HT".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nX".to_vec(),
        format!("{head}Content-Length: 1000\r\n\r\na").into(),
        // An answer that is not read.
        format!("{head}\r\n").into(),
        http2(&no_window),
    ];
    let mut open = Vec::new();
    for number in 0..120 {
        let mut stream = connect_from(client(number), address).await;
        stream.write_all(&slow[number % slow.len()]).await.unwrap();
        open.push(stream);
    }
    for _ in 0..50 {
        let answer = ask(address).await;
        assert_eq!((answer.0, &answer.1[..]), (200, &b"audio"[..]));
    }
    // Those that never finished a header are closed by the gateway.
    for (number, stream) in open.iter_mut().enumerate() {
        if number % slow.len() < 3 {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    drop(open);
    wait_until("files back to the start", || {
        (gateway.open_files() <= before.1 + 4).then_some(())
    })
    .await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before.0);
    assert!(grown < 48 * 1024, "{grown} KiB after the slow clients");
}
