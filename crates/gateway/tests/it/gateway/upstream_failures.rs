//! An upstream that is down, silent, slow or rude.

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, Started, client, nowhere, send_raw, serve_raw, wait_until};
use super::lifecycle::admin;

/// Sends a request that is let in: the status, the body and the completion record.
async fn ask(gateway: &Started) -> (u16, String, serde_json::Value) {
    let request = hyper::Request::get(format!("http://{}/v1/rime-tts", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::default())
        .unwrap();
    let reply = client().request(request).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/plain");
    let request_id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (status, body, gateway.wait_for_completion(&request_id))
}

async fn metric(gateway: &Started, line: &str) -> bool {
    let (status, text) = admin(gateway, "/metrics").await;
    assert_eq!(status, 200);
    text.lines().any(|own| own == line)
}

const UNREACHABLE: &str = "bad gateway: the TTS server cannot be reached";
const TIMEOUT: &str = "gateway timeout: the TTS server did not answer in time";

#[tokio::test]
async fn an_upstream_that_is_down_is_502() {
    let (_socket, nowhere) = nowhere();
    let gateway = Program::validating(nowhere).start();
    let (status, body, completion) = ask(&gateway).await;
    assert_eq!((status, body.as_str()), (502, UNREACHABLE));
    assert_eq!(completion["status"], 502);
    assert_eq!(completion["failure"], "upstream_unreachable");
    assert_eq!(completion["ended"], "ok");
    assert_eq!(completion["key_id"], "env-1");
    assert!(
        metric(
            &gateway,
            r#"voxgate_upstream_errors_total{reason="upstream_unreachable"} 1"#
        )
        .await
    );
    assert!(metric(&gateway, "voxgate_requests_in_flight 0").await);
    gateway.wait_for_log("Connection refused");
}

#[tokio::test]
async fn the_line_of_a_failure_names_the_route_and_not_the_path() {
    let (_socket, nowhere) = nowhere();
    let gateway = Program::validating(nowhere)
        .var("VOXGATE_DIALECT", "elevenlabs")
        .start();
    let request = format!(
        "POST /v1/text-to-speech/a-name HTTP/1.1\r\nHost: a\r\nxi-api-key: {KEY}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(send_raw(gateway.address, request).await.status, 502);
    let route = "\"route\":\"/v1/text-to-speech/{voice_id}\"";
    gateway.wait_for_log(route);
    let printed = gateway.printed();
    let line = printed.lines().find(|line| line.contains(route));
    assert!(
        line.is_some_and(|line| !line.contains("a-name")),
        "{line:?}"
    );
}

#[tokio::test]
async fn the_log_says_when_an_upstream_answers_again_and_what_was_refused() {
    let (socket, nowhere) = nowhere();
    let mut gateway = Program::validating(nowhere)
        .var("VOXGATE_LOG", "info")
        .start();
    assert_eq!(ask(&gateway).await.0, 502);
    gateway.wait_for_log("\"failures\":1");
    gateway.wait_for_log("\"key_id\":\"env-1\"");
    socket.listen(8).unwrap();
    let listener = std::net::TcpListener::from(socket);
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let again = "the upstream answers again";
    for _ in 0..600 {
        // The gateway may still leave the server alone for a while.
        ask(&gateway).await;
        if gateway.printed().contains(again) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    gateway.wait_for_log(again);
    let unknown = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(send_raw(gateway.address, unknown).await.status, 401);
    }
    gateway.terminate();
    assert!(gateway.exit_status().await.success());
    gateway.wait_for_log("\"refused\":2,\"reasons\":\"missing_credential 2\"");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_before_its_answer_is_502() {
    let hangs_up = serve_raw(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
    });
    let gateway = Program::validating(hangs_up.await).start();
    let (status, body, completion) = ask(&gateway).await;
    assert_eq!((status, body.as_str()), (502, UNREACHABLE));
    assert_eq!(completion["failure"], "upstream_unreachable");
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_is_502() {
    let rude = serve_raw(|mut stream| async move {
        let _ = stream.write_all(b"220 smtp ready\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let gateway = Program::validating(rude.await).start();
    assert_eq!(ask(&gateway).await.0, 502);
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let switching = serve_raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = stream.write_all(switch).await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let gateway = Program::validating(switching.await).start();
    let (status, _, completion) = ask(&gateway).await;
    assert_eq!(status, 502);
    assert_eq!(completion["failure"], "upstream_unreachable");
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_504() {
    let silent =
        serve_raw(
            |mut stream| async move { while let Ok(1..) = stream.read(&mut [0; 1024]).await {} },
        );
    let gateway = Program::validating(silent.await)
        .var("VOXGATE_UPSTREAM_TIMEOUT_SECONDS", "1")
        .start();
    let (status, body, completion) = ask(&gateway).await;
    assert_eq!((status, body.as_str()), (504, TIMEOUT));
    assert_eq!(completion["failure"], "upstream_timeout");
    assert_eq!(completion["ended"], "timeout");
    assert!(
        metric(
            &gateway,
            r#"voxgate_upstream_errors_total{reason="upstream_timeout"} 1"#
        )
        .await
    );
}

#[tokio::test]
async fn an_upstream_that_accepts_no_connection_is_504() {
    // On Linux, connecting hangs when the queue of connections to accept is full.
    let (socket, full) = nowhere();
    socket.listen(0).unwrap();
    let waiting: Vec<_> = (0..8)
        .map(|_| tokio::spawn(TcpStream::connect(full)))
        .collect();
    wait_until("full queue", || {
        waiting.iter().any(|one| one.is_finished()).then_some(())
    })
    .await;

    let gateway = Program::validating(full)
        .var("VOXGATE_CONNECT_TIMEOUT_SECONDS", "1")
        .start();
    let (status, body, completion) = ask(&gateway).await;
    assert_eq!((status, body.as_str()), (504, TIMEOUT));
    assert_eq!(completion["failure"], "upstream_timeout");
    assert_eq!(completion["ended"], "timeout");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_amid_its_answer_is_on_record() {
    let breaks_off = serve_raw(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
    });
    let gateway = Program::validating(breaks_off.await).start();
    let request = hyper::Request::get(format!("http://{}/", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::<hyper::body::Bytes>::default())
        .unwrap();
    let reply = client().request(request).await.unwrap();
    let request_id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(
        reply.into_body().collect().await.is_err(),
        "the client must not take half for all"
    );
    let completion = gateway.wait_for_completion(&request_id);
    assert_eq!(completion["ended"], "upstream_abort");
    assert_eq!(completion["bytes_sent"], 4);
}
