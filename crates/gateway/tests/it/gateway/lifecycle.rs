//! Start, readiness, shutdown.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::harness::{DEPLOYMENT_KEY, KEY, Program, Started, client, send_raw, serve};

pub(super) async fn admin(gateway: &Started, path: &str) -> (u16, String) {
    if path == "/metrics" {
        // All who ask within a second are told the same.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    let reply = send_raw(gateway.admin, request).await;
    (reply.status, reply.body)
}

/// An upstream whose one answer is written by the test, chunk by chunk.
pub(super) async fn dictated() -> (mpsc::UnboundedSender<&'static str>, std::net::SocketAddr) {
    let (more, chunks) = mpsc::unbounded_channel::<&'static str>();
    let chunks = std::sync::Arc::new(tokio::sync::Mutex::new(Some(chunks)));
    let answer = move || async move {
        let chunks = chunks.lock().await.take().expect("one request");
        let chunks = stream::unfold(chunks, |mut chunks| async {
            Some((chunks.recv().await?, chunks))
        });
        Body::from_stream(chunks.map(Ok::<_, std::io::Error>))
    };
    (more, serve(Router::new().fallback(get(answer))).await)
}

pub(super) async fn begin(gateway: &Started, key: &str) -> (String, Incoming) {
    begin_at(gateway, "/", key).await
}

pub(super) async fn begin_at(gateway: &Started, path: &str, key: &str) -> (String, Incoming) {
    let request = hyper::Request::get(format!("http://{}{path}", gateway.address))
        .header("authorization", format!("Bearer {key}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = client().request(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    let request_id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    (request_id, reply.into_body())
}

#[tokio::test]
async fn at_sigterm_it_is_unready_at_once_and_finishes_what_is_in_flight() {
    let (more, upstream) = dictated().await;
    let mut gateway = Program::validating(upstream).start();
    assert_eq!(admin(&gateway, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(
        admin(&gateway, "/readyz").await,
        (200, "ready\n".to_owned())
    );
    more.send("one").unwrap();
    let (request_id, mut body) = begin(&gateway, KEY).await;
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "one"
    );

    gateway.terminate();
    gateway.wait_for_log("draining");
    assert_eq!(
        admin(&gateway, "/readyz").await,
        (503, "draining\n".to_owned())
    );
    assert_eq!(admin(&gateway, "/livez").await.0, 200);
    super::harness::wait_until("closed listener", || {
        std::net::TcpStream::connect(gateway.address)
            .is_err()
            .then_some(())
    })
    .await;

    more.send("two").unwrap();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "two"
    );
    drop(more);
    assert!(body.frame().await.is_none());
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "ok");
    assert_eq!(gateway.exit_status().await.code(), Some(0));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_and_on_record() {
    let (more, upstream) = dictated().await;
    let mut gateway = Program::validating(upstream)
        .var("VOXGATE_DRAIN_SECONDS", "1")
        .start();
    more.send("one").unwrap();
    let (request_id, mut body) = begin(&gateway, KEY).await;
    body.frame().await.unwrap().unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let completion = gateway.wait_for_completion(&request_id);
    assert_eq!(completion["ended"], "drained");
    assert_eq!(completion["bytes_sent"], 3);
    assert!(
        body.frame().await.unwrap().is_err(),
        "the client must not take half for all"
    );
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let (more, upstream) = dictated().await;
    let mut gateway = Program::validating(upstream)
        .var("VOXGATE_DRAIN_SECONDS", "86400")
        .start();
    more.send("one").unwrap();
    let (request_id, _body) = begin(&gateway, KEY).await;
    gateway.terminate();
    gateway.wait_for_log("draining");
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "drained");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut gateway = Program::validating(serve(Router::new()).await)
        .var("VOXGATE_DRAIN_SECONDS", "86400")
        .start();
    let silent = TcpStream::connect(gateway.address).await.unwrap();
    let client = client();
    let request = hyper::Request::get(format!("http://{}/", gateway.address))
        .body(Full::default())
        .unwrap();
    client
        .request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    drop(silent);
}

#[tokio::test]
async fn a_start_is_on_record_and_an_open_door_is_a_warning() {
    let upstream = serve(Router::new()).await;
    let closed = Program::validating(upstream).start();
    let record = closed.wait_for_record("start", |record| record["event"] == "start");
    assert_eq!(record["mode"], "validate");
    assert_eq!(record["keys"], 1);
    assert_eq!(record["exposed"], false);

    let open = Program::gateway(upstream)
        .var("RIME_API_KEY", DEPLOYMENT_KEY)
        .var("VOXGATE_LISTEN", "0.0.0.0:0")
        .start();
    let record = open.wait_for_record("start", |record| record["event"] == "start");
    assert_eq!(record["mode"], "preconfigured");
    assert_eq!(record["exposed"], true);
    open.wait_for_log("preconfigured mode on a non-loopback address");
    let (_, metrics) = admin(&open, "/metrics").await;
    assert!(
        metrics.contains("voxgate_preconfigured_exposed 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("voxgate_build_info{version="), "{metrics}");
}

#[tokio::test]
async fn no_path_of_the_data_listener_is_exempt() {
    let gateway = Program::validating(serve(Router::new()).await).start();
    for path in ["/livez", "/readyz", "/metrics", "/healthz", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(
            send_raw(gateway.address, request).await.status,
            401,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_closed_terminal_is_an_orderly_end_too() {
    let (more, upstream) = dictated().await;
    let mut gateway = Program::validating(upstream).start();
    more.send("one").unwrap();
    let (request_id, mut body) = begin(&gateway, KEY).await;
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("draining");
    drop(more);
    while body.frame().await.is_some() {}
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "ok");
}

#[tokio::test]
async fn sigquit_drains_and_the_signals_of_log_rotation_do_no_harm() {
    use rustix::process::Signal;
    let (more, upstream) = dictated().await;
    let mut gateway = Program::validating(upstream).start();
    more.send("one").unwrap();
    let (request_id, mut body) = begin(&gateway, KEY).await;
    gateway.signal(Signal::USR1);
    gateway.signal(Signal::USR2);
    assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    gateway.signal(Signal::QUIT);
    gateway.wait_for_log("SIGQUIT");
    let (status, text) = admin(&gateway, "/readyz?verbose").await;
    assert_eq!(status, 503);
    assert!(text.contains("[-]serving failed: draining\n"), "{text}");
    gateway.signal(Signal::USR1);
    drop(more);
    while body.frame().await.is_some() {}
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    assert_eq!(gateway.wait_for_completion(&request_id)["ended"], "ok");
}
