//! HTTP/2: a slow stream does not delay others, and unprocessed requests are sent again.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use voxgate_upstream::{Protocol, SendErrorKind};

use super::harness::{PATIENCE, Sender, serve_h2, serve_raw, until};

/// A body that always has more.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 16 * 1024])))))
    }
}

/// Answers that are not read take no window from others, however many they are.
#[tokio::test]
async fn callers_that_do_not_read_hold_no_one_up() {
    let address = serve_h2(None, |request| async move {
        Response::new(match request.uri().path() {
            "/endless" => Endless.boxed(),
            _ => Full::from(vec![1; 100_000]).boxed(),
        })
    })
    .await;
    let sender = Sender::new(Protocol::Http2, &[address]);
    let mut unread = Vec::new();
    for stalled in [3, 12, 29] {
        while unread.len() < stalled {
            unread.push(sender.get("/endless").await.unwrap());
        }
        // Let them fill their windows.
        sleep(Duration::from_millis(100)).await;
        for _ in 0..8 {
            let read = async { sender.get("/").await.unwrap().collect().await.unwrap() };
            let body = timeout(PATIENCE, read).await;
            let body = body.unwrap_or_else(|_| panic!("stands still after {stalled}"));
            assert_eq!(body.to_bytes().len(), 100_000);
        }
    }
}

/// There is no number of calls at which the next one has to wait.
#[tokio::test]
async fn more_calls_than_the_server_allows_streams_get_more_connections() {
    for allowed in [1, 3, 100] {
        let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (enter, seen) = (Arc::clone(&gate), Arc::clone(&waiting));
        let address = serve_h2(Some(allowed), move |_| {
            let (enter, seen) = (Arc::clone(&enter), Arc::clone(&seen));
            async move {
                seen.fetch_add(1, Ordering::Relaxed);
                let _ = enter.acquire().await.unwrap();
                Response::new(Full::<Bytes>::default())
            }
        })
        .await;
        let sender = Sender::new(Protocol::Http2, &[address]);
        let calls = (0..201).map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.get("/").await })
        });
        let calls: Vec<_> = calls.collect();
        until("all calls at the server", || {
            waiting.load(Ordering::Relaxed) == 201
        })
        .await;
        gate.add_permits(1);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        // Few streams each, and no connection for each.
        let streams = u64::from(allowed.min(8));
        let connects = sender.sum(|own| own.connects);
        assert!(
            (201 / streams..=201 / streams + 20).contains(&connects),
            "{connects}"
        );
    }
}

/// Frames of a server, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// Serves the preface.
async fn greet(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    let _ = stream.read_exact(&mut preface).await;
    let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
}

/// Reads until so many streams have ended, and returns their bodies. `None` when the client hangs up.
async fn ended_streams(stream: &mut TcpStream, count: usize) -> Option<Vec<(u32, Vec<u8>)>> {
    let (mut bodies, mut ended) = (std::collections::BTreeMap::<u32, Vec<u8>>::new(), 0);
    while ended < count {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes(id);
        match kind {
            HEADERS => drop(bodies.entry(id).or_default()),
            DATA => bodies.entry(id).or_default().extend(payload),
            SETTINGS if flags & 1 == 0 => {
                let _ = stream.write_all(&frame(SETTINGS, 1, 0, &[])).await;
            }
            _ => {}
        }
        ended += usize::from(matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0);
    }
    Some(bodies.into_iter().collect())
}

/// Frames that arrive in as many parts as they can.
async fn write_bytewise(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.set_nodelay(true);
    for byte in bytes {
        let _ = stream.write_all(&[*byte]).await;
        sleep(Duration::from_millis(1)).await;
    }
}

/// 200, and the end (`:status: 200` is the eighth entry of HPACK's static table).
fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88])
}

