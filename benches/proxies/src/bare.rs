//! A bare proxy of hyper: HTTP/1.1 or HTTP/2 in front, pooled HTTP/1.1 connections behind, no
//! authentication, no records, no changed headers. It is what the gateway's libraries cost.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::Failure;

type Body = Either<Incoming, Empty<Bytes>>;
type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// Runs the futures of HTTP/2 on this thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { _ = future.await });
    }
}

/// Serves until the process is stopped.
pub(super) async fn serve(address: &str, upstream: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    let upstream: Rc<str> = upstream.into();
    let pool = Pool::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (pool, upstream) = (Rc::clone(&pool), Rc::clone(&upstream));
        tokio::task::spawn_local(async move {
            let mut preface = [0; 3];
            let is_http2 = matches!(stream.peek(&mut preface).await, Ok(3)) && &preface == b"PRI";
            let service = service_fn(move |request| {
                let (pool, upstream) = (Rc::clone(&pool), Rc::clone(&upstream));
                async move { Ok::<_, Infallible>(forward(request, &pool, &upstream).await) }
            });
            let io = TokioIo::new(stream);
            // A client that goes is no failure of the benchmark.
            _ = match is_http2 {
                true => {
                    let mut server = hyper::server::conn::http2::Builder::new(Local);
                    server.timer(TokioTimer::new());
                    server.serve_connection(io, service).await
                }
                false => {
                    let mut server = hyper::server::conn::http1::Builder::new();
                    server.timer(TokioTimer::new());
                    server.serve_connection(io, service).with_upgrades().await
                }
            };
        });
    }
}

async fn forward(request: Request<Incoming>, pool: &Pool, upstream: &str) -> Response<Body> {
    match send(request, pool, upstream).await {
        Ok(response) => response,
        Err(_) => {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

async fn send(
    mut request: Request<Incoming>,
    pool: &Pool,
    upstream: &str,
) -> Result<Response<Body>, Failure> {
    let upgrade = request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.version_mut() = http::Version::HTTP_11;
    if !request.headers().contains_key(HOST) {
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(upstream)?);
    }
    let mut sender = loop {
        let Some(mut sender) = pool.borrow_mut().pop() else {
            break connect(upstream).await?;
        };
        if sender.ready().await.is_ok() {
            break sender;
        }
    };
    let mut response = sender.send_request(request).await?;
    if let Some(upgrade) = upgrade {
        let far = hyper::upgrade::on(&mut response);
        tokio::task::spawn_local(async move {
            if let (Ok(near), Ok(far)) = (upgrade.await, far.await) {
                let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
                _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    } else {
        let pool = Rc::clone(pool);
        // The connection takes another request when this answer has ended.
        if sender.is_ready() {
            pool.borrow_mut().push(sender);
        } else {
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    pool.borrow_mut().push(sender);
                }
            });
        }
        response.headers_mut().remove(CONNECTION);
    }
    *response.version_mut() = http::Version::default();
    Ok(response.map(Either::Left))
}

async fn connect(upstream: &str) -> Result<SendRequest<Incoming>, Failure> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move { _ = connection.with_upgrades().await });
    Ok(sender)
}
