//! The cases of h2spec (<https://github.com/summerwind/h2spec>, section numbers of RFC 7540 and RFC 7541)
//! as raw frames, sent to the gateway and to a server that is hyper alone: the gateway is no worse.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{KEY, Program, serve, serve_raw};
use super::rejections::{block, frame, http2};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// The last frame of each case: its answer shows that the frames before it were read.
const LAST: &[u8; 8] = b"the last";
/// How long an answer may come after the answer to the last frame. Only a case that fails waits for it.
const LATER: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// What h2spec expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The connection ends (RFC 9113 §5.4.1).
    ConnectionError,
    /// The stream is reset, or the connection ends (RFC 9113 §5.4.2).
    StreamError,
    /// The request is answered, and the connection serves on.
    Answer,
    /// The connection serves on.
    Alive,
}

/// One case: what is sent at once, and what after the answer to that.
struct Case {
    name: &'static str,
    frames: Vec<Vec<u8>>,
    after_answer: Vec<Vec<u8>>,
    expected: Expected,
}

/// What the server did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    goes_away: bool,
    is_closed: bool,
    resets: bool,
    answers: bool,
    answer_ends: bool,
    is_last_read: bool,
}

impl Seen {
    fn passes(&self, expected: Expected) -> bool {
        let ends = self.goes_away || self.is_closed;
        match expected {
            Expected::ConnectionError => ends,
            Expected::StreamError => ends || self.resets,
            Expected::Answer => self.answers && self.is_last_read && !ends && !self.resets,
            Expected::Alive => self.is_last_read && !ends,
        }
    }

    fn note(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        match kind {
            GOAWAY => self.goes_away = true,
            RST_STREAM => self.resets = true,
            HEADERS => self.answers = true,
            PING if flags & ACK != 0 && payload == LAST => self.is_last_read = true,
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.answer_ends = true;
        }
    }
}

/// A connection to a server, and the frames that it has sent.
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    seen: Seen,
}

impl Connection {
    /// Reads until `is_enough`, or until the end.
    async fn read_until(&mut self, is_enough: impl Fn(&Seen) -> bool) {
        while !is_enough(&self.seen) && !self.seen.is_closed {
            let mut more = [0; 4096];
            match self.stream.read(&mut more).await {
                Ok(0) | Err(_) => self.seen.is_closed = true,
                Ok(read) => self.unread.extend(&more[..read]),
            }
            while let Some((head, rest)) = self.unread.split_at_checked(9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some(payload) = rest.get(..length) else {
                    break;
                };
                let payload = payload.to_vec();
                self.seen.note(head[3], head[4], &payload);
                self.unread.drain(..9 + length);
            }
        }
    }
}

async fn run(address: SocketAddr, case: &Case) -> Seen {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut connection = Connection {
        stream,
        unread: Vec::new(),
        seen: Seen::default(),
    };
    let first = match case.name {
        // This one has no preface.
        "3.5.2" => case.frames.concat(),
        _ => http2(&case.frames),
    };
    // A server may close amid what is sent.
    let _ = connection.stream.write_all(&first).await;
    if !case.after_answer.is_empty() {
        let answered = connection.read_until(|seen| seen.answer_ends || seen.goes_away);
        timeout(PATIENCE, answered).await.unwrap();
        connection.seen.answers = false;
        let _ = connection
            .stream
            .write_all(&case.after_answer.concat())
            .await;
    }
    let _ = connection.stream.write_all(&frame(PING, 0, 0, LAST)).await;
    // Frames are read in their order, so that a connection error comes before this.
    let read = connection.read_until(|seen| seen.is_last_read || seen.goes_away);
    timeout(PATIENCE, read).await.unwrap();
    let expected = case.expected;
    if matches!(expected, Expected::Answer | Expected::StreamError) {
        let read = connection.read_until(|seen| seen.passes(expected));
        let _ = timeout(LATER, read).await;
    }
    connection.seen
}

fn fields() -> Vec<(&'static str, &'static str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "tts.example"),
        ("authorization", const_key()),
    ]
}

