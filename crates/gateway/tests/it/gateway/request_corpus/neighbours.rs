//! What one client sends does not end the requests of another, also when the upstream speaks HTTP/2
//! and ends its connection on a malformed request.

use axum::http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::task::JoinSet;

use super::super::harness::{KEY, Program, Started, client, client_h2, wait_until};
use super::upstream::{POISON, SLOW};
use super::{Recorder, cases, http2};

const CALLERS: usize = 8;

fn request(gateway: &Started, key: &str, path: &str) -> Request<Full<Bytes>> {
    Request::post(format!("http://{}{path}", gateway.address))
        .header("authorization", format!("Bearer {key}"))
        .body(Full::from("text"))
        .unwrap()
}

/// Eight callers in flight, half of them in HTTP/1.1; another one sends every malformed payload of
/// the corpus, and requests that end the upstream's connection.
#[tokio::test]
async fn eight_callers_finish_whatever_a_neighbour_sends() {
    let recorder = Recorder::start().await;
    let gateway = Program::validating("unused")
        .var("VOXGATE_UPSTREAM", recorder.url(true))
        .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
        .start();
    let mut in_flight = JoinSet::new();
    for caller in 0..CALLERS {
        let request = request(&gateway, KEY, SLOW);
        let client = match caller % 2 {
            0 => client(),
            _ => client_h2(),
        };
        in_flight.spawn(async move { client.request(request).await });
    }
    let all = || (recorder.waiting() == CALLERS).then_some(());
    wait_until("eight requests upstream", all).await;

    for case in cases(http2::CASES) {
        http2::send(gateway.address, &http2::frames(&case)).await;
    }
    let neighbour = client_h2();
    for _ in 0..4 {
        let poison = request(&gateway, KEY, POISON);
        assert_eq!(neighbour.request(poison).await.unwrap().status(), 502);
    }

    assert_eq!(recorder.waiting(), CALLERS, "a request was broken off");
    recorder.release(CALLERS);
    while let Some(answer) = in_flight.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}

/// A proxy in front of the gateway sends the requests of many callers on one connection.
#[tokio::test]
async fn callers_on_one_client_connection_do_not_share_an_upstream_connection() {
    let recorder = Recorder::start().await;
    let other = "another-key-that-is-long-enough";
    let gateway = Program::gateway("unused")
        .var("VOXGATE_API_KEYS", format!("{KEY},{other}"))
        .var("VOXGATE_UPSTREAM", recorder.url(true))
        .start();
    let proxy = client_h2();
    let slow = tokio::spawn(proxy.request(request(&gateway, KEY, SLOW)));
    let one = || (recorder.waiting() == 1).then_some(());
    wait_until("one request upstream", one).await;
    let poisoned = proxy.request(request(&gateway, other, POISON)).await;
    assert_eq!(poisoned.unwrap().status(), 502);
    recorder.release(1);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}
