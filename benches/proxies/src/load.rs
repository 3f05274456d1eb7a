//! The load: each connection sends a request when it has the answer to the last one.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Failure;

/// A masked frame of WebSocket with 64 bytes.
pub(super) const FRAME: usize = 2 + 4 + 64;
/// The body of each request, as long as a sentence is.
const BODY: &[u8] = br#"{"speaker":"cove","text":"The quick brown fox jumps over the lazy dog.","modelId":"mistv2","samplingRate":22050}"#;
/// The requests of each second that measure the delay of the first byte.
const PACE: Duration = Duration::from_millis(10);
const STREAMS: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Speech,
    Refused,
    Mebibyte,
    Events,
    FirstByte,
    Http2,
    WebSocket,
    Idle,
}

/// What to send, and how long.
pub(super) struct Plan {
    case: Case,
    address: String,
    connections: usize,
    time: Duration,
    requests: Vec<Vec<u8>>,
    tokens: Vec<String>,
}

impl Plan {
    /// `tokens` is a file with one token in each line.
    pub(super) fn new(
        case: &str,
        address: &str,
        connections: &str,
        seconds: &str,
        tokens: &str,
    ) -> Result<Self, Failure> {
        let (case, path) = match case {
            "speech" => (Case::Speech, "/v1/rime-tts"),
            "refused" => (Case::Refused, "/v1/rime-tts"),
            "mebibyte" => (Case::Mebibyte, "/v1/mebibyte"),
            "events" => (Case::Events, "/v1/events"),
            "first-byte" => (Case::FirstByte, "/v1/rime-tts"),
            "http2" => (Case::Http2, "/v1/rime-tts"),
            "websocket" => (Case::WebSocket, "/v1/ws"),
            "idle" => (Case::Idle, "/v1/ws"),
            other => return Err(format!("no such case: {other}").into()),
        };
        let tokens: Vec<String> = std::fs::read_to_string(tokens)?
            .lines()
            .map(|token| match case {
                // As long as a token, and of the same letters.
                Case::Refused => token.chars().rev().collect(),
                _ => token.to_owned(),
            })
            .collect();
        let request = |token: &String| match case {
            Case::WebSocket | Case::Idle => upgrade(path, address, token),
            _ => post(path, address, token),
        };
        Ok(Self {
            case,
            address: address.to_owned(),
            connections: connections.parse()?,
            time: Duration::from_secs_f64(seconds.parse()?),
            requests: tokens.iter().map(request).collect(),
            tokens,
        })
    }
}

fn post(path: &str, host: &str, token: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nAccept: audio/pcm\r\n\
         User-Agent: python-requests/2.32.3\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    [head.as_bytes(), BODY].concat()
}

fn upgrade(path: &str, host: &str, token: &str) -> Vec<u8> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    head.into_bytes()
}

/// The times of requests, in nanoseconds.
#[derive(Default)]
struct Times {
    each: Vec<u64>,
    failed: u64,
}

/// Sends the load, and tells how long the requests took, as one JSON object.
pub(super) async fn run(plan: Plan) -> Result<String, Failure> {
    let plan = Rc::new(plan);
    let local = tokio::task::LocalSet::new();
    let begun = Instant::now();
    let times = local
        .run_until(async {
            let workers: Vec<_> = (0..plan.connections)
                .map(|number| tokio::task::spawn_local(connection(Rc::clone(&plan), number, begun)))
                .collect();
            if plan.case == Case::Idle {
                return hold(workers).await;
            }
            let mut times = Times::default();
            for worker in workers {
                let of_one = worker.await??;
                times.each.extend(of_one.each);
                times.failed += of_one.failed;
            }
            Ok::<_, Failure>(times)
        })
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut each = times.each;
    each.sort_unstable();
    let at = |share: usize| each.get(each.len() * share / 1000).copied().unwrap_or(0) as f64 / 1e3;
    Ok(format!(
        r#"{{"requests":{},"failed":{},"seconds":{seconds:.3},"p50_us":{:.1},"p99_us":{:.1}}}"#,
        each.len(),
        times.failed,
        at(500),
        at(990),
    ))
}

type Worker = tokio::task::JoinHandle<Result<Times, Failure>>;

/// Says when all tunnels are open, and holds them until standard input ends.
async fn hold(workers: Vec<Worker>) -> Result<Times, Failure> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    if let Some(ended) = workers.iter().find(|worker| worker.is_finished()) {
        return Err(format!("a tunnel ended: {}", ended.id()).into());
    }
    println!("open");
    let (ended, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        _ = std::io::read_to_string(std::io::stdin());
        ended.send(())
    });
    wait.await?;
    Ok(Times::default())
}

