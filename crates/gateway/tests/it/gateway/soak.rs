//! Everything at once, for a while: HTTP, streams, WebSockets, gRPC, aborts, reloads, servers that
//! restart, and names whose addresses change. No request fails that no server failed, and nothing is
//! left at the end.
//!
//! It takes a minute, or as long as `VOXGATE_SOAK_SECONDS` says (`make soak`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, tungstenite};

use super::harness::{KEY, Program, Started, client, client_h2, listen, wait_until};
use super::lifecycle::admin;
use crate::skip::skip;

const SERVERS: u8 = 3;
/// How long the gateway needs to notice a changed name, and requests to end.
const NOTICE: Duration = Duration::from_secs(3);
const PARTS: usize = 20;

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// What happened, by kind of request.
#[derive(Clone, Default)]
struct Tally(
    Arc<Mutex<BTreeMap<&'static str, u64>>>,
    Arc<Mutex<Vec<String>>>,
);

impl Tally {
    fn done(&self, kind: &'static str) {
        *self.0.lock().unwrap().entry(kind).or_default() += 1;
    }

    fn failed(&self, kind: &'static str, why: impl std::fmt::Display) {
        self.1.lock().unwrap().push(format!("{kind}: {why}"));
    }

    fn note(&self, kind: &'static str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.done(kind),
            Err(why) => self.failed(kind, why),
        }
    }
}

/// A server that can be restarted, on an address of its own.
struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    stopped: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    async fn start(address: SocketAddr) -> (Self, SocketAddr) {
        let listener = listen(address).await;
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let stopped = tokio::spawn(serve(listener, stopping));
        let server = Self {
            address,
            stop,
            stopped: Some(stopped),
        };
        (server, address)
    }

    /// Ends what is in flight as it would end, then starts anew.
    async fn restart(&mut self) {
        self.stop.send_replace(true);
        self.stopped.take().unwrap().await.unwrap();
        *self = Self::start(self.address).await.0;
    }
}

