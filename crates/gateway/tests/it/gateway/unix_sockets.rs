//! Unix sockets: the gateway listens on them, and the TTS server does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{any, get};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::harness::{KEY, Program, serve};
use super::tunnels;

/// Passes connections to the socket on to a server.
fn in_front_of(path: &Path, behind: std::net::SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
}

async fn ask(path: &Path, target: &str, key: Option<&str>) -> (u16, String) {
    let stream = UnixStream::connect(path).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get(target)
        .header("host", "localhost")
        .header("x-forwarded-for", "192.0.2.7");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_and_the_server_may_be_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let unix = |name: &str| format!("unix:{}", path(name).display());
    let forwarded = |headers: HeaderMap| async move {
        let value = headers.get("x-forwarded-for");
        value.map_or("none".to_owned(), |value| {
            value.to_str().unwrap().to_owned()
        })
    };
    let server = serve(Router::new().route("/v1/say", get(forwarded))).await;
    in_front_of(&path("tts.sock"), server);
    let program = || {
        Program::validating("unused")
            .var("VOXGATE_UPSTREAM", unix("tts.sock"))
            .var("VOXGATE_LISTEN", unix("data.sock"))
            .var("VOXGATE_ADMIN_LISTEN", unix("admin.sock"))
            .var("VOXGATE_LISTEN_MODE", "0600")
    };
    let mut gateway = program().start();
    for name in ["data.sock", "admin.sock"] {
        let mode = std::fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(ask(&path("data.sock"), "/v1/say", None).await.0, 401);
    // Without trusted proxies, no caller may name the address of the client.
    let (status, body) = ask(&path("data.sock"), "/v1/say", Some(KEY)).await;
    assert_eq!(status, 200);
    assert!(!body.contains("192.0.2.7"), "{body}");
    let accepted = gateway.wait_for_record("a decision", |record| {
        record["event"] == "decision" && record["outcome"] == "accepted"
    });
    assert_eq!(accepted["peer"], "127.0.0.1:0");
    let started = gateway.wait_for_record("the start", |record| record["event"] == "start");
    assert_eq!(started["listen"], unix("data.sock"));

    let socket = path("admin.sock").display().to_string();
    let probe = Program::new(&[
        "probe",
        "--url",
        "http://localhost/readyz",
        "--expect",
        "200",
        "--unix-socket",
        &socket,
    ]);
    let ran = tokio::task::spawn_blocking(move || probe.run()).await;
    let (code, out, error) = ran.unwrap();
    assert_eq!(code, Some(0), "{out}{error}");

    // A second gateway does not take the socket over, and one that was killed does not block it.
    let second = program();
    let (code, _, error) = tokio::task::spawn_blocking(move || second.run())
        .await
        .unwrap();
    assert_eq!(code, Some(64), "{error}");
    assert!(
        error.contains("VOXGATE_ADMIN_LISTEN: cannot listen on unix:"),
        "{error}"
    );
    gateway.signal(rustix::process::Signal::KILL);
    gateway.exit_status().await;
    assert!(path("data.sock").exists());
    let mut gateway = Program::validating("unused")
        .var("VOXGATE_UPSTREAM", unix("tts.sock"))
        .var("VOXGATE_LISTEN", unix("data.sock"))
        .var("VOXGATE_ADMIN_LISTEN", unix("admin.sock"))
        .var("VOXGATE_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    // A proxy on this machine is trusted by this address.
    let (status, body) = ask(&path("data.sock"), "/v1/say", Some(KEY)).await;
    assert_eq!((status, body.as_str()), (200, "192.0.2.7, 127.0.0.1"));
    gateway.terminate();
    assert!(gateway.exit_status().await.success());
    for name in ["data.sock", "admin.sock"] {
        assert!(!path(name).exists(), "{name}");
    }
    assert!(path("tts.sock").exists());
}

#[tokio::test]
async fn a_websocket_passes_between_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    in_front_of(&path("tts.sock"), tunnels::echo().await);
    let _gateway = Program::validating("unused")
        .var(
            "VOXGATE_UPSTREAM",
            format!("unix:{}", path("tts.sock").display()),
        )
        .var(
            "VOXGATE_LISTEN",
            format!("unix:{}", path("data.sock").display()),
        )
        .start();
    let stream = UnixStream::connect(path("data.sock")).await.unwrap();
    let mut request = "ws://localhost/ws3".into_client_request().unwrap();
    let value = format!("Bearer {KEY}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard, Message::text("hello"));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_sockets_name_the_setting() {
    let server = serve(Router::new().fallback(any(|| async {}))).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let made = rcgen::generate_simple_self_signed(["tts.example".to_owned()]).unwrap();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        ("VOXGATE_TLS_CERT_FILE", certificate.display().to_string()),
        ("VOXGATE_TLS_KEY_FILE", key.display().to_string()),
    ];
    let own = format!("unix:{}", directory.path().join("own.sock").display());
    let at = |listen: &str| ("VOXGATE_LISTEN", listen.to_owned());
    for (vars, expected) in [
        (
            vec![at("unix:own.sock")],
            "VOXGATE_LISTEN: must be an IP address and a port",
        ),
        (
            vec![at(&format!("unix:{}", file.display()))],
            "is not a socket; remove it, or name another path",
        ),
        (
            vec![at("unix:/absent/own.sock")],
            "VOXGATE_LISTEN: cannot listen on unix:/absent/own.sock",
        ),
        (
            vec![at(&own), ("VOXGATE_LISTEN_MODE", "rw".to_owned())],
            "VOXGATE_LISTEN_MODE: must be permissions in octal",
        ),
        (
            vec![at(&own), ("VOXGATE_UPSTREAM", own.clone())],
            "forward requests to itself",
        ),
        (
            vec![at(&own), ("VOXGATE_ADMIN_LISTEN", own.clone())],
            "VOXGATE_ADMIN_LISTEN: is also the address of VOXGATE_LISTEN",
        ),
        (
            [&[at(&own)], &tls[..]].concat(),
            "is a Unix socket, which speaks no TLS",
        ),
    ] {
        let mut program = Program::new(&["check"])
            .var("VOXGATE_UPSTREAM", format!("http://{server}"))
            .var("VOXGATE_ADMIN_LISTEN", "127.0.0.1:0")
            .var("VOXGATE_API_KEYS", KEY);
        for (name, value) in vars {
            program = program.var(name, value);
        }
        let (code, _, error) = program.run();
        assert_eq!(code, Some(64), "{expected}: {error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
}
