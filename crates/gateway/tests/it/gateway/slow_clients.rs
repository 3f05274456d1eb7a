//! Clients that hold a connection open and say nothing, or not enough.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, serve};

/// How long the gateway waits for a header, where the client has to be quicker on a machine that may
/// be busy.
const LIMIT: Duration = Duration::from_secs(3);

fn limited(upstream: SocketAddr) -> Program {
    let seconds = LIMIT.as_secs().to_string();
    Program::validating(upstream)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", &seconds)
        .var("VOXGATE_CLIENT_IDLE_TIMEOUT_SECONDS", seconds)
}

/// Each of them is closed by the gateway: reading comes to an end.
#[tokio::test]
async fn a_client_that_does_not_finish_its_header_is_closed() {
    let upstream = serve(axum::Router::new()).await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "1")
        .start();
    let cases: [&[u8]; 7] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        b"GET",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n",
    ];
    let closed = cases.map(async |sent| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        // A reset ends it as well as an orderly close.
        let _ = stream.read_to_end(&mut rest).await;
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.contains("200"), "{text}");
    });
    join_all(closed).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let gateway = limited(serve(axum::Router::new()).await).start();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.starts_with(b"HTTP/1.1 404"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

/// The header's time limit is not one for the answer, whatever protocol is spoken.
#[tokio::test]
async fn a_slow_answer_outlives_the_headers_time_limit() {
    let slow = || async {
        tokio::time::sleep(2 * LIMIT).await;
        "late"
    };
    let upstream = serve(axum::Router::new().route("/", axum::routing::get(slow))).await;
    let gateway = limited(upstream).start();
    let asked = ["1.0", "1.1"].map(async |version| {
        let request = format!(
            "GET / HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        );
        let reply = super::harness::send_raw(gateway.address, request).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, "late"),
            "{version}"
        );
    });
    join_all(asked).await;
}

/// Answering pings is no reason to stay.
#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let gateway = limited(serve(axum::Router::new()).await).start();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    let request = hyper::Request::get(format!("http://{}/", gateway.address))
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = tokio::spawn(async move { (client.send_request(request).await, client) });
    // It ends by itself, though the client would go on.
    connection.await.unwrap();
    let (answer, _client) = answer.await.unwrap();
    assert_eq!(answer.unwrap().status(), 401);
}

/// Neither those who were refused nor those who never finished asking hold up the end.
#[tokio::test]
async fn who_was_not_let_in_does_not_hold_up_the_end() {
    let mut gateway = Program::validating(serve(axum::Router::new()).await)
        .var("VOXGATE_DRAIN_SECONDS", "86400")
        .start();
    let mut open = Vec::new();
    let cases: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\npart",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"",
    ];
    for sent in cases {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        open.push(stream);
    }
    // The refusal shows that its connection, and so the ones before it, have been taken.
    open[1].readable().await.unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
}

/// A probe finds a place, however many others hold one and ask nothing.
#[tokio::test]
async fn silent_connections_do_not_shut_the_probes_out() {
    let gateway = Program::validating(serve(axum::Router::new()).await).start();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(gateway.admin).await.unwrap());
    }
    let request = "GET /livez HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    let reply = super::harness::send_raw(gateway.admin, request).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"));
}

const LONG: usize = 2 * 1024 * 1024;

/// Reads an answer a little at a time, for longer than any idle time: all of it.
async fn read_slowly(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 32 * 1024];
    let mut read = 0;
    while let Ok(some @ 1..) = stream.read(&mut buffer).await {
        read += some;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    read
}

async fn long_answer(gateway: &super::harness::Started) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// An answer is handed over long before a slow reader has it.
#[tokio::test]
async fn a_slow_reader_gets_the_whole_answer() {
    let upstream =
        axum::Router::new().route("/", axum::routing::get(|| async { vec![b'a'; LONG] }));
    let gateway = limited(serve(upstream.clone()).await).start();
    let beyond_the_limit = async {
        assert!(read_slowly(long_answer(&gateway).await).await > LONG);
    };
    let mut ending = Program::validating(serve(upstream).await).start();
    let beyond_the_end = async {
        let stream = long_answer(&ending).await;
        stream.readable().await.unwrap();
        ending.terminate();
        assert!(read_slowly(stream).await > LONG);
    };
    tokio::join!(beyond_the_limit, beyond_the_end);
    assert_eq!(ending.exit_status().await.code(), Some(0));
}
