//! Bodies that are long, unwanted, or left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::harness::{KEY, Program, client, serve};

const MIB: usize = 1024 * 1024;
const LONG: usize = 64 * MIB;
const CHUNK: usize = 16 * 1024;

fn chunks() -> Body {
    let chunk = Bytes::from(vec![b'a'; CHUNK]);
    Body::from_stream(stream::iter(
        (0..LONG / CHUNK).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
    ))
}

#[tokio::test]
async fn long_bodies_stream_through_in_little_memory() {
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let upload = move |request: Request| async move {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().map_or(0, |data| data.len());
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        "done"
    };
    let router = Router::new()
        .route("/up", post(upload))
        .route("/down", get(|| async { chunks() }));
    let gateway = Program::validating(serve(router).await).start();
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request = |method: &str, path: &str, body: Body| {
        hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", gateway.address))
            .header("authorization", format!("Bearer {KEY}"))
            .body(body)
            .unwrap()
    };
    // Connections, threads and pages that the first request needs anyway.
    let warm = client
        .request(request("POST", "/up", Body::from("x")))
        .await
        .unwrap();
    warm.into_body().collect().await.unwrap();
    received.store(0, Ordering::Relaxed);
    let before = gateway.memory_kib("VmRSS");
    gateway.forget_memory_peak();

    let reply = client
        .request(request("POST", "/up", chunks()))
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(
        reply.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    assert_eq!(received.load(Ordering::Relaxed), LONG as u64);

    let reply = client
        .request(request("GET", "/down", Body::empty()))
        .await
        .unwrap();
    let request_id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut body = reply.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    assert_eq!(read, LONG);
    assert_eq!(gateway.wait_for_completion(&request_id)["bytes_sent"], LONG);

    let grown = gateway.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 8 * 1024, "memory grew by {grown} KiB at its peak");
}

#[tokio::test]
async fn a_reader_that_stops_does_not_fill_the_memory() {
    let router = Router::new().route("/down", get(|| async { chunks() }));
    let gateway = Program::validating(serve(router).await).start();
    let before = gateway.memory_kib("VmRSS");
    gateway.forget_memory_peak();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request =
            format!("GET /down HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.readable().await.unwrap();
        slow.push(stream);
    }
    // Meanwhile a reader that reads is served, so that the others have had their chance to grow.
    let request = hyper::Request::get(format!("http://{}/down", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut body = client().request(request).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    let grown = gateway.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 8 * 1024, "memory grew by {grown} KiB at its peak");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstreams_work() {
    struct Dropped(mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (dropped, mut was_dropped) = mpsc::unbounded_channel();
    let endless = move || async move {
        let guard = Dropped(dropped.clone());
        let chunk = Bytes::from(vec![b'a'; CHUNK]);
        let chunks = stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, std::io::Error>(chunk.clone())
        });
        Body::from_stream(chunks)
    };
    let gateway = Program::validating(serve(Router::new().route("/", get(endless))).await).start();
    let request = hyper::Request::get(format!("http://{}/", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = client().request(request).await.unwrap();
    let request_id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    let mut body = reply.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    was_dropped
        .recv()
        .await
        .expect("the upstream's body is dropped");
    assert_eq!(
        gateway.wait_for_completion(&request_id)["ended"],
        "client_abort"
    );
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_upstreams_work() {
    let (gone, mut is_gone) = mpsc::unbounded_channel();
    let upstream = super::harness::serve_raw(move |mut stream| {
        let gone = gone.clone();
        async move {
            while let Ok(1..) = stream.read(&mut [0; 1024]).await {
                let _ = gone.send("request");
            }
            let _ = gone.send("closed");
        }
    });
    let gateway = Program::validating(upstream.await).start();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(is_gone.recv().await, Some("request"));
    drop(stream);
    assert_eq!(is_gone.recv().await, Some("closed"));
    let completion = gateway.wait_for_record("completion", |record| record["event"] == "complete");
    assert_eq!(completion["ended"], "client_abort");
    assert!(
        completion
            .get("status")
            .is_none_or(serde_json::Value::is_null),
        "{completion}"
    );
}

/// A client that sends everything before it reads must be able to read why it was refused.
#[tokio::test]
async fn a_refusal_amid_an_upload_can_be_read() {
    let gateway = Program::validating(serve(Router::new()).await).start();
    for round in 0..20 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            3 * MIB
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let body = vec![b'a'; 3 * MIB];
        stream
            .write_all(&body)
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut reply = String::new();
        stream
            .read_to_string(&mut reply)
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(
            reply.starts_with("HTTP/1.1 401") && reply.ends_with("invalid api key"),
            "{reply}"
        );
    }
}

/// Reading the body would say `100 Continue`, and ask for what nobody wants.
#[tokio::test]
async fn a_refused_client_that_waits_is_not_told_to_go_on() {
    let gateway = Program::validating(serve(Router::new()).await).start();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    let reply = super::harness::send_raw(gateway.address, request).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (401, "missing headers")
    );
}

#[tokio::test]
async fn chunks_arrive_as_they_are_sent() {
    let (more, chunks) = mpsc::unbounded_channel::<&'static str>();
    let chunks = Arc::new(tokio::sync::Mutex::new(Some(chunks)));
    let router = Router::new().route(
        "/",
        get(move || async move {
            let chunks = chunks.lock().await.take().unwrap();
            let chunks = stream::unfold(chunks, |mut chunks| async {
                Some((chunks.recv().await?, chunks))
            });
            Body::from_stream(chunks.map(Ok::<_, std::io::Error>))
        }),
    );
    let gateway = Program::validating(serve(router).await).start();
    let request = hyper::Request::get(format!("http://{}/", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut body = client().request(request).await.unwrap().into_body();
    for chunk in ["one", "two", "three"] {
        more.send(chunk).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    drop(more);
    assert!(body.frame().await.is_none());
}