async fn serve(listener: tokio::net::TcpListener, mut stopping: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        stream.set_nodelay(true).unwrap();
        let builder = auto::Builder::new(TokioExecutor::new());
        let service = hyper::service::service_fn(answer);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(
    mut request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let text = |text: &'static str| Full::<Bytes>::from(text).boxed_unsync();
    let body = match request.uri().path() {
        "/stream" => {
            let parts = futures_util::stream::unfold(0, |number| async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let part = Ok(Frame::data(Bytes::from_static(&[7; 512])));
                (number < PARTS).then_some((part, number + 1))
            });
            StreamBody::new(Box::pin(parts)).boxed_unsync()
        }
        "/socket" => {
            let key = request.headers()["sec-websocket-key"].as_bytes();
            let accept = tungstenite::handshake::derive_accept_key(key);
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgraded.await else { return };
                let role = tungstenite::protocol::Role::Server;
                let io = TokioIo::new(upgraded);
                let mut socket = WebSocketStream::from_raw_socket(io, role, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
            let response = Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", accept);
            return Ok(response.body(text("")).unwrap());
        }
        "/h2/grpc" => {
            let Ok(body) = request.into_body().collect().await else {
                return Ok(Response::new(text("")));
            };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let frames = [Frame::data(body.to_bytes()), Frame::trailers(trailers)];
            let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
            let response = Response::builder().header("content-type", "application/grpc");
            return Ok(response.body(body.boxed_unsync()).unwrap());
        }
        _ => text("audio"),
    };
    Ok(Response::new(body))
}

type Http = Client<HttpConnector, Full<Bytes>>;

fn request(gateway: SocketAddr, method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://{gateway}{path}"))
        .header("authorization", format!("Bearer {KEY}"))
}

async fn whole(http: &Http, request: Request<Full<Bytes>>, length: usize) -> Result<(), String> {
    let answer = http
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let id = format!("{:?}", answer.headers().get("x-request-id"));
    let body = answer.into_body().collect().await;
    let body = body.map_err(|error| format!("{error:?} in {id}"))?;
    match (
        status.as_u16(),
        body.trailers().cloned(),
        body.to_bytes().len(),
    ) {
        (200, _, read) if read == length => Ok(()),
        (status, trailers, read) => Err(format!("{status} {trailers:?} {read} bytes in {id}")),
    }
}

async fn socket(gateway: SocketAddr) -> Result<(), String> {
    let failed = |error: tungstenite::Error| format!("{error:?}");
    let stream = TcpStream::connect(gateway)
        .await
        .map_err(|error| error.to_string())?;
    let request = tungstenite::handshake::client::Request::builder()
        .uri(format!("ws://{gateway}/socket"))
        .header("host", "gate")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("authorization", format!("Bearer {KEY}"));
    let request = request.body(()).unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .map_err(failed)?;
    for number in 0..10 {
        let message = Message::text(number.to_string());
        socket.send(message.clone()).await.map_err(failed)?;
        match socket.next().await {
            Some(Ok(heard)) if heard == message => {}
            other => return Err(format!("{other:?}")),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    socket.close(None).await.map_err(failed)?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// Begins a request and goes away amid its answer.
async fn abort(http: &Http, gateway: SocketAddr) {
    let stream = request(gateway, "GET", "/stream").body(Full::default());
    if let Ok(answer) = http.request(stream.unwrap()).await {
        let mut body = answer.into_body();
        let _ = body.frame().await;
    }
}

/// Repeats `once` until the end.
fn repeat<F, Fut>(stop: &Arc<AtomicBool>, once: F) -> tokio::task::JoinHandle<()>
where
    F: Fn() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            once().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// Starts requests of all kinds.
fn load(
    gateway: SocketAddr,
    tally: &Tally,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for (h2, http) in [(false, client()), (true, client_h2()), (false, client())] {
        let grpc = move |http: Http| async move {
            let request = request(gateway, "POST", "/h2/grpc").header("te", "trailers");
            let request = request.header("content-type", "application/grpc");
            whole(&http, request.body(Full::from("call")).unwrap(), 4).await
        };
        let (plain, streams, calls, aborts) = (http.clone(), http.clone(), http.clone(), http);
        let tallies = [(); 4].map(|()| tally.clone());
        let [plain_tally, stream_tally, call_tally, abort_tally] = tallies;
        tasks.push(repeat(stop, move || {
            let (http, tally) = (plain.clone(), plain_tally.clone());
            async move {
                let request = request(gateway, "GET", "/").body(Full::default()).unwrap();
                tally.note("http", whole(&http, request, 5).await);
            }
        }));
        tasks.push(repeat(stop, move || {
            let (http, tally) = (streams.clone(), stream_tally.clone());
            async move {
                let request = request(gateway, "GET", "/stream").body(Full::default());
                let length = PARTS * 512;
                tally.note("stream", whole(&http, request.unwrap(), length).await);
            }
        }));
        if h2 {
            tasks.push(repeat(stop, move || {
                let (call, tally) = (grpc(calls.clone()), call_tally.clone());
                async move { tally.note("grpc", call.await) }
            }));
        }
        tasks.push(repeat(stop, move || {
            let (http, tally) = (aborts.clone(), abort_tally.clone());
            async move {
                abort(&http, gateway).await;
                tally.done("abort");
            }
        }));
        let tally = tally.clone();
        tasks.push(repeat(stop, move || {
            let tally = tally.clone();
            async move { tally.note("socket", socket(gateway).await) }
        }));
    }
    tasks
}

/// The addresses of `tts.soak`.
fn name(hosts: &Path, servers: &[u8]) {
    let lines = servers
        .iter()
        .map(|number| format!("127.0.0.{number} tts.soak\n"));
    let text = "127.0.0.1 localhost\n".to_owned() + &lines.collect::<String>();
    // In place: the gateway sees the file by its mount.
    std::fs::write(hosts, text).unwrap();
}

async fn value(gateway: &Started, metric: &str) -> u64 {
    let (_, text) = admin(gateway, "/metrics").await;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with([' ', '{'])
            .then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
    });
    values.sum()
}

/// Whether a process can have a file of names of its own.
fn can_name(hosts: &Path) -> bool {
    let mut mount = Command::new("unshare");
    mount
        .args(["--mount", "mount", "--bind"])
        .arg(hosts)
        .arg("/etc/hosts");
    mount.output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_and_nothing_is_left() {
    let seconds = std::env::var("VOXGATE_SOAK_SECONDS");
    let seconds = seconds.map_or(60, |seconds| seconds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (hosts, keys) = (
        directory.path().join("hosts"),
        directory.path().join("keys.toml"),
    );
    name(&hosts, &[2]);
    if !can_name(&hosts) {
        return skip(
            "what needs root",
            "a process may not have its own host names (`unshare --mount`)",
        );
    }
    let keys_file = |comment: u64| {
        let digest = voxgate::Digest::of(KEY.as_bytes()).to_hex();
        format!("# {comment}\n[[key]]\nid = \"soak\"\nsha256 = \"{digest}\"\nconcurrency = 1000\n")
    };
    std::fs::write(&keys, keys_file(0)).unwrap();

    let any = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    let (first, address) = Server::start(any).await;
    let mut servers = vec![first];
    for number in 1..SERVERS {
        let ip = Ipv4Addr::new(127, 0, 0, 2 + number);
        servers.push(Server::start((ip, address.port()).into()).await.0);
    }
    let (url, mount) = (format!("tts.soak:{}", address.port()), hosts.display());
    let script = format!("mount --bind {mount} /etc/hosts && exec \"$@\"");
    let gateway = Program::gateway("unused")
        .var(
            "VOXGATE_UPSTREAM",
            format!("/=http://{url},/h2=h2c://{url}"),
        )
        .var("VOXGATE_UPSTREAM_RESOLVE_SECONDS", "1")
        .var("VOXGATE_UPSTREAM_CONNECTION_AGE_SECONDS", "5")
        .var("VOXGATE_UPSTREAM_HEALTH", "GET /health")
        .var("VOXGATE_KEYS_FILE", &keys)
        .var("VOXGATE_CONTROL_DIR", directory.path())
        .var("VOXGATE_LIMIT_UPSTREAM_CONCURRENCY", "1000")
        .var("VOXGATE_LOG", "warn,voxgate_gateway=info")
        .inside(&["unshare", "--mount", "sh", "-c", &script, "sh"])
        .start();
    let before = gateway.open_files();

    let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
    let tasks = load(gateway.address, &tally, &stop);
    let begun = Instant::now();
    let (end, reloads) = (Duration::from_secs(seconds), AtomicU64::new(0));
    let mut settled = None;
    let mut turn = 0;
    // One server after the other leaves the name, is restarted, and comes back.
    while begun.elapsed() < end {
        let away = turn % SERVERS;
        let others: Vec<u8> = (0..SERVERS)
            .filter(|own| *own != away)
            .map(|own| own + 2)
            .collect();
        name(&hosts, &others);
        let number = reloads.fetch_add(1, Ordering::Relaxed) + 1;
        std::fs::write(directory.path().join("next"), keys_file(number)).unwrap();
        std::fs::rename(directory.path().join("next"), &keys).unwrap();
        gateway.signal(Signal::HUP);
        tokio::time::sleep(NOTICE).await;
        servers[usize::from(away)].restart().await;
        turn += 1;
        if settled.is_none() && begun.elapsed() > end / 3 {
            settled = Some(gateway.memory_kib("VmRSS"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }

    let failures = tally.1.lock().unwrap().clone();
    let counts = tally.0.lock().unwrap().clone();
    let shown: Vec<_> = failures.iter().take(20).collect();
    assert!(
        failures.is_empty(),
        "{} of {counts:?}: {shown:#?}",
        failures.len()
    );
    for kind in ["http", "stream", "socket", "grpc", "abort"] {
        assert!(
            counts.get(kind).is_some_and(|count| *count > 20),
            "{counts:?}"
        );
    }
    let settled = settled.unwrap_or_default();
    let grown = gateway.memory_kib("VmRSS").saturating_sub(settled);
    assert!(
        grown < 24 * 1024,
        "{grown} KiB more than {settled} KiB after {counts:?}"
    );
    for metric in [
        "voxgate_requests_in_flight",
        "voxgate_upstream_in_flight",
        "voxgate_upstream_connections",
        "voxgate_limit_upstream_in_flight",
    ] {
        let deadline = Instant::now() + Duration::from_secs(60);
        while value(&gateway, metric).await > 0 {
            assert!(Instant::now() < deadline, "{metric} is not 0");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    wait_until("files back to the start", || {
        (gateway.open_files() <= before + 4).then_some(())
    })
    .await;
    println!("{seconds} s: {counts:?}, {grown} KiB more memory");
}
