//! HTTP/1.1: reuse of connections, and what is sent again.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use voxgate_upstream::{AnswerError, Protocol, SendErrorKind, Settings};

use super::harness::{PATIENCE, Sender, serve_raw, settings, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads a request without a body, or the end: `None`.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).ok()
}

/// The second request on each connection is read and not answered: `reply` is all that comes back.
async fn hangs_up_on_the_second(reply: &'static [u8]) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let address = serve_raw(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            if head(&mut stream).await.is_some() {
                seen.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(OK).await;
            }
            if head(&mut stream).await.is_some() {
                seen.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(reply).await;
            }
        }
    })
    .await;
    (address, requests)
}

async fn text(answer: super::harness::Answer) -> String {
    let body = answer.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_and_names_its_server() {
    let address = serve_raw(|mut stream, number| async move {
        while let Some(head) = head(&mut stream).await {
            let host = head
                .to_ascii_lowercase()
                .matches("host: 127.0.0.1:")
                .count();
            let line = head.lines().next().unwrap();
            let text = format!("{number} {host} {line}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            let _ = stream.write_all((head + &text).as_bytes()).await;
        }
    })
    .await;
    let sender = Sender::new(Protocol::Http1, &[address]);
    for target in ["/a?b=c", "http://elsewhere/a?b=c"] {
        assert_eq!(
            text(sender.get(target).await).await,
            "0 1 GET /a?b=c HTTP/1.1"
        );
    }
    // Two at a time need a second connection; then both are there.
    for _ in 0..3 {
        let (one, two) = tokio::join!(sender.get("/"), sender.get("/"));
        let (one, two) = (text(one).await, text(two).await);
        assert_ne!(one.chars().next(), two.chars().next());
    }
    assert_eq!(sender.sum(|own| own.connects), 2);
    assert_eq!(sender.sum(|own| own.in_flight as u64), 0);
}

/// RFC 9110 §9.2.2: only what is idempotent is sent again by itself, and only what has no body can be.
#[tokio::test]
async fn a_reused_connection_that_ends_before_the_answer_is_tried_once_more() {
    let (address, requests) = hangs_up_on_the_second(b"").await;
    let sender = Sender::new(Protocol::Http1, &[address]);
    assert_eq!(text(sender.get("/").await).await, "ok");
    assert_eq!(text(sender.get("/").await).await, "ok");
    assert_eq!(requests.load(Ordering::Relaxed), 3);
    assert_eq!(sender.sum(|own| own.retries), 1);

    for (method, body) in [("POST", "text"), ("POST", ""), ("PUT", "text")] {
        let (address, requests) = hangs_up_on_the_second(b"").await;
        let sender = Sender::new(Protocol::Http1, &[address]);
        assert_eq!(text(sender.get("/").await).await, "ok");
        let request = Request::builder().method(method).uri("/");
        let answer = sender.send(request.body(Full::from(body)).unwrap()).await;
        assert_eq!(answer.unwrap_err().kind(), SendErrorKind::Unreachable);
        assert_eq!(requests.load(Ordering::Relaxed), 2, "{method} {body}");
    }
}

#[tokio::test]
async fn an_answer_that_began_is_not_asked_for_again() {
    let (address, requests) = hangs_up_on_the_second(b"HTTP/1.1 2").await;
    let sender = Sender::new(Protocol::Http1, &[address]);
    assert_eq!(text(sender.get("/").await).await, "ok");
    assert!(sender.get("/").await.is_err());
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    assert_eq!(sender.sum(|own| own.retries), 0);
}

/// A server that closes idle connections early, such as one that restarts.
#[tokio::test]
async fn an_idle_connection_that_was_closed_fails_no_request() {
    let address = serve_raw(|mut stream, _| async move {
        if head(&mut stream).await.is_some() {
            let _ = stream.write_all(OK).await;
        }
    })
    .await;
    let sender = Sender::new(Protocol::Http1, &[address]);
    for _ in 0..20 {
        assert_eq!(sender.post("/", "").await.unwrap().status(), StatusCode::OK);
        until("closed", || sender.sum(|own| own.connections as u64) == 0).await;
    }
}

#[tokio::test]
async fn many_headers_are_an_answer() {
    let address = serve_raw(|mut stream, _| async move {
        let _ = head(&mut stream).await;
        let headers: String = (0..150).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let sender = Sender::new(Protocol::Http1, &[address]);
    assert_eq!(sender.get("/").await.unwrap().headers().len(), 151);
}

/// The server says nothing amid its answer. Its caller and its slot are freed.
#[tokio::test]
async fn an_answer_that_stands_still_ends() {
    let address = serve_raw(|mut stream, _| async move {
        let _ = head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
        let _ = head(&mut stream).await;
    })
    .await;
    let pausing = Settings {
        answer_pause: Some(Duration::from_millis(200)),
        ..settings()
    };
    let sender = Sender::with(pausing, Protocol::Http1, &[address]);
    let mut body = sender.get("/").await.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, AnswerError::Pause(_)), "{error}");
    assert_eq!(sender.sum(|own| own.in_flight as u64), 0);
    drop(body);
    until("closed", || sender.sum(|own| own.connections as u64) == 0).await;
}

#[tokio::test]
async fn an_old_connection_is_not_used_again() {
    let address = serve_raw(|mut stream, _| async move {
        while head(&mut stream).await.is_some() {
            let _ = stream.write_all(OK).await;
        }
    })
    .await;
    let ageing = Settings {
        longest_connection_age: Some(Duration::from_nanos(1)),
        ..settings()
    };
    let sender = Sender::with(ageing, Protocol::Http1, &[address]);
    for _ in 0..3 {
        assert_eq!(text(sender.get("/").await).await, "ok");
    }
    assert_eq!(sender.sum(|own| own.connects), 3);
    until("closed", || sender.sum(|own| own.connections as u64) == 0).await;
}

/// Servers that refuse an upload when they have read its head. Many close the connection at once, so that
/// it is reset while the upload is still being written.
#[tokio::test]
async fn an_answer_that_comes_before_the_upload_has_ended_arrives() {
    const REFUSED: &[u8] =
        b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large";
    /// What the server does after its answer.
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Closes,
        HalfCloses,
        StaysOpen,
        Drains,
    }
    for then in [
        Then::Closes,
        Then::HalfCloses,
        Then::StaysOpen,
        Then::Drains,
    ] {
        let address = serve_raw(move |mut stream, _| async move {
            // The head, and not the body.
            head(&mut stream).await;
            stream.write_all(REFUSED).await.unwrap();
            match then {
                Then::Closes => {}
                Then::HalfCloses => {
                    stream.shutdown().await.unwrap();
                    std::future::pending().await
                }
                Then::StaysOpen => std::future::pending().await,
                Then::Drains => {
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            }
        })
        .await;
        let sender = Sender::new(Protocol::Http1, &[address]);
        for _ in 0..20 {
            let body = Full::from(vec![7; 16 * 1024 * 1024]);
            let request = Request::post("/").body(body).unwrap();
            let answer = sender.send(request).await;
            assert_eq!(answer.as_ref().unwrap().status(), 413, "{then:?}");
            assert_eq!(text(answer).await, "too large", "{then:?}");
        }
    }
}

/// A body whose second part is only there when the server has closed the connection.
#[derive(Default)]
struct UntilClosed {
    polls: usize,
    server: Option<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>,
}

impl http_body::Body for UntilClosed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match self.polls {
            // The first part is written meanwhile.
            2 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // On this thread, so that nothing is read before the next part is written.
            3 => {
                let (close, closed) = self.server.as_ref().unwrap();
                close.send(()).unwrap();
                closed.recv_timeout(PATIENCE).unwrap();
            }
            _ => {}
        }
        let part = Bytes::from_static(&[7; 1024]);
        Poll::Ready((self.polls <= 64).then(|| Ok(Frame::data(part))))
    }
}

/// The write of a part fails before the answer is read, which has arrived in time.
#[tokio::test]
async fn an_answer_is_read_although_the_upload_cannot_be_written_any_more() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (close, may_close) = std::sync::mpsc::channel();
    let (has_closed, closed) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        // The first byte of the body is read, and more of it is not.
        while byte != [7] {
            stream.read_exact(&mut byte).unwrap();
        }
        may_close.recv_timeout(PATIENCE).unwrap();
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(answer).unwrap();
        drop(stream);
        has_closed.send(()).unwrap();
    });
    let sender = Sender::<UntilClosed>::new(Protocol::Http1, &[address]);
    let body = UntilClosed {
        polls: 0,
        server: Some((close, closed)),
    };
    let answer = sender.send(Request::post("/").body(body).unwrap()).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 413);
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "no");
    server.join().unwrap();
}
