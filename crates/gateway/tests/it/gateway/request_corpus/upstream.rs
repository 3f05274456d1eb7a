//! An upstream that records each request, and accepts none that another server could read in another
//! way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use voxgate::TraceContext;

use super::super::harness::{KEY, serve_raw};
use super::TOKEN;

/// A request to this path is answered when [`Recorder::release`] says so.
pub(super) const SLOW: &str = "/slow";
/// A request to this path ends its connection, as a malformed one does.
pub(super) const POISON: &str = "/poison";

/// Both upstreams, and what they have read.
#[derive(Clone)]
pub(super) struct Recorder {
    requests: Arc<Mutex<Vec<String>>>,
    slow: Arc<Semaphore>,
    waiting: Arc<Mutex<usize>>,
    http1: SocketAddr,
    h2c: SocketAddr,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut recorder = Self {
            requests: Arc::default(),
            slow: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
            http1: unknown,
            h2c: unknown,
        };
        let (http1, h2c) = (recorder.clone(), recorder.clone());
        recorder.http1 = serve_raw(move |stream| http1.clone().serve_http1(stream)).await;
        recorder.h2c = serve_raw(move |stream| h2c.clone().serve_h2c(stream)).await;
        recorder
    }

    pub(super) fn url(&self, h2c: bool) -> String {
        match h2c {
            true => format!("h2c://{}", self.h2c),
            false => format!("http://{}", self.http1),
        }
    }

    /// What has arrived since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// How many requests to [`SLOW`] wait.
    pub(super) fn waiting(&self) -> usize {
        *self.waiting.lock().unwrap()
    }

    /// Answers so many requests to [`SLOW`].
    pub(super) fn release(&self, requests: usize) {
        self.slow.add_permits(requests);
    }

    fn record(&self, request: String) {
        self.requests.lock().unwrap().push(request);
    }

    /// Reads with a parser that knows only what RFC 9112 says a client sends.
    async fn serve_http1(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            match request(&bytes) {
                Parsed::Incomplete => {
                    let mut buffer = [0; 4096];
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
                        _ => return,
                    }
                }
                Parsed::Doubtful(why) => {
                    let seen = String::from_utf8_lossy(&bytes).into_owned();
                    return self.record(format!("doubtful: {why}: {seen}"));
                }
                Parsed::Whole(request, length) => {
                    self.record(request);
                    bytes.drain(..length);
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        }
    }

    /// Reads with hyper, and ends the connection when a request is malformed (RFC 9113 §8.1.1).
    async fn serve_h2c(self, stream: TcpStream) {
        let malformed = Arc::new(Notify::new());
        let end = Arc::clone(&malformed);
        let service = service_fn(move |request: Request<Incoming>| {
            let (recorder, end) = (self.clone(), Arc::clone(&end));
            async move {
                let (parts, body) = request.into_parts();
                if let Some(why) = doubt(&parts.headers) {
                    recorder.record(format!("doubtful: {why}: {:?}", parts.headers));
                    end.notify_one();
                    std::future::pending::<()>().await;
                }
                match parts.uri.path() {
                    SLOW => {
                        *recorder.waiting.lock().unwrap() += 1;
                        recorder.slow.acquire().await.unwrap().forget();
                        *recorder.waiting.lock().unwrap() -= 1;
                    }
                    POISON => {
                        end.notify_one();
                        std::future::pending::<()>().await;
                    }
                    _ => {}
                }
                // A body that breaks off is no whole request.
                let Ok(body) = body.collect().await else {
                    return Ok::<_, std::convert::Infallible>(Response::new(Body::empty()));
                };
                let target = parts.uri.path_and_query().unwrap().as_str();
                let body = body.to_bytes();
                recorder.record(written(&parts.method, target, &parts.headers, &body));
                Ok(Response::new(Body::empty()))
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = connection => {}
            () = malformed.notified() => {}
        }
    }
}

enum Parsed {
    Incomplete,
    Doubtful(&'static str),
    /// The request as the files write it, and its length in bytes.
    Whole(String, usize),
}

fn request(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Parsed::Incomplete;
    };
    let head: Vec<&[u8]> = split_lines(&bytes[..end]);
    let line: Vec<&[u8]> = head[0].split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = line[..] else {
        return Parsed::Doubtful("request line");
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Parsed::Doubtful("method");
    }
    let graphic = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_graphic);
    if !target.starts_with(b"/") || !graphic(target) {
        return Parsed::Doubtful("target");
    }
    let mut headers = HeaderMap::new();
    for line in &head[1..] {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Parsed::Doubtful("header without a colon");
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let Ok(name) = HeaderName::from_bytes(name) else {
            return Parsed::Doubtful("header name");
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Parsed::Doubtful("header value");
        };
        headers.append(name, value);
    }
    if let Some(why) = doubt(&headers) {
        return Parsed::Doubtful(why);
    }
    let hosts = headers.get_all("host").iter().count();
    if hosts != 1 {
        return Parsed::Doubtful("not one host");
    }
    let rest = &bytes[end + 4..];
    let codings: Vec<&HeaderValue> = headers.get_all("transfer-encoding").iter().collect();
    let length = headers.get("content-length");
    let (body, length) = match (&codings[..], length) {
        ([], None) => (Vec::new(), 0),
        ([], Some(length)) => {
            let length: usize = length.to_str().unwrap().parse().unwrap();
            let Some(body) = rest.get(..length) else {
                return Parsed::Incomplete;
            };
            (body.to_vec(), length)
        }
        ([coding], None) if *coding == "chunked" => match chunks(rest) {
            Ok(Some(found)) => found,
            Ok(None) => return Parsed::Incomplete,
            Err(why) => return Parsed::Doubtful(why),
        },
        _ => return Parsed::Doubtful("length and transfer coding"),
    };
    let method = Method::from_bytes(method).unwrap();
    let target = std::str::from_utf8(target).unwrap();
    let written = written(&method, target, &headers, &body);
    Parsed::Whole(written, end + 4 + length)
}

