//! Requests that two servers could cut out of one connection in two ways (RFC 9112 §11.2).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, serve_raw, wait_until};

/// What an upstream was sent, on all connections, and how many of them are open.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<(Vec<u8>, usize)>>);

/// An upstream that keeps every byte it is sent, and answers each read with an empty 200.
async fn recorder() -> (Received, SocketAddr) {
    let received = Received::default();
    let keep = received.clone();
    let address = serve_raw(move |mut stream| {
        let keep = keep.clone();
        keep.0.lock().unwrap().1 += 1;
        async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                keep.0.lock().unwrap().0.extend_from_slice(&buffer[..read]);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
            keep.0.lock().unwrap().1 -= 1;
        }
    })
    .await;
    (received, address)
}

/// Everything that the gateway says to these bytes, until one of both closes.
async fn talk(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may close before it has read everything.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn nothing_is_forwarded_that_was_not_judged() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Voxgate-Key-Id: root\r\n\r\n";
    let length = smuggled.len();
    let hidden = format!("0\r\n\r\n{smuggled}");
    for headers in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked",
            hidden.len()
        ),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}",
            hidden.len()
        ),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}"),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding:\u{b}chunked".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5".to_owned(),
        "Content-Length: +5".to_owned(),
        "Content-Length: 5, 5".to_owned(),
        " Folded: header".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked".to_owned(),
        format!(
            "Connection: content-length\r\nContent-Length: {}",
            hidden.len()
        ),
        format!(
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: {}",
            hidden.len()
        ),
    ] {
        let request = format!(
            "POST /judged HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n\r\n{hidden}"
        );
        let (received, upstream) = recorder().await;
        let mut gateway = Program::validating(upstream).start();
        let said = talk(gateway.address, &request).await;
        gateway.terminate();
        gateway.exit_status().await;
        let nothing_more = || (received.0.lock().unwrap().1 == 0).then_some(());
        wait_until("end of the upstream's connections", nothing_more).await;
        // The second request, if it was one, had no key.
        let accepted = said.matches("HTTP/1.1 200").count();
        assert!(accepted <= 1, "{headers:?}: {said}");
        let seen = String::from_utf8_lossy(&received.0.lock().unwrap().0).into_owned();
        let requests = requests(&seen);
        assert!(
            requests <= 1,
            "{headers:?}: the upstream read {requests} requests in {seen:?}"
        );
        assert!(
            seen.is_empty() || seen.starts_with("POST /judged "),
            "{seen:?}"
        );
    }
}

/// How many requests a server reads in these bytes that takes `Content-Length` and chunks for
/// what RFC 9112 §6 says they are.
fn requests(mut bytes: &str) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = bytes.split_once("\r\n\r\n") {
        count += 1;
        let head = head.to_ascii_lowercase();
        let length = head.split("\r\ncontent-length: ").nth(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap()
        });
        let chunked = head.contains("\r\ntransfer-encoding: chunked");
        assert!(!(chunked && length.is_some()), "both in {head:?}");
        bytes = if chunked {
            rest.split_once("0\r\n\r\n").map_or("", |(_, after)| after)
        } else {
            rest.get(length.unwrap_or(0)..).unwrap_or("")
        };
    }
    count
}