/// The first connection does `misbehave`; the next ones answer.
async fn first_connection(
    streams: usize,
    misbehave: fn(&[u32]) -> Vec<u8>,
) -> (Sender, Arc<AtomicUsize>) {
    let texts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&texts);
    let address = serve_raw(move |mut stream, number| {
        let seen = Arc::clone(&seen);
        async move {
            greet(&mut stream).await;
            let count = if number == 0 { streams } else { 1 };
            while let Some(bodies) = ended_streams(&mut stream, count).await {
                let is_text = |body: &&(u32, Vec<u8>)| body.1 == b"text";
                seen.fetch_add(bodies.iter().filter(is_text).count(), Ordering::Relaxed);
                let ids: Vec<u32> = bodies.iter().map(|(id, _)| *id).collect();
                if number == 0 {
                    write_bytewise(&mut stream, &misbehave(&ids)).await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return;
                }
                for id in ids {
                    let _ = stream.write_all(&ok(id)).await;
                }
            }
        }
    })
    .await;
    (Sender::new(Protocol::Http2, &[address]), texts)
}

/// RFC 9113 §8.7: the server has not processed it, whatever the method is.
#[tokio::test]
async fn a_refused_stream_is_sent_again_with_its_body() {
    let refuse = |ids: &[u32]| frame(RST_STREAM, 0, ids[0], &7_u32.to_be_bytes());
    let (sender, texts) = first_connection(1, refuse).await;
    let answer = timeout(PATIENCE, sender.post("/", "text")).await.unwrap();
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(texts.load(Ordering::Relaxed), 2);
    assert_eq!(sender.sum(|own| own.retries), 1);
}

#[tokio::test]
async fn a_stream_that_failed_otherwise_is_not_sent_again() {
    for code in [2_u32, 8] {
        let misbehave = match code {
            2 => |ids: &[u32]| frame(RST_STREAM, 0, ids[0], &2_u32.to_be_bytes()),
            _ => |ids: &[u32]| frame(RST_STREAM, 0, ids[0], &8_u32.to_be_bytes()),
        };
        let (sender, texts) = first_connection(1, misbehave).await;
        let answer = timeout(PATIENCE, sender.post("/", "text")).await.unwrap();
        assert_eq!(answer.unwrap_err().kind(), SendErrorKind::Unreachable);
        assert_eq!(texts.load(Ordering::Relaxed), 1, "{code}");
    }
}

/// RFC 9113 §6.8: streams above the last one were not processed; those below it may have been.
#[tokio::test]
async fn streams_above_the_last_of_a_goaway_are_sent_again() {
    let first_only = |ids: &[u32]| goaway(ids[0], 0);
    let (sender, texts) = first_connection(2, first_only).await;
    let two = join_all([sender.post("/", "text"), sender.post("/", "text")]);
    let answers = timeout(PATIENCE, two).await.unwrap();
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(failed, 1, "{answers:?}");
    assert_eq!(texts.load(Ordering::Relaxed), 3);
    assert_eq!(sender.sum(|own| own.retries), 1);
}

