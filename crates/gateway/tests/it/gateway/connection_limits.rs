//! One client cannot take all connections.

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, Started, serve, wait_until};
use super::lifecycle::admin;
use super::rejections::{client, connect_from};

fn request() -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n")
}

/// Sends a request on this connection. Returns the status of its answer.
async fn ask(stream: &mut TcpStream) -> Option<u16> {
    stream.write_all(request().as_bytes()).await.ok()?;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.ok()?;
    let text = std::str::from_utf8(&answer[..read]).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

/// Whether the gateway has closed this connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 1]).await, Ok(1..))
}

async fn metric(gateway: &Started, name: &str) -> u64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("no {name}: {metrics}"))
        .trim()
        .parse()
        .unwrap()
}

async fn upstream() -> std::net::SocketAddr {
    serve(Router::new().route("/", axum::routing::get(|| async { "audio" }))).await
}

/// The silent ones of a client give way to its next one. Those in use stay, and another client does
/// not notice.
#[tokio::test]
async fn a_client_with_too_many_connections_loses_those_that_never_spoke() {
    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_CONNECTIONS_PER_CLIENT", "4")
        .start();
    let address = gateway.address;
    let mut served = connect_from(client(1), address).await;
    assert_eq!(ask(&mut served).await, Some(200));
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect_from(client(1), address).await);
    }
    let mut other = connect_from(client(2), address).await;
    assert_eq!(ask(&mut other).await, Some(200));
    // A connection is not closed before it had a moment to send its request.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut in_use = Vec::new();
    for _ in 0..silent.len() {
        let mut next = connect_from(client(1), address).await;
        assert_eq!(ask(&mut next).await, Some(200));
        // Those that were served are not closed for others.
        in_use.push(next);
    }
    for silent in &mut silent {
        assert!(is_closed(silent).await);
    }
    let mut beyond = connect_from(client(1), address).await;
    assert!(is_closed(&mut beyond).await, "all of them are in use");
    assert_eq!(ask(&mut served).await, Some(200));
    assert_eq!(ask(&mut other).await, Some(200));
    let evicted = metric(&gateway, "voxgate_rejections_total{reason=\"evicted\"}").await;
    assert_eq!(evicted, 3);
    let name = "voxgate_rejections_total{reason=\"connection_limit\"}";
    assert_eq!(metric(&gateway, name).await, 1);
    let peer = format!("{}:", client(1));
    let record = gateway.wait_for_record("rejection", |record| {
        record["event"] == "rejected" && record["reason"] == "connection_limit"
    });
    assert!(
        record["peer"].as_str().unwrap().starts_with(&peer),
        "{record}"
    );
}

/// Silent connections of many clients take every connection there is. A newcomer is served at once.
#[tokio::test]
async fn silent_connections_do_not_keep_a_newcomer_out() {
    // The limit of open files decides how many connections there are: (200 - 64) / 2.
    let inside = ["sh", "-c", "ulimit -n 200; exec \"$@\"", "-"];
    let gateway = Program::validating(upstream().await)
        .inside(&inside)
        .start();
    let before = gateway.open_files();
    let mut silent = Vec::new();
    for number in 0..90 {
        silent.push(connect_from(client(number % 30), gateway.address).await);
    }
    for number in 40..50 {
        let mut newcomer = connect_from(client(number), gateway.address).await;
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), ask(&mut newcomer));
        // Less than the idle time, after which silent connections are closed in any case.
        assert_eq!(answer.await.expect("in time"), Some(200));
    }
    assert!(metric(&gateway, "voxgate_connections").await <= 68);
    drop(silent);
    wait_until("files back to the start", || {
        // The upstream's connection stays for the next request.
        (gateway.open_files() <= before + 4).then_some(())
    })
    .await;
}
