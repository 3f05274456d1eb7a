//! Several servers, what their answers tell of them, and clients with habits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{any, get};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::harness::{KEY, Program, Started, nowhere, send_raw, serve, serve_raw};
use super::lifecycle::admin;

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {KEY}\r\n{more}Connection: close\r\n\r\n"
    )
}

async fn ask(gateway: &Started, path: &str) -> super::harness::Reply {
    send_raw(gateway.address, request(path, "")).await
}

#[tokio::test]
async fn an_answer_does_not_tell_the_upstreams_address() {
    let redirect = |headers: HeaderMap| async move {
        let host = headers["host"].to_str().unwrap().to_owned();
        let url = format!("http://{host}/v1/jobs/7?x=y");
        let headers = [
            (header::LOCATION, url.clone()),
            (header::CONTENT_LOCATION, url),
        ];
        (StatusCode::CREATED, headers)
    };
    let upgrade = || async {
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "upgrade"),
        ];
        (StatusCode::UPGRADE_REQUIRED, headers)
    };
    let seen = |headers: HeaderMap| async move {
        let all = ["via", "forwarded"].map(|name| format!("{:?}", headers.get(name)));
        all.join("\n")
    };
    let router = Router::new()
        .route("/created", get(redirect))
        .route("/upgrade", get(upgrade))
        .route("/seen", get(seen));
    let upstream = serve(router).await;
    let gateway = Program::validating(upstream).start();
    let created = ask(&gateway, "/created").await;
    assert_eq!(created.header("location"), Some("/v1/jobs/7?x=y"));
    assert_eq!(created.header("content-location"), Some("/v1/jobs/7?x=y"));
    let required = ask(&gateway, "/upgrade").await;
    assert_eq!(
        (required.status, required.header("upgrade")),
        (426, Some("websocket"))
    );
    let seen = ask(&gateway, "/seen").await;
    assert_eq!(
        (seen.header("via"), seen.body.as_str()),
        (None, "None\nNone")
    );

    let gateway = Program::validating(upstream)
        .var("VOXGATE_VIA", "gate")
        .var("VOXGATE_FORWARDED", "on")
        .start();
    let spoofed = request("/seen", "Forwarded: for=evil\r\nVia: 1.0 before\r\n");
    let seen = send_raw(gateway.address, spoofed).await;
    assert_eq!(seen.header("via"), Some("1.1 gate"));
    let forwarded = r#"Some("for=127.0.0.1;host=\"gate\";proto=http")"#;
    assert_eq!(seen.body, format!("Some(\"1.0 before\")\n{forwarded}"));
}

#[tokio::test]
async fn several_servers_share_the_requests_and_are_in_the_metrics() {
    let counts = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        let answer = move || async move { count.fetch_add(1, Ordering::Relaxed).to_string() };
        addresses.push(serve(Router::new().fallback(any(answer))).await);
    }
    let gateway = Program::validating("unused")
        .var(
            "VOXGATE_UPSTREAM",
            format!("http://{} http://{}", addresses[0], addresses[1]),
        )
        .start();
    for _ in 0..40 {
        assert_eq!(ask(&gateway, "/").await.status, 200);
    }
    for count in &counts {
        assert!(count.load(Ordering::Relaxed) > 0, "{counts:?}");
    }
    let (_, metrics) = admin(&gateway, "/metrics").await;
    for address in addresses {
        for metric in [
            format!("voxgate_upstream_addresses{{server=\"{address}\"}} 1"),
            format!("voxgate_upstream_in_flight{{server=\"{address}\"}} 0"),
            format!("voxgate_upstream_addresses_out{{server=\"{address}\"}} 0"),
        ] {
            assert!(metrics.contains(&metric), "{metric}: {metrics}");
        }
    }
}

#[tokio::test]
async fn when_all_servers_are_out_the_answer_is_503_with_a_time() {
    let (_socket, address) = nowhere();
    let gateway = Program::validating(address).start();
    let mut last = ask(&gateway, "/").await;
    for _ in 0..200 {
        if last.status == 503 {
            break;
        }
        assert_eq!(last.status, 502);
        last = ask(&gateway, "/").await;
    }
    assert_eq!((last.status, last.header("retry-after")), (503, Some("1")));
    let id = last.header("x-request-id").unwrap();
    let completion = gateway.wait_for_completion(id);
    assert_eq!(completion["failure"], "upstream_unavailable");
}