fn split_lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// The body in these chunks and their length, once they are whole. Neither extensions nor trailers
/// are allowed.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "chunk size")?;
        if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("chunk size");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "chunk size")?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if &chunk[size..] != b"\r\n" {
            return Err("end of a chunk, or a trailer");
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Why a strict server refuses these headers, in either version of HTTP.
fn doubt(headers: &HeaderMap) -> Option<&'static str> {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in headers {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !name.as_str().bytes().all(plain) {
            return Some("header name");
        }
        if space(value.as_bytes().first()) || space(value.as_bytes().last()) {
            return Some("outer space");
        }
    }
    let lengths: Vec<&[u8]> = headers
        .get_all("content-length")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let canonical = |length: &[u8]| {
        let text = std::str::from_utf8(length).unwrap_or_default();
        text.parse::<u64>()
            .is_ok_and(|number| number.to_string() == text)
    };
    match lengths[..] {
        [] => None,
        [length] if canonical(length) => None,
        _ => Some("content length"),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The request as the files write it, without what the gateway has set, which is checked here.
fn written(method: &Method, target: &str, headers: &HeaderMap, body: &[u8]) -> String {
    let mut headers = headers.clone();
    for (name, expected) in [
        ("x-voxgate-key-id", "env-1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        let values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
        assert!(values == [expected], "{name}: {values:?}");
        headers.remove(name);
    }
    assert_eq!(headers.get_all("x-request-id").iter().count(), 1);
    assert!(headers.get_all("x-forwarded-host").iter().count() <= 1);
    let trace = headers.get_all("traceparent").iter();
    let traces: Vec<_> = trace
        .map(|value| TraceContext::parse(value.as_bytes()).expect("valid"))
        .collect();
    assert_eq!(traces.len(), 1);
    for name in ["x-request-id", "x-forwarded-host", "traceparent", "host"] {
        headers.remove(name);
    }
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()))
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.sort_unstable();
    lines.insert(0, format!("{method} {target}"));
    if !body.is_empty() {
        lines.push(String::new());
        lines.push(body.escape_ascii().to_string());
    }
    lines
        .join("\n")
        .replace(KEY, "{KEY}")
        .replace(TOKEN, "{TOKEN}")
}
