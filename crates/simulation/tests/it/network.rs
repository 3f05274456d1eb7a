//! The network delays, keeps the order, and delivers after a partition what was sent into it.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::AsyncStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};
use voxgate_simulation::network::{Accepted, Network, Weather};

const CLIENT: usize = 1;
const SERVER: usize = 2;
const WEATHER: Weather = Weather {
    delay_millis: (2, 4),
    lost_per_million: 0,
};

type Client = Box<dyn AsyncStream + Send + Unpin>;

async fn connected(network: &Network) -> (Client, Accepted) {
    let mut accepted = network.listen(SERVER, "redis:6379");
    let client = network
        .dial(CLIENT, "redis", 6379)
        .await
        .expect("a connection");
    (client, accepted.recv().await.expect("accepted"))
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_late_and_in_order() {
    let network = Network::new(1, WEATHER);
    let (mut client, mut server) = connected(&network).await;
    let begun = Instant::now();
    for byte in 0..20 {
        client.write_all(&[byte]).await.expect("sent");
    }
    let mut received = Vec::new();
    while received.len() < 20 {
        received.extend(server.incoming.receive().await.expect("bytes"));
    }
    assert_eq!(received, (0..20).collect::<Vec<u8>>());
    let took = begun.elapsed();
    assert!((2..=4).contains(&took.as_millis()), "{took:?}");
    server
        .outgoing
        .send(Bytes::from_static(b"+OK"), Instant::now());
    let mut answer = [0; 3];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"+OK");
}

/// A gateway that has given up has sent its command nevertheless.
#[tokio::test(start_paused = true)]
async fn what_is_sent_into_a_partition_arrives_after_it() {
    let network = Network::new(1, WEATHER);
    let (mut client, mut server) = connected(&network).await;
    network.separate([CLIENT]);
    assert!(!network.reaches(CLIENT, SERVER));
    client.write_all(b"late").await.expect("sent");
    drop(client);
    let second = Duration::from_secs(1);
    let during = timeout(5 * second, server.incoming.receive()).await;
    assert!(during.is_err(), "nothing arrives");
    let connecting = timeout(second, network.dial(CLIENT, "redis", 6379)).await;
    assert!(
        connecting.is_err(),
        "nothing says that the host is not reached"
    );
    network.heal();
    let healed = Instant::now();
    let late = server.incoming.receive().await.expect("bytes");
    assert_eq!(&late[..], b"late");
    assert!(
        healed.elapsed() <= 6 * second,
        "within the pause of the retransmission"
    );
    assert_eq!(server.incoming.receive().await, None, "it was closed");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_resets_its_connections() {
    let network = Network::new(1, WEATHER);
    let (mut client, _server) = connected(&network).await;
    sleep(Duration::from_secs(1)).await;
    network.stop(SERVER);
    let error = client.read_u8().await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let refused = network.dial(CLIENT, "redis", 6379).await.map(drop);
    let refused = refused.expect_err("no server").kind();
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
}