async fn connection(plan: Rc<Plan>, number: usize, begun: Instant) -> Result<Times, Failure> {
    if plan.case == Case::Http2 {
        return http2(&plan, number, begun).await;
    }
    let mut times = Times::default();
    let mut stream = connect(&plan.address).await?;
    let mut buffer = vec![0; 64 * 1024];
    if matches!(plan.case, Case::WebSocket | Case::Idle) {
        let request = &plan.requests[number % plan.requests.len()];
        stream.write_all(request).await?;
        answer(&mut stream, &mut buffer, b"101").await?;
        if plan.case == Case::Idle {
            // Until the process ends.
            _ = stream.read(&mut buffer).await?;
            return Err("the proxy closed an idle tunnel".into());
        }
        let mut frame = [b'a'; FRAME];
        frame[..2].copy_from_slice(&[0x82, 0x80 | 64]);
        while begun.elapsed() < plan.time {
            let sent = Instant::now();
            stream.write_all(&frame).await?;
            stream.read_exact(&mut buffer[..FRAME - 4]).await?;
            times.each.push(nanoseconds(sent.elapsed()));
        }
        return Ok(times);
    }
    let status: &[u8] = match plan.case {
        Case::Refused => b"401",
        _ => b"200",
    };
    let mut next = number * 31;
    while begun.elapsed() < plan.time {
        let request = &plan.requests[next % plan.requests.len()];
        next += 1;
        let sent = Instant::now();
        let first = match exchange(&mut stream, &mut buffer, request, status).await {
            Ok(first) => first,
            Err(_) => {
                times.failed += 1;
                if times.failed > 100 {
                    return Err("100 requests failed".into());
                }
                stream = connect(&plan.address).await?;
                continue;
            }
        };
        match plan.case {
            Case::FirstByte => {
                times.each.push(nanoseconds(first - sent));
                tokio::time::sleep(PACE).await;
            }
            _ => times.each.push(nanoseconds(sent.elapsed())),
        }
    }
    Ok(times)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request, and reads its answer to the end. Returns when the first byte of the body came.
async fn exchange(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    request: &[u8],
    status: &[u8],
) -> Result<Instant, Failure> {
    stream.write_all(request).await?;
    answer(stream, buffer, status).await
}

async fn answer(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    status: &[u8],
) -> Result<Instant, Failure> {
    let mut filled = 0;
    let head = loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err("the proxy closed the connection".into()),
            read => filled += read,
        }
        if let Some(head) = end_of_head(&buffer[..filled]) {
            break head;
        }
    };
    if buffer.get(9..12) != Some(status) {
        return Err("another status than expected".into());
    }
    if status == b"101" {
        return Ok(Instant::now());
    }
    let mut first = (filled > head).then(Instant::now);
    match header(&buffer[..head], b"content-length") {
        Some(length) => {
            let mut left = (head + length).saturating_sub(filled);
            while left > 0 {
                match stream.read(buffer).await? {
                    0 => return Err("the answer is cut off".into()),
                    read => left = left.saturating_sub(read),
                }
                first.get_or_insert_with(Instant::now);
            }
        }
        None => {
            // The last bytes tell whether it is the end. Nothing in the benchmark looks like it.
            let mut last = buffer[head..filled].to_vec();
            while !last.ends_with(b"0\r\n\r\n") {
                match stream.read(buffer).await? {
                    0 => return Err("the answer is cut off".into()),
                    read => last.extend_from_slice(&buffer[read.saturating_sub(5)..read]),
                }
                first.get_or_insert_with(Instant::now);
                last.drain(..last.len().saturating_sub(5));
            }
        }
    }
    Ok(first.unwrap_or_else(Instant::now))
}

/// Several streams on one connection.
async fn http2(plan: &Rc<Plan>, number: usize, begun: Instant) -> Result<Times, Failure> {
    let stream = connect(&plan.address).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(async move { _ = connection.await });
    let streams: Vec<_> = (0..STREAMS)
        .map(|at| {
            let (mut sender, plan) = (sender.clone(), Rc::clone(plan));
            tokio::task::spawn_local(async move {
                let mut times = Times::default();
                let mut next = number * 31 + at * 7;
                while begun.elapsed() < plan.time {
                    let token = &plan.tokens[next % plan.tokens.len()];
                    next += 1;
                    let request = Request::post(format!("http://{}/v1/rime-tts", plan.address))
                        .header("authorization", format!("Bearer {token}"))
                        .header("content-type", "application/json")
                        .header("user-agent", "python-requests/2.32.3")
                        .body(Full::new(Bytes::from_static(BODY)))?;
                    let sent = Instant::now();
                    sender.ready().await?;
                    let response = sender.send_request(request).await?;
                    let fine = response.status() == 200;
                    let length = response.into_body().collect().await?.to_bytes().len();
                    match fine && length == 4096 {
                        true => times.each.push(nanoseconds(sent.elapsed())),
                        false => times.failed += 1,
                    }
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    let mut times = Times::default();
    for stream in streams {
        let of_one = stream.await??;
        times.each.extend(of_one.each);
        times.failed += of_one.failed;
    }
    Ok(times)
}

/// Where the header of a message ends.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The number in a header field of this name, which is given in lower case.
pub(super) fn header(head: &[u8], name: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (given, value) = line.split_at_checked(name.len())?;
        let value = given.eq_ignore_ascii_case(name).then_some(value)?;
        let value = value.strip_prefix(b":")?.trim_ascii();
        std::str::from_utf8(value).ok()?.parse().ok()
    })
}