/// As `nc -N` does.
#[tokio::test]
async fn a_client_that_closes_its_side_after_its_last_request_is_answered() {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "audio"
    };
    let gateway = Program::validating(serve(Router::new().fallback(any(slow))).await).start();
    let body = "Content-Length: 4\r\n";
    for request in [request("/", ""), request("/", body) + "text"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("audio"),
            "{answer}"
        );
    }
    // The end can be seen before the body was looked at.
    let many: JoinSet<String> = (0..200)
        .map(|_| {
            let (address, request) = (gateway.address, request("/", body) + "text");
            async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            }
        })
        .collect();
    for answer in many.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A body that is not complete when the client ends is broken off, and holds nothing.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let part = request("/", "Content-Length: 100\r\n") + "text";
    stream.write_all(part.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    gateway.wait_for_record("abort", |record| record["ended"] == "client_abort");
}

/// Clients that write everything before they read, such as Python's `http.client`.
#[tokio::test]
async fn a_large_upload_that_is_refused_gets_its_answer() {
    let gateway = Program::validating(serve(Router::new()).await).start();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let length = 24 * 1024 * 1024;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
}

/// A mesh sidecar in front sends the uploads of all clients on one HTTP/2 connection.
#[tokio::test]
async fn uploads_that_are_not_read_hold_no_other_upload_up() {
    let unread = serve_raw(|mut stream| async move {
        let mut head = [0; 512];
        let read = stream.read(&mut head).await.unwrap_or_default();
        if head[..read].starts_with(b"POST /read") {
            let mut left = 100_000_usize.saturating_sub(body_of(&head[..read]));
            let mut buffer = vec![0; 64 * 1024];
            while left > 0 {
                left = left.saturating_sub(stream.read(&mut buffer).await.unwrap());
            }
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
        std::future::pending().await
    })
    .await;
    let gateway = Program::validating(unread).start();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let executor = TokioExecutor::new();
    let (client, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut uploads = Vec::new();
    for _ in 0..40 {
        let (mut sender, mut client) = (mpsc::channel(1), client.clone());
        let more = futures_util::stream::poll_fn(move |cx| sender.1.poll_recv(cx));
        let body = StreamBody::new(more);
        let request = hyper::Request::post(format!("http://{}/unread", gateway.address))
            .header("authorization", format!("Bearer {KEY}"))
            .body(http_body_util::Either::Left(body))
            .unwrap();
        uploads.push(tokio::spawn(
            async move { client.send_request(request).await },
        ));
        // As much as the windows let through: the rest waits.
        tokio::spawn(async move {
            loop {
                let part: Result<Frame<Bytes>, std::convert::Infallible> =
                    Ok(Frame::data(Bytes::from_static(&[7; 16 * 1024])));
                if sender.0.send(part).await.is_err() {
                    break;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut client = client.clone();
    let request = hyper::Request::post(format!("http://{}/read", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(http_body_util::Either::Right(Full::from(vec![1; 100_000])))
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), client.send_request(request));
    let answer = answer.await.expect("the upload stands still").unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    for upload in uploads {
        upload.abort();
    }
}

/// How much of a body came with its head.
fn body_of(head: &[u8]) -> usize {
    let end = head.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(0, |end| head.len() - end - 4)
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends() {
    let hangs = serve_raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
        std::future::pending().await
    })
    .await;
    for setting in [
        "VOXGATE_REQUEST_TIMEOUT_SECONDS",
        "VOXGATE_UPSTREAM_IDLE_TIMEOUT_SECONDS",
    ] {
        let gateway = Program::validating(hangs).var(setting, "1").start();
        let answer = ask(&gateway, "/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "half"));
        let id = answer.header("x-request-id").unwrap();
        let completion = gateway.wait_for_completion(id);
        assert_eq!(completion["ended"], "upstream_abort", "{setting}");
        let (_, metrics) = admin(&gateway, "/metrics").await;
        assert!(
            metrics.contains("voxgate_requests_in_flight 0"),
            "{metrics}"
        );
    }
}
