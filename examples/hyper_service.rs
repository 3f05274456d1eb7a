//! The layer in a bare hyper server, without a framework.
//!
//! It shows a key ring made in code, a generated key, and how the server tells the audit record
//! who is at the other end of the connection.
//!
//! ```sh
//! cargo run --example hyper_service   # prints its key, once
//!
//! curl -H "Authorization: Bearer $KEY" http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/      # 401, as RFC 6750 has it
//! ```
//!
//! `PORT`, or the first argument, is the port to listen on; 0 takes a free one.
#![allow(
    clippy::print_stdout,
    reason = "the key is for whoever starts the program, and not for its log"
)]

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt, service_fn};
use voxgate::keys::generate_key;
use voxgate::{AuthLayer, Caller, Key, KeyRing, PeerAddr, Policy, Principal, Scope};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let given = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok());
    let port: u16 = given.as_deref().unwrap_or("3000").parse()?;

    let service = auth()?.layer(service_fn(greet));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            // The clone costs two reference counts: all connections share one gate.
            Ok((stream, peer)) => drop(tokio::spawn(connection(stream, peer, service.clone()))),
            Err(error) => tracing::warn!(%error, "a connection was not accepted"),
        }
    }
}

/// One key, which may do one thing.
fn auth() -> Result<AuthLayer<KeyRing>, Box<dyn Error>> {
    let key = generate_key()?;
    println!("key {}", key.expose());
    let principal = Principal::new("demo").with_scopes(Scope::new("greetings:read"));
    // The ring keeps the digest of the key; the key itself is gone after this.
    let ring = KeyRing::new([Key::from_secret(&key, principal)])?;
    let policy = Policy::default().route("GET", "/", "greetings:read");
    Ok(AuthLayer::new(ring).with_policy(policy))
}

async fn connection<S, B>(stream: TcpStream, peer: SocketAddr, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    // Outside of the layer, so that the address is there when the decision is recorded.
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        request
    });
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::debug!(error, %peer, "the connection broke");
    }
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // Only the layer makes a `Caller`, so without one this service stands unguarded.
    let (status, text) = match request.extensions().get::<Caller>() {
        Some(caller) => (StatusCode::OK, format!("hello, {}\n", caller.key_id())),
        None => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}