/// The connection of an earlier request says that it is going away: the next one gets another.
#[tokio::test]
async fn a_connection_that_goes_away_gets_no_more_requests() {
    let last = |ids: &[u32]| [ok(ids[0]), goaway(ids[0], 0)].concat();
    let (sender, _) = first_connection(1, last).await;
    for _ in 0..4 {
        let answer = timeout(PATIENCE, sender.post("/", "text")).await.unwrap();
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert!(sender.sum(|own| own.connects) >= 2);
}

/// The orderly end of gRPC servers: all streams so far are served, and the connection gets no more.
#[tokio::test]
async fn an_orderly_end_breaks_nothing_off() {
    let orderly = |ids: &[u32]| {
        let first = goaway(u32::MAX >> 1, 0);
        let answers = ids.iter().flat_map(|id| ok(*id));
        let last = goaway(ids[ids.len() - 1], 0);
        [first, answers.collect(), last].concat()
    };
    let (sender, texts) = first_connection(2, orderly).await;
    let two = join_all([sender.post("/", "text"), sender.post("/", "text")]);
    for answer in timeout(PATIENCE, two).await.unwrap() {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(texts.load(Ordering::Relaxed), 2);
    let answer = timeout(PATIENCE, sender.post("/", "text")).await.unwrap();
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(sender.sum(|own| own.connects), 2);
    assert_eq!(sender.sum(|own| own.retries), 0);
}

/// The server closes its connection when its last answer is out. What the client has to write by then,
/// here the update of a window, fails before the client knows that there is more to read.
#[tokio::test]
async fn an_answer_before_a_reset_is_read_to_its_end() {
    const PART: [u8; 16 * 1024] = [7; 16 * 1024];
    let (hand_over, mut handed) = tokio::sync::mpsc::channel(1);
    let address = serve_raw(move |mut stream, _| {
        let hand_over = hand_over.clone();
        async move {
            greet(&mut stream).await;
            let bodies = ended_streams(&mut stream, 1).await.unwrap();
            let (id, _) = bodies[0];
            let mut sent = frame(HEADERS, END_HEADERS, id, &[0x88]);
            // More than half of the stream's window, so that reading it opens the window again.
            for _ in 0..10 {
                sent.extend(frame(DATA, 0, id, &PART));
            }
            sent.extend(frame(PING, 0, 0, &[0; 8]));
            stream.write_all(&sent).await.unwrap();
            // The answer to the ping: the client has received all of it.
            let mut head = [0; 9];
            while head[3] != PING {
                stream.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await.unwrap();
            }
            let _ = hand_over.send((stream.into_std().unwrap(), id)).await;
        }
    })
    .await;
    let sender = Sender::new(Protocol::Http2, &[address]);
    let answer = timeout(PATIENCE, sender.get("/")).await.unwrap().unwrap();
    let (mut stream, id) = timeout(PATIENCE, handed.recv()).await.unwrap().unwrap();
    // All at once, so that the client finds the connection reset when it writes.
    let rest = [frame(DATA, 0, id, &PART), frame(DATA, END_STREAM, id, &[])].concat();
    std::io::Write::write_all(&mut stream, &rest).unwrap();
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let body = timeout(PATIENCE, answer.collect()).await.unwrap();
    let body = body.expect("the whole answer").to_bytes();
    assert_eq!(body.len(), 11 * PART.len());
}

/// It is found out before the request is sent, so that nothing is lost.
#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_no_connection() {
    let address = serve_raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 24]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let sender = Sender::new(Protocol::Http2, &[address]);
    let answer = timeout(PATIENCE, sender.get("/")).await.unwrap();
    assert_eq!(answer.unwrap_err().kind(), SendErrorKind::Unreachable);
    assert_eq!(sender.sum(|own| own.connects), 0);
}

/// gRPC servers end a connection with `too_many_pings` that is pinged more than once in five minutes
/// without data (gRPC A8).
#[tokio::test(start_paused = true)]
async fn a_silent_call_is_pinged_no_more_than_servers_allow_and_an_idle_connection_never() {
    const HOUR: Duration = Duration::from_secs(3600);
    let pings = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pings);
    let address = serve_raw(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            greet(&mut stream).await;
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let [a, b, c, kind, flags, id @ ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                stream.read_exact(&mut payload).await.unwrap();
                let reply = match kind {
                    SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                    PING if flags & ACK == 0 => {
                        seen.lock().unwrap().push(Instant::now());
                        frame(PING, ACK, 0, &payload)
                    }
                    // The answer begins, and goes on for as long as the caller likes.
                    HEADERS => frame(HEADERS, END_HEADERS, u32::from_be_bytes(id), &[0x88]),
                    _ => continue,
                };
                stream.write_all(&reply).await.unwrap();
            }
        }
    })
    .await;
    let sender = Sender::new(Protocol::Http2, &[address]);
    let answer = sender.post("/", "text").await.unwrap();
    sleep(HOUR).await;
    let times = std::mem::take(&mut *pings.lock().unwrap());
    assert!(times.len() >= 10, "a peer that is gone would not be found");
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart >= Duration::from_secs(300), "{apart:?}");
    }
    drop(answer);
    sleep(Duration::from_secs(1)).await;
    pings.lock().unwrap().clear();
    sleep(HOUR).await;
    assert_eq!(pings.lock().unwrap().len(), 0);
}
