//! The cases in HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Differences, Gateways, Recorder, cases, unescaped, without_framing};

pub(super) const CASES: &str = include_str!("http1.txt");

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn requests_in_http1_are_answered_and_forwarded_as_written() {
    for h2c in [false, true] {
        let recorder = Recorder::start().await;
        let gateways = Gateways::start(&recorder.url(h2c));
        let mut differences = Differences::default();
        for case in cases(CASES) {
            let request: Vec<u8> = case
                .request
                .iter()
                .flat_map(|line| unescaped(line))
                .collect();
            let verdict = send(gateways.address(&case), &request).await;
            let (mut read, mut expected) = (recorder.take(), case.read.clone());
            if h2c {
                (read, expected) = (without_framing(&read), without_framing(&expected));
            }
            differences.compare(&case, &verdict, &read, &expected);
        }
        differences.assert_none();
        gateways.assert_silent();
    }
}

/// The statuses of all answers until the gateway closes the connection.
async fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A gateway that waits for more of a request fails the case, and does not hold up the others.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let mut statuses = Vec::new();
    let mut rest = answer.as_slice();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        rest = &rest[end + 4..];
        statuses.push(head.split(' ').nth(1).unwrap_or_default().to_owned());
        let length = head.split("\r\ncontent-length: ").nth(1);
        let length = length.map_or(0, |length| {
            length.split("\r\n").next().unwrap().parse().unwrap()
        });
        rest = rest.get(length..).unwrap_or_default();
    }
    match statuses.is_empty() {
        true => "closed".to_owned(),
        false => statuses.join(" "),
    }
}
