//! Several addresses: some silent, some down, some restarted.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use voxgate_upstream::{Protocol, SendErrorKind, Settings};

use super::harness::{PATIENCE, Sender, serve_raw, settings, until};

async fn server() -> SocketAddr {
    serve_raw(|stream, _| answer(stream)).await
}

async fn answer(mut stream: TcpStream) {
    while let Ok(1..) = stream.read(&mut [0; 1024]).await {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    }
}

/// An address that accepts no connection and refuses none: its queue is full.
async fn silent() -> (Socket, SocketAddr, Vec<tokio::task::JoinHandle<()>>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let _connected = TcpStream::connect(address).await;
                std::future::pending().await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    (socket, address, waiting)
}

/// An address where nobody listens, and that nobody else can have while the socket is there.
fn nowhere() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

async fn succeeds(sender: &Sender) {
    let answer = timeout(PATIENCE, sender.get("/")).await.unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.collect().await.unwrap();
}

/// The connect timeout is long, so that waiting for it would fail the test.
#[tokio::test]
async fn a_silent_address_does_not_keep_requests_from_another() {
    let (_socket, silent, _waiting) = silent().await;
    let patient = Settings {
        connect_timeout: PATIENCE * 10,
        ..settings()
    };
    let sender = Sender::with(patient, Protocol::Http1, &[silent, server().await]);
    for _ in 0..8 {
        succeeds(&sender).await;
    }
}

#[tokio::test]
async fn an_address_that_refuses_is_left_out_until_it_accepts_again() {
    let (socket, down) = nowhere();
    let sender = Sender::new(Protocol::Http1, &[down, server().await]);
    // No request fails, whichever address it was for.
    let mut sent = 0;
    while sender.sum(|own| own.addresses_out as u64) == 0 {
        // Each needs a connection of its own.
        let answers = [sender.get("/"), sender.get("/"), sender.get("/")];
        for answer in futures_util::future::join_all(answers).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
        sent += 1;
        assert!(sent < 1_000, "the address is not left out");
    }
    assert_eq!(sender.sum(|own| own.ejections), 1);
    drop(socket);
    let listener = TcpListener::bind(down).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    until("back", || sender.sum(|own| own.addresses_out as u64) == 0).await;
    succeeds(&sender).await;
}

#[tokio::test]
async fn when_all_are_out_requests_are_refused_at_once() {
    let (_socket, down) = nowhere();
    let sender = Sender::new(Protocol::Http1, &[down]);
    for _ in 0..3 {
        let error = sender.get("/").await.unwrap_err();
        assert_eq!(error.kind(), SendErrorKind::Unreachable);
    }
    let error = sender.get("/").await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::AllOut);
    assert_eq!(sender.sum(|own| own.connect_failures), 3);
}

#[tokio::test]
async fn a_name_is_resolved_by_the_first_request() {
    let address = server().await;
    let listener_port = address.port();
    let name = voxgate_upstream::Server::new(
        format!("localhost:{listener_port}").parse().unwrap(),
        Protocol::Http1,
    );
    let upstream = voxgate_upstream::Upstream::new(
        vec![name.unwrap()],
        std::sync::Arc::new(settings()),
        1,
        std::sync::Arc::new(tokio::sync::Semaphore::new(10)),
    );
    let mut sender = Sender::new(Protocol::Http1, &[]);
    sender.upstream = std::sync::Arc::new(upstream);
    for _ in 0..4 {
        succeeds(&sender).await;
    }
    assert!(sender.sum(|own| own.addresses as u64) >= 1);
}

#[tokio::test]
async fn a_server_that_fails_its_health_check_gets_no_requests() {
    let ill = serve_raw(|mut stream, _| async move {
        while let Ok(1..) = stream.read(&mut [0; 1024]).await {
            let _ = stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let checking = Settings {
        health: Some("GET /health".parse().unwrap()),
        ..settings()
    };
    let sender = Sender::with(checking, Protocol::Http1, &[ill, server().await]);
    let upstream = std::sync::Arc::clone(&sender.upstream);
    tokio::spawn(async move { upstream.maintain().await });
    until("out", || sender.sum(|own| own.addresses_out as u64) == 1).await;
    for _ in 0..8 {
        succeeds(&sender).await;
    }
    assert!(sender.sum(|own| own.failed_checks) >= 2);
}
