//! The cut. Time stands still but for who waits, so that "within a second" is exact.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tower::{Layer as _, service_fn};
use voxgate::{AuditRecord, AuditSink, AuthLayer};
use voxgate_websocket::Message as ClientMessage;

use super::*;

const WITHIN: Duration = Duration::from_secs(1);
/// What the two sides' connections hold before they have to be read.
const ROOM: usize = 64;

/// A tunnel between two others. The other ends are what the client and the upstream hold.
struct Relayed<S> {
    client: S,
    upstream: S,
    key: Key,
}

struct Key {
    revoke: oneshot::Sender<()>,
    ended: JoinHandle<TunnelProgress>,
}

impl Key {
    /// Revokes the key. The returned task waits for the end.
    fn revoke(self) -> JoinHandle<TunnelProgress> {
        self.revoke_and_wait(WITHIN)
    }

    fn revoke_and_wait(mut self, within: Duration) -> JoinHandle<TunnelProgress> {
        self.revoke.send(()).expect("the tunnel is open");
        tokio::spawn(async move {
            let ended = timeout(within, &mut self.ended).await;
            // Whoever still reads gets its end, and the test its failure.
            self.ended.abort();
            let progress = ended.expect("cut in time").unwrap();
            assert_eq!(progress.ended, Ended::Revoked);
            progress
        })
    }
}

fn between<S>(near: [S; 2], far: [S; 2]) -> Relayed<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    between_inspected(near, far, None, None)
}

fn between_inspected<S>(
    near: [S; 2],
    far: [S; 2],
    inspection: Option<Inspection>,
    idle: Option<Duration>,
) -> Relayed<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let [client, upstream] = near;
    let (revoke, revoked) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let mut progress = TunnelProgress::default();
        let revoked = async { revoked.await.expect("revoked, or held by the test") };
        let client = (client, Vec::new());
        let readers = Readers {
            inspection,
            usage: None,
        };
        relay(client, upstream, readers, revoked, idle, &mut progress).await;
        progress
    });
    let [client, upstream] = far;
    Relayed {
        client,
        upstream,
        key: Key { revoke, ended },
    }
}

fn relayed() -> Relayed<DuplexStream> {
    let (client, client_end) = duplex(ROOM);
    let (upstream, upstream_end) = duplex(ROOM);
    between([client, upstream], [client_end, upstream_end])
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// The Close frame of a tunnel whose key no longer counts.
fn close(mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::new();
    Farewell::revoked().close.write(mask, &mut frame);
    frame
}

/// An unmasked frame of binary data, `size` bytes in all.
fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82, (size - 2) as u8];
    frame.resize(size, 7);
    frame
}

