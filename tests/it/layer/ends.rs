//! Every accepted request has one completion record, which names how it ended.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use tower::{Layer, Service, ServiceExt, service_fn};
use voxgate::audit::Ended;
use voxgate::{AuthLayer, RawCredential, Tunnel, Verdict, Verify, VerifyOutcome};

use crate::support::{Asking, KEY, Records, client, request, ring, serve};

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

fn full(text: &'static str) -> TestBody {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A body of frames without a declared length, like the output of a synthesizer.
fn frames(frames: Vec<io::Result<&'static str>>) -> TestBody {
    let frame = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let frames = frames.into_iter().map(move |text| text.map(frame));
    BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)))
}

/// One frame, followed by neither another frame nor an end.
fn endless() -> TestBody {
    let frames = stream::unfold(false, |sent| async move {
        if sent {
            pending::<()>().await;
        }
        Some((Ok(Frame::data(Bytes::from_static(b"hello"))), true))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn broken_pipe() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn with_status(status: StatusCode, body: TestBody) -> Response<TestBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Answers with a body that ends in the way that the path names.
async fn answer<B>(request: Request<B>) -> io::Result<Response<TestBody>> {
    Ok(match request.uri().path() {
        "/full" => Response::new(full("hello")),
        "/empty" => Response::new(full("")),
        "/stream" => Response::new(frames(vec![Ok("hello"), Ok("world")])),
        "/empty-stream" => Response::new(frames(vec![])),
        "/declared" => {
            let mut response = Response::new(frames(vec![Ok("hello"), Ok("world")]));
            response.headers_mut().insert("content-length", 10.into());
            response
        }
        "/no-content" => with_status(StatusCode::NO_CONTENT, full("")),
        "/not-modified" => with_status(StatusCode::NOT_MODIFIED, full("")),
        "/broken" => Response::new(frames(vec![Ok("hello"), Err(broken_pipe())])),
        "/endless" => Response::new(endless()),
        "/failed" => return Err(broken_pipe()),
        other => panic!("no answer for {other}"),
    })
}

fn get<B>(path: &str, body: B) -> Request<B> {
    let mut request = request(KEY, body);
    *request.uri_mut() = path.parse().expect("a path");
    request
}

/// A server may or may not poll an empty body, or poll after the last byte of the declared length.
/// The record must not depend on this.
async fn served(http2: bool, method: &str, path: &str, status: u16, bytes: u64) {
    let records = Records::default();
    let layer = AuthLayer::new(ring()).with_audit_sink(records.clone());
    let address = serve(layer.layer(service_fn(answer))).await;
    let mut request = get(&format!("http://{address}{path}"), Empty::<Bytes>::new());
    *request.method_mut() = method.parse().expect("a method");
    let response = client(http2).request(request).await.expect("an answer");
    assert_eq!(response.status(), status);
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes().len() as u64, bytes);
    records.completed(1).await;
    let (_, completed) = records.take_exchange();
    let context = format!("{method} {path}, HTTP/2: {http2}");
    assert_eq!(completed.ended, Ended::Ok, "{context}");
    assert_eq!(completed.bytes_sent, bytes, "{context}");
    assert_eq!(completed.status, Some(status), "{context}");
}

#[tokio::test]
async fn bodies_that_a_server_sends_to_their_end() {
    for http2 in [false, true] {
        served(http2, "GET", "/full", 200, 5).await;
        served(http2, "GET", "/stream", 200, 10).await;
        served(http2, "GET", "/empty-stream", 200, 0).await;
    }
}

#[tokio::test]
async fn bodies_that_a_server_does_not_send() {
    // Over HTTP/2, hyper requires the service to send no body for HEAD.
    served(false, "HEAD", "/full", 200, 0).await;
    served(false, "HEAD", "/stream", 200, 0).await;
    for http2 in [false, true] {
        served(http2, "HEAD", "/empty", 200, 0).await;
        served(http2, "GET", "/no-content", 204, 0).await;
        served(http2, "GET", "/not-modified", 304, 0).await;
    }
}

#[tokio::test]
async fn an_empty_body_that_a_server_never_polls() {
    for http2 in [false, true] {
        served(http2, "GET", "/empty", 200, 0).await;
    }
}

#[tokio::test]
async fn a_stream_that_a_server_polls_only_to_its_declared_length() {
    for http2 in [false, true] {
        served(http2, "GET", "/declared", 200, 10).await;
    }
}

#[tokio::test]
async fn each_request_on_a_connection_leaves_one_pair_of_records() {
    let records = Records::default();
    let layer = AuthLayer::new(Asking(ring())).with_audit_sink(records.clone());
    let address = serve(layer.layer(service_fn(answer))).await;
    for http2 in [false, true] {
        let client = client(http2);
        for _ in 0..10 {
            let request = get(&format!("http://{address}/stream"), Empty::<Bytes>::new());
            let response = client.request(request).await.expect("an answer");
            response.into_body().collect().await.expect("a whole body");
            records.completed(1).await;
            records.take_exchange();
        }
    }
}

#[tokio::test]
async fn a_caller_that_disconnects_is_a_client_abort() {
    for http2 in [false, true] {
        let records = Records::default();
        let layer = AuthLayer::new(ring()).with_audit_sink(records.clone());
        let address = serve(layer.layer(service_fn(answer))).await;
        let request = get(&format!("http://{address}/endless"), Empty::<Bytes>::new());
        let client = client(http2);
        let mut body = client
            .request(request)
            .await
            .expect("an answer")
            .into_body();
        let frame = body.frame().await.expect("a frame").expect("a good one");
        assert_eq!(frame.into_data().ok(), Some(Bytes::from_static(b"hello")));
        drop((body, client));
        records.completed(1).await;
        let (_, completed) = records.take_exchange();
        assert_eq!(completed.ended, Ended::ClientAbort);
        assert_eq!(completed.status, Some(200));
    }
}

/// The layer with both kinds of verifier around `inner`, for tests without a server.
macro_rules! around {
    ($records:ident, $inner:expr, |$service:ident| $run:block) => {{
        let $records = Records::default();
        let $service = AuthLayer::new(ring())
            .with_audit_sink($records.clone())
            .layer($inner);
        $run
        let $service = AuthLayer::new(Asking(ring()))
            .with_audit_sink($records.clone())
            .layer($inner);
        $run
    }};
}

#[tokio::test]
async fn a_future_that_is_dropped_is_a_client_abort() {
    let called = AtomicBool::new(false);
    let silent = service_fn(|_: Request<()>| async {
        called.store(true, Ordering::Relaxed);
        pending::<Result<Response<String>, Infallible>>().await
    });
    around!(records, silent, |service| {
        called.store(false, Ordering::Relaxed);
        let mut answer = Box::pin(service.oneshot(request(KEY, ())));
        while !called.load(Ordering::Relaxed) {
            poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
        }
        assert!(records.completions().is_empty());
        drop(answer);
        let (_, completed) = records.take_exchange();
        assert_eq!(completed.ended, Ended::ClientAbort);
        assert_eq!(completed.status, None);
    });
}

#[tokio::test]
async fn a_body_that_is_dropped_is_a_client_abort() {
    around!(records, service_fn(answer), |service| {
        for polled in [false, true] {
            let response = service.clone().oneshot(get("/stream", ())).await;
            let mut body = response.expect("an answer").into_body();
            if polled {
                body.frame().await.expect("a frame").expect("a good one");
            }
            assert!(records.completions().is_empty());
            drop(body);
            let (_, completed) = records.take_exchange();
            assert_eq!(completed.ended, Ended::ClientAbort);
            assert_eq!(completed.status, Some(200));
            assert_eq!(completed.bytes_sent, if polled { 5 } else { 0 });
        }
    });
}

#[tokio::test]
async fn a_body_that_breaks_is_an_upstream_abort() {
    around!(records, service_fn(answer), |service| {
        let response = service.oneshot(get("/broken", ())).await;
        let body = response.expect("an answer").into_body();
        body.collect().await.expect_err("a broken body");
        let (_, completed) = records.take_exchange();
        assert_eq!(completed.ended, Ended::UpstreamAbort);
        assert_eq!(completed.bytes_sent, 5);
    });
}

#[tokio::test]
async fn a_service_that_fails_is_an_upstream_abort() {
    around!(records, service_fn(answer), |service| {
        let failed = service.oneshot(get("/failed", ())).await;
        assert_eq!(
            failed.err().map(|error| error.kind()),
            Some(io::ErrorKind::BrokenPipe)
        );
        let (_, completed) = records.take_exchange();
        assert_eq!(completed.ended, Ended::UpstreamAbort);
        assert_eq!(completed.status, None);
    });
}

#[tokio::test]
async fn the_end_is_recorded_once_even_if_polled_again() {
    around!(records, service_fn(answer), |service| {
        let response = service.oneshot(get("/stream", ())).await;
        let mut body = response.expect("an answer").into_body();
        while body.frame().await.is_some() {}
        assert_eq!(
            records.completions().len(),
            1,
            "recorded at the end of the body"
        );
        drop(body);
        records.take_exchange();
    });
}

#[tokio::test]
async fn a_panic_of_the_service_still_leaves_a_completion() {
    let in_call = |_: Request<()>| -> std::future::Ready<Result<Response<String>, Infallible>> {
        panic!("in the call")
    };
    let in_future = |request: Request<()>| async move {
        assert_ne!(request.uri().path(), "/", "in the future");
        Ok::<_, Infallible>(Response::new(String::new()))
    };
    around!(records, service_fn(in_call), |service| {
        let call = tokio::spawn(async move { service.oneshot(request(KEY, ())).await.map(drop) });
        assert!(call.await.expect_err("a panic").is_panic());
        records.take_exchange();
    });
    around!(records, service_fn(in_future), |service| {
        let call = tokio::spawn(async move { service.oneshot(request(KEY, ())).await.map(drop) });
        assert!(call.await.expect_err("a panic").is_panic());
        records.take_exchange();
    });
}

#[tokio::test]
async fn a_panic_of_the_body_still_leaves_a_completion() {
    let panicking = |_: Request<()>| async {
        let body = stream::poll_fn(|_| -> Poll<Option<io::Result<Frame<Bytes>>>> {
            panic!("in the body")
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
    };
    around!(records, service_fn(panicking), |service| {
        let response = service.oneshot(request(KEY, ())).await.expect("an answer");
        let read = tokio::spawn(async move { response.into_body().collect().await.map(drop) });
        assert!(read.await.expect_err("a panic").is_panic());
        records.take_exchange();
    });
}

/// A verifier that never resolves.
struct Silent;

impl Verify for Silent {
    type Future = std::future::Pending<Verdict>;

    fn verify(&self, _: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        VerifyOutcome::Pending(pending())
    }
}

#[tokio::test]
async fn a_caller_that_disconnects_before_the_verdict_is_not_served() {
    let records = Records::default();
    let mut service = AuthLayer::new(Silent)
        .with_audit_sink(records.clone())
        .layer(service_fn(|_: Request<()>| async {
            panic!("called without a verdict");
            #[allow(unreachable_code, reason = "it names the type of the answer")]
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    {
        let ready = service.ready().await.expect("a ready service");
        let mut answer = pin!(ready.call(request(KEY, ())));
        let waits = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
    }
    assert!(records.completions().is_empty(), "{records:?}");
    assert!(!records.decisions().iter().any(|decided| decided.accepted));
}

fn upgrade() -> Request<()> {
    let mut request = request(KEY, ());
    request
        .headers_mut()
        .insert("upgrade", http::HeaderValue::from_static("websocket"));
    request
}

#[tokio::test]
async fn a_tunnel_that_is_held_keeps_the_record_open() {
    let held = Arc::new(std::sync::Mutex::new(None));
    let switching = |status: StatusCode| {
        let held = Arc::clone(&held);
        service_fn(move |request: Request<()>| {
            *held.lock().expect("a sane lock") = request.extensions().get::<Tunnel>().cloned();
            async move { Ok::<_, Infallible>(with_status(status, full(""))) }
        })
    };
    around!(
        records,
        switching(StatusCode::SWITCHING_PROTOCOLS),
        |service| {
            let response = service.oneshot(upgrade()).await.expect("an answer");
            response.into_body().collect().await.expect("an empty body");
            assert!(records.completions().is_empty(), "the connection lives on");
            let tunnel = held.lock().expect("a sane lock").take().expect("a tunnel");
            let clone = tunnel.clone();
            tunnel.carried(5, 7);
            drop(tunnel);
            assert!(records.completions().is_empty(), "a clone is left");
            drop(clone);
            let (_, completed) = records.take_exchange();
            assert_eq!(completed.ended, Ended::Ok);
            assert_eq!(completed.status, Some(101));
            assert_eq!(
                (completed.bytes_sent, completed.bytes_received),
                (5, Some(7))
            );
        }
    );
    // Without an upgrade, the request ends with the body, even if a tunnel is held.
    around!(records, switching(StatusCode::OK), |service| {
        let response = service.oneshot(upgrade()).await.expect("an answer");
        response.into_body().collect().await.expect("an empty body");
        let (_, completed) = records.take_exchange();
        assert_eq!(
            (completed.ended, completed.bytes_received),
            (Ended::Ok, None)
        );
    });
}

#[tokio::test]
async fn a_tunnel_that_is_not_held_ends_with_the_answer() {
    let forgetful = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(with_status(StatusCode::SWITCHING_PROTOCOLS, full("")))
    });
    around!(records, forgetful, |service| {
        let response = service.oneshot(upgrade()).await.expect("an answer");
        records.take_exchange();
        drop(response);
        assert!(records.completions().is_empty());
    });
}

#[tokio::test]
async fn a_request_without_an_upgrade_has_no_tunnel() {
    let inner = service_fn(|request: Request<()>| async move {
        assert!(request.extensions().get::<Tunnel>().is_none());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    around!(records, inner, |service| {
        drop(service.oneshot(request(KEY, ())).await.expect("an answer"));
        records.take_exchange();
    });
}