fn const_key() -> &'static str {
    static HEADER: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("Bearer {KEY}"));
    &HEADER
}

/// A request, with these fields after those of every request.
fn request_with(stream: u32, flags: u8, more: &[(&'static str, &'static str)]) -> Vec<u8> {
    let fields = [&fields()[..], more].concat();
    frame(HEADERS, flags, stream, &block(&fields))
}

fn request(stream: u32, flags: u8) -> Vec<u8> {
    request_with(stream, flags, &[])
}

/// A request without this field.
fn request_without(name: &str) -> Vec<u8> {
    let mut fields = fields();
    fields.retain(|(own, _)| *own != name);
    frame(HEADERS, WHOLE, 1, &block(&fields))
}

/// The header block of a request, followed by these bytes.
fn block_and(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &[&block(&fields())[..], more].concat())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A stream depends on another one.
fn dependency(on: u32) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[255]].concat()
}

fn cases() -> Vec<Case> {
    use Expected::{Alive, Answer, ConnectionError, StreamError};
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let data = |stream, flags| frame(DATA, flags, stream, b"test");
    let continued = |stream, flags| frame(CONTINUATION, flags, stream, &block(&[("x-dummy", "1")]));
    let priority = |stream| frame(PRIORITY, 0, stream, &dependency(0));
    let post = |more: &[(&'static str, &'static str)], flags| {
        let mut fields = fields();
        fields[0].1 = "POST";
        frame(HEADERS, flags, 1, &block(&[&fields[..], more].concat()))
    };
    let with_priority = [&dependency(1)[..], &block(&fields())].concat();
    let padded = [&[255][..], &block(&fields())].concat();
    let trailers = |more: &[(&'static str, &'static str)]| {
        vec![
            post(&[("trailer", "x-test")], END_HEADERS),
            data(1, 0),
            frame(HEADERS, WHOLE, 1, &block(more)),
        ]
    };
    let large = vec![b'a'; 16_385];
    let cases: Vec<(&'static str, Vec<Vec<u8>>, Expected)> = vec![
        (
            "3.5.2",
            vec![b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()],
            ConnectionError,
        ),
        ("4.1.1", vec![frame(0x16, 0, 0, b"\0\0\0\0\0\0\0\0")], Alive),
        (
            "4.1.2",
            vec![frame(PING, 0x16, 0, b"\0\0\0\0\0\0\0\0")],
            Alive,
        ),
        (
            "4.1.3",
            vec![frame(PING, 0, 0x8000_0000, b"\0\0\0\0\0\0\0\0")],
            Alive,
        ),
        (
            "4.2.1",
            vec![
                post(&[], END_HEADERS),
                frame(DATA, END_STREAM, 1, &large[1..]),
            ],
            Answer,
        ),
        (
            "4.2.2",
            vec![post(&[], END_HEADERS), frame(DATA, END_STREAM, 1, &large)],
            StreamError,
        ),
        (
            "4.2.3",
            vec![frame(HEADERS, WHOLE, 1, &large)],
            ConnectionError,
        ),
        (
            "4.3.1",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                b"\xff\xff\xff\xff\xff\xff\xff\xff",
            )],
            ConnectionError,
        ),
        (
            "4.3.2",
            vec![request(1, 0), priority(1), continued(1, END_HEADERS)],
            ConnectionError,
        ),
        (
            "4.3.3",
            vec![request(1, 0), request(3, WHOLE), continued(1, END_HEADERS)],
            ConnectionError,
        ),
        ("5.1.1", vec![data(1, END_STREAM)], ConnectionError),
        ("5.1.2", vec![reset.clone()], ConnectionError),
        ("5.1.3", vec![window(1, 100)], ConnectionError),
        ("5.1.4", vec![continued(1, WHOLE)], ConnectionError),
        (
            "5.1.5",
            vec![request(1, WHOLE), data(1, END_STREAM)],
            StreamError,
        ),
        (
            "5.1.6",
            vec![request(1, WHOLE), request(1, WHOLE)],
            StreamError,
        ),
        (
            "5.1.7",
            vec![request(1, WHOLE), continued(1, END_HEADERS)],
            ConnectionError,
        ),
        (
            "5.1.8",
            vec![request(1, END_HEADERS), reset.clone(), data(1, END_STREAM)],
            StreamError,
        ),
        (
            "5.1.9",
            vec![request(1, END_HEADERS), reset.clone(), request(1, WHOLE)],
            StreamError,
        ),
        (
            "5.1.10",
            vec![
                request(1, END_HEADERS),
                reset.clone(),
                continued(1, END_HEADERS),
            ],
            ConnectionError,
        ),
        ("5.1.1/1", vec![request(2, WHOLE)], ConnectionError),
        (
            "5.1.1/2",
            vec![request(5, WHOLE), request(3, WHOLE)],
            ConnectionError,
        ),
        (
            "5.3.1/1",
            vec![frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &with_priority)],
            StreamError,
        ),
        (
            "5.3.1/2",
            vec![frame(PRIORITY, 0, 1, &dependency(1))],
            StreamError,
        ),
        (
            "5.4.1",
            vec![frame(PING, 0, 3, b"\0\0\0\0\0\0\0\0")],
            ConnectionError,
        ),
        ("5.5.1", vec![frame(0xff, 0, 0, b"unknown")], Alive),
        (
            "5.5.2",
            vec![
                request(1, 0),
                frame(0xff, 0, 0, b"unknown"),
                continued(1, END_HEADERS),
            ],
            ConnectionError,
        ),
        ("6.1.1", vec![data(0, END_STREAM)], ConnectionError),
        (
            "6.1.3",
            vec![
                post(&[], END_HEADERS),
                frame(DATA, END_STREAM | PADDED, 1, b"\x06test"),
            ],
            ConnectionError,
        ),
        (
            "6.2.1",
            vec![
                request(1, END_STREAM),
                priority(1),
                continued(1, END_HEADERS),
            ],
            ConnectionError,
        ),
        (
            "6.2.2",
            vec![request(1, END_STREAM), request(3, WHOLE)],
            ConnectionError,
        ),
        ("6.2.3", vec![request(0, WHOLE)], ConnectionError),
        (
            "6.2.4",
            vec![frame(HEADERS, WHOLE | PADDED, 1, &padded)],
            ConnectionError,
        ),
        ("6.3.1", vec![priority(0)], ConnectionError),
        (
            "6.3.2",
            vec![
                request(1, END_HEADERS),
                frame(PRIORITY, 0, 1, b"\x80\0\0\x01"),
            ],
            StreamError,
        ),
        (
            "6.4.1",
            vec![frame(RST_STREAM, 0, 0, &8_u32.to_be_bytes())],
            ConnectionError,
        ),
        (
            "6.4.3",
            vec![request(1, END_HEADERS), frame(RST_STREAM, 0, 1, b"\0\0\0")],
            ConnectionError,
        ),
        (
            "6.5.1",
            vec![frame(SETTINGS, ACK, 0, b"\0\0\0\0\0\0")],
            ConnectionError,
        ),
        (
            "6.5.2",
            vec![frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64")],
            ConnectionError,
        ),
        (
            "6.5.3",
            vec![frame(SETTINGS, 0, 0, b"\0\x03\0")],
            ConnectionError,
        ),
        ("6.5.2/1", vec![setting(2, 2)], ConnectionError),
        ("6.5.2/2", vec![setting(4, 0x8000_0000)], ConnectionError),
        ("6.5.2/3", vec![setting(5, 16_383)], ConnectionError),
        ("6.5.2/4", vec![setting(5, 16_777_216)], ConnectionError),
        ("6.5.2/5", vec![setting(255, 1)], Alive),
        (
            "6.5.3/1",
            vec![setting(4, 1), setting(4, 2), request(1, WHOLE)],
            Answer,
        ),
        ("6.7.1", vec![frame(PING, 0, 0, b"\0\0\0\0\0\0\0\0")], Alive),
        ("6.7.2", vec![frame(PING, ACK, 0, b"invalid\0")], Alive),
        (
            "6.7.3",
            vec![frame(PING, 0, 1, b"\0\0\0\0\0\0\0\0")],
            ConnectionError,
        ),
        (
            "6.7.4",
            vec![frame(PING, 0, 0, b"\0\0\0\0\0\0")],
            ConnectionError,
        ),
        (
            "6.8.1",
            vec![frame(GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\0")],
            ConnectionError,
        ),
        ("6.9.1", vec![window(0, 0)], ConnectionError),
        (
            "6.9.2",
            vec![request(1, END_HEADERS), window(1, 0)],
            StreamError,
        ),
        (
            "6.9.3",
            vec![frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")],
            ConnectionError,
        ),
        ("6.9.1/1", vec![setting(4, 1), request(1, WHOLE)], Answer),
        (
            "6.9.1/2",
            vec![window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)],
            ConnectionError,
        ),
        (
            "6.9.1/3",
            vec![
                request(1, END_HEADERS),
                window(1, 0x7fff_ffff),
                window(1, 0x7fff_ffff),
            ],
            StreamError,
        ),
        ("6.9.2/3", vec![setting(4, 0xffff_ffff)], ConnectionError),
        (
            "6.10.1",
            vec![
                request(1, END_STREAM),
                continued(1, 0),
                continued(1, END_HEADERS),
            ],
            Answer,
        ),
        (
            "6.10.2",
            vec![request(1, END_STREAM), continued(1, 0), data(1, END_STREAM)],
            ConnectionError,
        ),
        (
            "6.10.3",
            vec![request(1, END_STREAM), continued(0, END_HEADERS)],
            ConnectionError,
        ),
        (
            "6.10.4",
            vec![request(1, END_HEADERS), continued(1, END_HEADERS)],
            ConnectionError,
        ),
        (
            "6.10.5",
            vec![
                request(1, 0),
                continued(1, END_HEADERS),
                continued(1, END_HEADERS),
            ],
            ConnectionError,
        ),
        (
            "6.10.6",
            vec![
                request(1, END_HEADERS),
                data(1, END_STREAM),
                continued(1, END_HEADERS),
            ],
            ConnectionError,
        ),
        (
            "8.1.1",
            vec![
                post(&[], END_HEADERS),
                data(1, 0),
                frame(HEADERS, END_HEADERS, 1, &block(&[("x-test", "1")])),
            ],
            StreamError,
        ),
        (
            "8.1.2/1",
            vec![request_with(1, WHOLE, &[("X-TEST", "ok")])],
            StreamError,
        ),
        (
            "8.1.2.1/1",
            vec![request_with(1, WHOLE, &[(":test", "ok")])],
            StreamError,
        ),
        (
            "8.1.2.1/2",
            vec![request_with(1, WHOLE, &[(":status", "200")])],
            StreamError,
        ),
        ("8.1.2.1/3", trailers(&[(":method", "200")]), StreamError),
        (
            "8.1.2.1/4",
            vec![request_with(1, WHOLE, &[("x-test", "ok"), (":path", "/")])],
            StreamError,
        ),
        (
            "8.1.2.2/1",
            vec![request_with(1, WHOLE, &[("connection", "keep-alive")])],
            StreamError,
        ),
        (
            "8.1.2.2/2",
            vec![request_with(
                1,
                WHOLE,
                &[("trailers", "test"), ("te", "trailers, deflate")],
            )],
            StreamError,
        ),
        (
            "8.1.2.3/1",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                &block(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", ""),
                    (":authority", "a"),
                    ("authorization", const_key()),
                ]),
            )],
            StreamError,
        ),
        ("8.1.2.3/2", vec![request_without(":method")], StreamError),
        ("8.1.2.3/3", vec![request_without(":scheme")], StreamError),
        ("8.1.2.3/4", vec![request_without(":path")], StreamError),
        (
            "8.1.2.3/5",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                &block(&[&[(":method", "GET")][..], &fields()].concat()),
            )],
            StreamError,
        ),
        (
            "8.1.2.3/6",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                &block(&[&[(":scheme", "http")][..], &fields()].concat()),
            )],
            StreamError,
        ),
        (
            "8.1.2.3/7",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                &block(&[&[(":path", "/")][..], &fields()].concat()),
            )],
            StreamError,
        ),
        (
            "8.1.2.6/1",
            vec![
                post(&[("content-length", "1")], END_HEADERS),
                data(1, END_STREAM),
            ],
            StreamError,
        ),
        (
            "8.1.2.6/2",
            vec![
                post(&[("content-length", "1")], END_HEADERS),
                data(1, 0),
                data(1, END_STREAM),
            ],
            StreamError,
        ),
        (
            "8.2.1",
            vec![frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[&b"\0\0\0\x02"[..], &block(&fields())].concat(),
            )],
            ConnectionError,
        ),
        ("hpack 2.3.3/1", vec![block_and(&[0xc6])], ConnectionError),
        ("hpack 4.2", vec![block_and(&[0x21])], ConnectionError),
        (
            "hpack 5.2/1",
            vec![block_and(b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")],
            ConnectionError,
        ),
        (
            "hpack 5.2/2",
            vec![block_and(b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")],
            ConnectionError,
        ),
        (
            "hpack 5.2/3",
            vec![block_and(b"\0\x85\xf2\xb2\x4a\x84\xff\x84\xff\xff\xff\xff")],
            ConnectionError,
        ),
        ("hpack 6.1", vec![block_and(&[0x80])], ConnectionError),
        (
            "hpack 6.3",
            vec![frame(
                HEADERS,
                WHOLE,
                1,
                &[&[0x3f, 0xe2, 0x1f][..], &block(&fields())].concat(),
            )],
            ConnectionError,
        ),
        ("generic/1", vec![request(1, WHOLE)], Answer),
        (
            "generic/2",
            vec![
                post(&[("trailer", "x-test")], END_HEADERS),
                data(1, 0),
                frame(HEADERS, WHOLE, 1, &block(&[("x-test", "ok")])),
            ],
            Answer,
        ),
    ];
    let mut cases: Vec<Case> = cases
        .into_iter()
        .map(|(name, frames, expected)| Case {
            name,
            frames,
            after_answer: Vec::new(),
            expected,
        })
        .collect();
    for (name, after, expected) in [
        ("5.1.11", data(1, END_STREAM), StreamError),
        ("5.1.12", request(1, WHOLE), ConnectionError),
        ("5.1.13", continued(1, END_HEADERS), ConnectionError),
    ] {
        cases.push(Case {
            name,
            frames: vec![request(1, WHOLE)],
            after_answer: vec![after],
            expected,
        });
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_passes_every_case_that_hyper_passes() {
    let answer = |body: Bytes| async move { body.len().to_string() };
    let upstream = serve(Router::new().route("/", any(answer))).await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "bearer")
        .start();
    let bare = serve_raw(|stream| async move {
        let service = hyper::service::service_fn(|request: http::Request<_>| async move {
            let body: hyper::body::Incoming = request.into_body();
            let length = body.collect().await.map(|body| body.to_bytes().len());
            let text = length.unwrap_or_default().to_string();
            Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from(text)))
        });
        let builder = Builder::new(TokioExecutor::new());
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await;
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "a name is used twice");
    let address = gateway.address;
    let ran = join_all(cases.iter().map(|case| async move {
        let (ours, hyper) = tokio::join!(run(address, case), run(bare, case));
        (case, ours, hyper)
    }));
    let mut passed = 0;
    let mut worse = Vec::new();
    for (case, ours, hyper) in ran.await {
        let is_passed = ours.passes(case.expected);
        passed += usize::from(is_passed);
        if !is_passed {
            let (name, expected) = (case.name, case.expected);
            println!("{name}, expected {expected:?}: the gateway {ours:?}, hyper {hyper:?}");
            if hyper.passes(case.expected) {
                worse.push(name);
            }
        }
    }
    println!("{passed} of {} cases pass", cases.len());
    assert!(worse.is_empty(), "worse than hyper: {worse:?}");
    assert!(
        passed * 10 >= cases.len() * 9,
        "{passed} of {}",
        cases.len()
    );
}