async fn read(from: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn read_all(from: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Reads all, and takes the mask off the one Close frame that it expects.
async fn read_close(from: &mut DuplexStream) {
    let bytes = read_all(from).await;
    assert_eq!(bytes.len(), close(Some([0; 4])).len(), "{bytes:?}");
    let mask = bytes[2..6].try_into().unwrap();
    assert_eq!(bytes, close(Some(mask)));
}

fn assert_told(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) {
    match message {
        Some(Ok(Message::Close(Some(frame)))) => {
            assert_eq!(frame.code, CloseCode::Policy);
            assert_eq!(frame.reason.as_str(), "key no longer valid");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_sides_are_told_over_real_sockets_and_nothing_is_lost_to_a_reset() {
    let (client, client_end) = tcp().await;
    let (upstream, upstream_end) = tcp().await;
    let Relayed {
        client,
        upstream,
        key,
    } = between([client, upstream], [client_end, upstream_end]);
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    // Fails on a frame without a mask.
    let mut upstream = WebSocketStream::from_raw_socket(upstream, Role::Server, None).await;
    client.send(Message::text("say")).await.unwrap();
    assert_eq!(
        upstream.next().await.unwrap().unwrap(),
        Message::text("say")
    );
    upstream.send(Message::text("spoken")).await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::text("spoken")
    );

    // This clock is the real one, of a machine that may be busy.
    let ended = key.revoke_and_wait(Duration::from_secs(300));
    // Not read by anybody: it would reset the connection.
    client.feed(Message::binary(vec![0; 4096])).await.unwrap();
    client.flush().await.unwrap();
    assert_told(client.next().await);
    assert_told(upstream.next().await);
    assert!(client.next().await.is_none());
    assert!(upstream.next().await.is_none());
    let progress = ended.await.unwrap();
    assert_eq!(progress.to_upstream.into_inner(), 2 + 4 + 3);
    assert_eq!(progress.to_client.into_inner(), 2 + 6);
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_finished_and_the_next_one_is_not_begun() {
    let mut relayed = relayed();
    let (begun, rest) = (&frame(50)[..1], &frame(50)[1..]);
    relayed.upstream.write_all(begun).await.unwrap();
    assert_eq!(read(&mut relayed.client, 1).await, begun);
    let ended = relayed.key.revoke();
    sleep(GRACE / 2).await;
    let more = [rest, &frame(10)].concat();
    relayed.upstream.write_all(&more).await.unwrap();
    let expected = [rest, &close(None)].concat();
    assert_eq!(read_all(&mut relayed.client).await, expected);
    drop(relayed.client);
    read_close(&mut relayed.upstream).await;
    assert_eq!(ended.await.unwrap().to_client.into_inner(), 50);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_and_not_yet_written_is_finished_as_well() {
    let mut relayed = relayed();
    let bytes = [frame(ROOM + 10), frame(20)].concat();
    let written = bytes.clone();
    tokio::spawn(async move {
        relayed.upstream.write_all(&written).await.unwrap();
        pending::<()>().await;
    });
    // All that the client's connection holds, and nothing is read.
    sleep(GRACE).await;
    let ended = relayed.key.revoke();
    sleep(GRACE / 2).await;
    let expected = [&bytes[..ROOM + 10], &close(None)].concat();
    assert_eq!(read_all(&mut relayed.client).await, expected);
    let sent = ended.await.unwrap().to_client.into_inner();
    assert_eq!(sent, ROOM as u64 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_stops_is_not_waited_for() {
    let mut relayed = relayed();
    let begun = &frame(50)[..20];
    relayed.upstream.write_all(begun).await.unwrap();
    assert_eq!(read(&mut relayed.client, 20).await, begun);
    let ended = relayed.key.revoke();
    assert!(read_all(&mut relayed.client).await.is_empty());
    ended.await.unwrap();
    read_close(&mut relayed.upstream).await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_without_end_is_cut_although_it_goes_on() {
    let mut relayed = relayed();
    let header = [0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    let upstream = tokio::spawn(async move {
        relayed.upstream.write_all(&header).await.unwrap();
        while relayed.upstream.write_all(&[7]).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(read(&mut relayed.client, 10).await, header);
    let ended = relayed.key.revoke();
    let rest = read_all(&mut relayed.client).await;
    assert!(rest.iter().all(|byte| *byte == 7), "{rest:?}");
    ended.await.unwrap();
    upstream.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_in_a_frame_and_between_frames() {
    for sent in [
        frame(ROOM + 1),
        frame(ROOM),
        [frame(ROOM), frame(9)].concat(),
    ] {
        let mut relayed = relayed();
        relayed.upstream.write_all(&sent[..ROOM]).await.unwrap();
        let rest = sent[ROOM..].to_vec();
        sleep(GRACE).await;
        relayed.upstream.write_all(&rest).await.unwrap();
        let progress = relayed.key.revoke().await.unwrap();
        assert_eq!(progress.to_client.into_inner(), ROOM as u64);
        assert_eq!(read_all(&mut relayed.client).await, sent[..ROOM]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_nothing_is_cut_between_frames() {
    let mut relayed = relayed();
    relayed.client.write_all(&frame(ROOM)).await.unwrap();
    sleep(GRACE).await;
    let progress = relayed.key.revoke().await.unwrap();
    assert_eq!(progress.to_upstream.into_inner(), ROOM as u64);
    assert_eq!(read_all(&mut relayed.client).await, close(None));
}

#[tokio::test(start_paused = true)]
async fn two_sides_that_neither_take_nor_stop_sending_are_cut() {
    let relayed = relayed();
    for mut end in [relayed.client, relayed.upstream] {
        tokio::spawn(async move {
            while end.write_all(&frame(60)).await.is_ok() {}
            pending::<()>().await;
        });
    }
    sleep(GRACE).await;
    relayed.key.revoke().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_sides_that_take_everything_and_never_stop_sending_are_cut() {
    let relayed = relayed();
    let mut sides = Vec::new();
    for end in [relayed.client, relayed.upstream] {
        let (mut reader, mut writer) = split(end);
        sides.push(tokio::spawn(async move {
            let sent = async {
                while writer.write_all(&frame(60)).await.is_ok() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let mut read = Vec::new();
            let (_, received) = tokio::join!(sent, reader.read_to_end(&mut read));
            received.unwrap();
            read
        }));
    }
    sleep(GRACE).await;
    relayed.key.revoke().await.unwrap();
    for side in sides {
        let mut frames = frames::Frames::default();
        frames.advance(&side.await.unwrap(), None);
        assert!(frames.at_boundary() && frames.closed());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_closed_is_not_closed_again() {
    let theirs = [0x88, 2, 0x03, 0xe8];
    let mut relayed = relayed();
    relayed.upstream.write_all(&theirs).await.unwrap();
    assert_eq!(read(&mut relayed.client, 4).await, theirs);
    let ended = relayed.key.revoke();
    assert!(read_all(&mut relayed.client).await.is_empty());
    read_close(&mut relayed.upstream).await;
    ended.await.unwrap();

    let theirs = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    let mut relayed = self::relayed();
    relayed.client.write_all(&theirs).await.unwrap();
    assert_eq!(read(&mut relayed.upstream, 8).await, theirs);
    let ended = relayed.key.revoke();
    assert_eq!(read_all(&mut relayed.client).await, close(None));
    assert!(read_all(&mut relayed.upstream).await.is_empty());
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_has_gone_ends_the_tunnel_as_revoked_all_the_same() {
    let mut relayed = relayed();
    drop(relayed.upstream);
    assert!(read_all(&mut relayed.client).await.is_empty());
    relayed.key.revoke().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_clients_goes_upstream_from_the_moment_of_the_cut() {
    // Sent, but not read yet.
    let mut relayed = relayed();
    yield_now().await;
    relayed.client.write_all(&frame(30)).await.unwrap();
    let ended = relayed.key.revoke();
    // Sent while the cut is under way; more than there is room for, so that it has to be read.
    assert_eq!(
        read(&mut relayed.client, close(None).len()).await,
        close(None)
    );
    assert!(read_all(&mut relayed.client).await.is_empty());
    relayed.client.write_all(&frame(ROOM)).await.unwrap();
    relayed.client.write_all(&frame(ROOM)).await.unwrap();
    assert!(!ended.is_finished(), "the client can still send");
    drop(relayed.client);
    // What the upstream goes on to send is read as well, until it has seen the close.
    relayed.upstream.write_all(&frame(ROOM)).await.unwrap();
    relayed.upstream.write_all(&frame(ROOM)).await.unwrap();
    read_close(&mut relayed.upstream).await;
    assert_eq!(ended.await.unwrap().to_upstream.into_inner(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_amid_a_frame_of_the_clients_gets_neither_its_rest_nor_a_close() {
    let mut relayed = relayed();
    let sent = [frame(ROOM - 10), frame(40)].concat();
    let (first, second) = sent.split_at(ROOM - 10);
    relayed.client.write_all(first).await.unwrap();
    sleep(GRACE).await;
    relayed.client.write_all(second).await.unwrap();
    sleep(GRACE).await;
    // The upstream's connection is full, and the rest of the frame has been read.
    let ended = relayed.key.revoke();
    yield_now().await;
    assert_eq!(read_all(&mut relayed.upstream).await, sent[..ROOM]);
    assert_eq!(read_all(&mut relayed.client).await, close(None));
    assert_eq!(ended.await.unwrap().to_upstream.into_inner(), ROOM as u64);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_more_is_who_broke_off() {
    let mut relayed = relayed();
    drop(relayed.client);
    relayed.upstream.write_all(&frame(10)).await.unwrap();
    let progress = relayed.key.ended.await.unwrap();
    assert_eq!(progress.ended, Ended::ClientAbort);
    assert_eq!(progress.to_client.into_inner(), 0);

    let mut relayed = self::relayed();
    drop(relayed.upstream);
    relayed.client.write_all(&frame(10)).await.unwrap();
    let progress = relayed.key.ended.await.unwrap();
    assert_eq!(progress.ended, Ended::UpstreamAbort);
}

/// How a tunnel ended, and what it carried to the client and from it.
type End = (Ended, u64, Option<u64>);

#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<End>>>);

impl AuditSink for Ends {
    fn record(&self, record: &AuditRecord<'_>) {
        if let AuditRecord::Completion(end) = record {
            let carried = (end.ended, end.bytes_sent, end.bytes_received);
            self.0.lock().unwrap().push(carried);
        }
    }
}

/// A connection that is upgraded when its head has been read; with a tunnel for the record.
async fn upgrade(ends: &Ends) -> (DuplexStream, OnUpgrade, Tunnel) {
    let (mut far, near) = duplex(ROOM);
    let (found, mut upgrades) = tokio::sync::mpsc::unbounded_channel();
    let switch = service_fn(move |mut request: Request<Incoming>| {
        let tunnel = request.extensions_mut().remove::<Tunnel>().unwrap();
        found.send((hyper::upgrade::on(request), tunnel)).unwrap();
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [(CONNECTION, "upgrade"), (UPGRADE, "websocket")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async { Ok::<_, Infallible>(response) }
    });
    let gate = AuthLayer::preconfigured()
        .with_audit_sink(ends.clone())
        .layer(switch);
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(near), TowerToHyperService::new(gate))
        .with_upgrades();
    tokio::spawn(served);
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    far.write_all(head.as_bytes()).await.unwrap();
    let (upgraded, tunnel) = upgrades.recv().await.unwrap();
    (far, upgraded, tunnel)
}

async fn read_head(from: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_before_the_tunnel_has_begun_ends_it_in_time_and_on_record() {
    for reads in [true, false] {
        let ends = Ends::default();
        let (mut client, client_end, tunnel) = upgrade(&ends).await;
        let (mut upstream, upstream_end, _) = upgrade(&Ends::default()).await;
        let revoked = std::future::ready(());
        let carried = carry(
            tunnel,
            ClientEnd::Answered(client_end),
            upstream_end,
            Readers::default(),
            revoked,
            None,
        );
        let carried = tokio::spawn(timeout(WITHIN, carried));
        if reads {
            sleep(GRACE / 2).await;
            tokio::join!(read_head(&mut client), read_head(&mut upstream));
            assert_eq!(read_all(&mut client).await, close(None));
            drop(client);
            read_close(&mut upstream).await;
        }
        carried.await.unwrap().expect("cut within a second");
        let ends = ends.0.lock().unwrap();
        assert_eq!(*ends, [(Ended::Revoked, 0, Some(0))], "{reads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_carries_nothing_is_closed_as_going_away_and_one_in_use_is_not() {
    let idle = Duration::from_secs(60);
    let (client, client_end) = duplex(ROOM);
    let (upstream, upstream_end) = duplex(ROOM);
    let near = [client, upstream];
    let mut relayed = between_inspected(near, [client_end, upstream_end], None, Some(idle));
    let going_away = |mask| {
        let mut close = Vec::new();
        Farewell::idle().close.write(mask, &mut close);
        close
    };
    // One byte in each direction in turn, each before the limit.
    for _ in 0..4 {
        sleep(idle - Duration::from_secs(1)).await;
        relayed.upstream.write_all(&frame(8)).await.unwrap();
        assert_eq!(read(&mut relayed.client, 8).await, frame(8));
        sleep(idle - Duration::from_secs(1)).await;
        relayed.client.write_all(&frame(9)).await.unwrap();
        assert_eq!(read(&mut relayed.upstream, 9).await, frame(9));
    }
    let used = Instant::now();
    let told = read(&mut relayed.client, going_away(None).len()).await;
    assert_eq!(told, going_away(None));
    assert_eq!(&told[2..4], 1001u16.to_be_bytes());
    assert!(used.elapsed() >= idle && used.elapsed() <= idle * 3 / 2);
    let masked = read(&mut relayed.upstream, told.len() + 4).await;
    let mask = masked[2..6].try_into().unwrap();
    assert_eq!(masked, going_away(Some(mask)));
    let progress = timeout(WITHIN, relayed.key.ended).await.unwrap().unwrap();
    assert_eq!(progress.ended, Ended::Timeout);
    assert_eq!(progress.to_client.into_inner(), 4 * 8);
}

/// Refuses a message that says so, and changes all others.
struct Censor;

impl Inspect for Censor {
    fn inspect(&mut self, message: ClientMessage) -> Result<ClientMessage, Refusal> {
        match message.as_text() {
            Some("refused") => {
                let told = ClientMessage::text("not allowed");
                Err(Refusal::new("not allowed here", 1008, Some(told)))
            }
            Some(text) => Ok(ClientMessage::text(text.replace("secret", "***"))),
            None => Ok(message),
        }
    }
}

/// An inspected tunnel between real sockets.
async fn inspected() -> (
    WebSocketStream<TcpStream>,
    TcpStream,
    JoinHandle<TunnelProgress>,
) {
    let (client, client_end) = tcp().await;
    let (upstream, upstream_end) = tcp().await;
    let mut inspection = Inspection::new();
    inspection.add(Censor);
    let relayed = between_inspected(
        [client, upstream],
        [client_end, upstream_end],
        Some(inspection),
        None,
    );
    let client = WebSocketStream::from_raw_socket(relayed.client, Role::Client, None).await;
    // The key stays in force.
    let Key { revoke, ended } = relayed.key;
    std::mem::forget(revoke);
    (client, relayed.upstream, ended)
}

#[tokio::test]
async fn an_inspected_message_goes_upstream_changed_and_in_one_frame() {
    let (mut client, upstream, _) = inspected().await;
    let mut upstream = WebSocketStream::from_raw_socket(upstream, Role::Server, None).await;
    // Two fragments, and a Ping between them.
    let fragment = |bytes: &[u8], opcode, is_final| {
        let payload = bytes.to_vec();
        Message::Frame(Frame::message(payload, opcode, is_final))
    };
    let first = OpCode::Data(Data::Text);
    client.feed(fragment(b"a sec", first, false)).await.unwrap();
    client.feed(Message::Ping("?".into())).await.unwrap();
    let rest = OpCode::Data(Data::Continue);
    client.send(fragment(b"ret", rest, true)).await.unwrap();
    let ping = upstream.next().await.unwrap().unwrap();
    assert_eq!(ping, Message::Ping("?".into()));
    let text = upstream.next().await.unwrap().unwrap();
    assert_eq!(text, Message::text("a ***"));
    upstream.send(Message::text("secret")).await.unwrap();
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::Pong("?".into())
    );
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::text("secret")
    );
    client.send(Message::binary(vec![7; 70_000])).await.unwrap();
    let binary = upstream.next().await.unwrap().unwrap();
    assert_eq!(binary, Message::binary(vec![7; 70_000]));
    client.close(None).await.unwrap();
    assert!(upstream.next().await.unwrap().unwrap().is_close());
}

#[tokio::test]
async fn a_refused_message_closes_the_tunnel_and_nothing_of_it_goes_upstream() {
    let (mut client, upstream, ended) = inspected().await;
    let mut upstream = WebSocketStream::from_raw_socket(upstream, Role::Server, None).await;
    client.send(Message::text("first")).await.unwrap();
    let first = upstream.next().await.unwrap().unwrap();
    assert_eq!(first, Message::text("first"));
    client.send(Message::text("refused")).await.unwrap();
    let told = client.next().await.unwrap().unwrap();
    assert_eq!(told, Message::text("not allowed"));
    for closed in [
        client.next().await.unwrap().unwrap(),
        upstream.next().await.unwrap().unwrap(),
    ] {
        let Message::Close(Some(close)) = closed else {
            panic!("{closed:?}");
        };
        assert_eq!(close.code, CloseCode::Policy);
        assert_eq!(close.reason.as_str(), "not allowed here");
    }
    assert_eq!(ended.await.unwrap().ended, Ended::Refused);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_so() {
    for (sent, code) in [
        (&[0x81, 1, b'a'][..], 1002),
        (&[0xc1, 0x81, 0, 0, 0, 0, b'a'], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0], 1009),
    ] {
        let (client, mut upstream, ended) = inspected().await;
        let mut client = client.into_inner();
        client.write_all(sent).await.unwrap();
        let mut told = [0; 4];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told[0], 0x88);
        assert_eq!(u16::from_be_bytes([told[2], told[3]]), code);
        // The upstream gets the Close frame and nothing else.
        let mut got = [0; 2];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(got[0], 0x88);
        drop((client, upstream));
        assert_eq!(ended.await.unwrap().ended, Ended::Refused);
    }
}

#[tokio::test(start_paused = true)]
async fn no_message_is_put_between_the_fragments_of_the_upstreams() {
    let (client, client_end) = duplex(1024);
    let (upstream, upstream_end) = duplex(1024);
    let mut inspection = Inspection::new();
    inspection.add(Censor);
    let mut relayed = between_inspected(
        [client, upstream],
        [client_end, upstream_end],
        Some(inspection),
        None,
    );
    let fragment = [0x01, 1, b'a'];
    relayed.upstream.write_all(&fragment).await.unwrap();
    assert_eq!(read(&mut relayed.client, 3).await, fragment);
    let mut refused = Vec::new();
    ClientMessage::text("refused").write(Some([1, 2, 3, 4]), &mut refused);
    relayed.client.write_all(&refused).await.unwrap();
    assert_eq!(read(&mut relayed.client, 1).await, [0x88]);
    read_all(&mut relayed.client).await;
    let progress = relayed.key.ended.await.unwrap();
    assert_eq!(progress.ended, Ended::Refused);
}
