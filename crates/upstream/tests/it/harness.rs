//! Servers, and a client with an upstream.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use voxgate_upstream::{
    AnswerBody, Callers, Client, Protocol, RequestBody, SendContext, SendError, Server, Settings,
    Turn, Upstream,
};

pub(crate) type Body = Full<Bytes>;
pub(crate) type Answer<B = Body> = Result<Response<AnswerBody<B>>, SendError>;

/// Longest wait for anything. Only a failing test waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(20),
        resolve_every: Duration::from_secs(30),
        longest_connection_age: None,
        answer_pause: None,
        health: None,
    }
}

/// An upstream, and the client of one worker.
#[derive(Clone)]
pub(crate) struct Sender<B: RequestBody = Body> {
    pub(crate) upstream: Arc<Upstream<B>>,
    client: Arc<Client<B>>,
    callers: Callers<B>,
}

impl<B: RequestBody> Sender<B> {
    pub(crate) fn new(protocol: Protocol, addresses: &[SocketAddr]) -> Self {
        Self::with(settings(), protocol, addresses)
    }

    pub(crate) fn with(settings: Settings, protocol: Protocol, addresses: &[SocketAddr]) -> Self {
        let server =
            |address: &SocketAddr| Server::new(address.to_string().parse().unwrap(), protocol);
        Self::to(settings, addresses.iter().filter_map(server).collect())
    }

    pub(crate) fn to(settings: Settings, servers: Vec<Server>) -> Self {
        let permits = Arc::new(Semaphore::new(1_000));
        Self {
            upstream: Arc::new(Upstream::new(servers, Arc::new(settings), 1, permits)),
            client: Arc::new(Client::new(0)),
            callers: Callers::default(),
        }
    }

    pub(crate) async fn send(&self, request: Request<B>) -> Answer<B> {
        self.send_with(request, false).await
    }

    pub(crate) async fn send_with(&self, request: Request<B>, http2: bool) -> Answer<B> {
        let turn = Turn::default();
        let context = SendContext {
            http2,
            callers: &self.callers,
            caller: "caller",
            turn: &turn,
            deadline: None,
        };
        self.client.send(&self.upstream, request, context).await
    }

    /// The sum over all servers.
    pub(crate) fn sum(&self, of: impl Fn(&voxgate_upstream::ServerStatus) -> u64) -> u64 {
        self.upstream.status().iter().map(of).sum()
    }
}

impl Sender {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, text: &'static str) -> Answer {
        self.send(Request::post(path).body(Full::from(text)).unwrap())
            .await
    }
}

/// Hands each connection and its number, counted from 0, to `handle`.
pub(crate) async fn serve_raw<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let number = AtomicUsize::new(0);
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream, number.fetch_add(1, Ordering::Relaxed)));
        }
    });
    address
}

/// An HTTP/2 server.
pub(crate) async fn serve_h2<F, Fut, B>(streams: Option<u32>, answer: F) -> SocketAddr
where
    F: Fn(Request<hyper::body::Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    serve_raw(move |stream, _| {
        let answer = answer.clone();
        async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let _ = hyper::server::conn::http2::Builder::new(executor)
                .max_concurrent_streams(streams)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "not yet: {what}");
}
