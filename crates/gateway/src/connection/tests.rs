//! Connections over real sockets, with short time limits.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use http::StatusCode;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::service_fn;
use voxgate::audit::Ended;
use voxgate::{AuditRecord, AuditSink, AuthLayer, SpeechOptions};

use super::frames::{DATA, FrameReader, HEADERS, RST_STREAM};
use super::*;
use crate::minting::keys_alone;

const PATIENCE: Duration = Duration::from_secs(60);
const PART: usize = 64 * 1024;

/// How each request ended.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<End>>>);

type End = (Option<StatusCode>, Ended);

impl AuditSink for Ends {
    fn record(&self, record: &AuditRecord<'_>) {
        if let AuditRecord::Completion(end) = record {
            let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ends.push((end.status, end.ended));
        }
    }
}

/// An answer without an end, as the upstream would give it.
struct Endless {
    /// Dropped with the answer.
    _alive: Arc<()>,
    given: Arc<AtomicUsize>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.given.fetch_add(PART, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; PART])))))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short one");
    [
        &[0, 0, length, kind, flags][..],
        &stream.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
fn window(size: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
}

/// `GET /` with the authority `a`.
fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, 5, stream, b"\x82\x86\x84\x41\x01a")
}

/// A client that never opens a window holds nothing for longer than the time limit: each of its streams
/// is reset, the connection goes on, and a stream that is read is served.
#[tokio::test]
async fn streams_whose_client_opens_no_window_end() {
    let (ends, alive) = (Ends::default(), Arc::new(()));
    let given = Arc::new(AtomicUsize::new(0));
    let proxy = {
        // Shared, so that a clone of the service does not count as an answer.
        let shared = Arc::new((Arc::clone(&alive), Arc::clone(&given)));
        service_fn(move |_: Request<ForwardedBody>| {
            let (alive, given) = &*shared;
            let body = Endless {
                _alive: Arc::clone(alive),
                given: Arc::clone(given),
            };
            async move { Ok::<_, Infallible>(Response::new(body)) }
        })
    };
    let server = Server {
        first_messages: None,
        credential_header: None,
        auth: keys_alone(AuthLayer::preconfigured())
            .with_audit_sink(ends.clone())
            .with_speech(SpeechOptions::default()),
        tls: None,
        clients: ClientAddresses::default(),
        browsers: BrowserLayer::default(),
        traces: TraceContextLayer::default(),
        proxy,
        usage: crate::usage::in_memory(),
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        write_stall: Duration::from_millis(500),
        rejections: Arc::new(Rejections::new(Arc::new(ends.clone()), Default::default())),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (limiter, stop) = (ConnectionLimiter::new(8, 8), CancellationToken::new());
    let (limits, tasks) = (limiter.clone(), TaskTracker::new());
    tokio::spawn(accept(
        ClientListener::Tcp(listener),
        server,
        limits,
        stop,
        tasks,
    ));
    // Those of the proxy itself.
    let idle = Arc::strong_count(&alive);

    let mut client = TcpStream::connect(address).await.expect("a connection");
    let streams = 50;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(window(0));
    for stream in 0..streams {
        sent.extend(get(2 * stream + 1));
    }
    client.write_all(&sent).await.expect("sent");
    let (mut reader, mut buffer) = (FrameReader::default(), vec![0; 64 * 1024]);
    let mut reset = 0;
    while reset < streams {
        let read = timeout(PATIENCE, client.read(&mut buffer)).await;
        let read = read.expect("in time").expect("open");
        assert!(read > 0, "the connection goes on");
        reader.read(&buffer[..read], |frame| {
            assert_ne!(frame.kind, DATA, "there is no window");
            if frame.kind == RST_STREAM {
                assert_eq!(frame.error, Some(8), "CANCEL");
                reset += 1;
            }
        });
    }
    // No more than one part of each answer was ever taken from the upstream, and none is kept.
    assert_eq!(given.load(Ordering::Relaxed), streams as usize * PART);
    assert_eq!(Arc::strong_count(&alive), idle);
    let ended = std::mem::take(&mut *ends.0.lock().expect("no panic"));
    assert_eq!(
        ended,
        vec![(Some(StatusCode::OK), Ended::ClientAbort); streams as usize]
    );

    let more = [window(65_535), get(2 * streams + 1)].concat();
    client.write_all(&more).await.expect("sent");
    let mut taken = 0;
    while taken < 65_535 {
        let read = timeout(PATIENCE, client.read(&mut buffer)).await;
        let read = read.expect("in time").expect("open");
        assert!(read > 0, "the connection goes on");
        reader.read(&buffer[..read], |frame| {
            taken += if frame.kind == DATA { frame.length } else { 0 };
        });
    }
    // What is kept for a stream is bounded: the window, a buffer, and two parts.
    let kept = given.load(Ordering::Relaxed) - streams as usize * PART;
    assert!(kept <= 65_535 + STREAM_BUFFER + 2 * PART, "{kept}");
    drop(client);
    let gone = async {
        while limiter.open() > 0 || Arc::strong_count(&alive) > idle {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("nothing is left");
}
