//! A custom verifier: it looks keys up in a store behind a network, with a timeout.
//!
//! Use [`verify_fn`] like this if your keys are in a database. A key is `id.secret`: the id finds
//! the row, the store holds the digest alone, and this process compares. If the store is slow or
//! down, the answer is 503 with `Retry-After`.
//!
//! ```sh
//! cargo run --example custom_store                          # with a built-in store
//! STORE_ADDR=127.0.0.1:1 cargo run --example custom_store   # with a store that is down
//!
//! curl -H 'Authorization: Bearer ivr.a-secret-for-trying-out' http://127.0.0.1:3000/
//! curl -i -H 'Authorization: Bearer ivr.a-guess' http://127.0.0.1:3000/   # 401
//! ```
//!
//! `PORT`, or the first argument, is the port to listen on; 0 takes a free one.
#![allow(clippy::print_stdout, reason = "a program says where it listens")]

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use voxgate::{
    AuthLayer, Caller, Denial, Digest, Principal, RawCredential, Verdict, Verify, verify_fn,
};

const STORE_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_secs(2);
const MAX_ID_BYTES: usize = 64;
const MAX_ROW_BYTES: u64 = 256;

/// Verifies keys with the store. With a database, the closure holds its connection pool.
fn store_verifier(store: SocketAddr) -> impl Verify<Future: Send> {
    verify_fn(move |credential| {
        // The future cannot borrow from the request, and it needs the digest alone.
        let (id, digest) = (key_id(credential), credential.digest());
        async move {
            match id {
                Some(id) => ask(store, id, digest).await,
                // Text that cannot be a key is refused here and never reaches the store.
                None => Err(Denial::unknown_credential()),
            }
        }
    })
}

/// The part before the dot, if it is an id that is safe to send to the store.
fn key_id(credential: RawCredential<'_>) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let dot = credential.expose().iter().position(|byte| *byte == b'.')?;
    let id = &credential.expose()[..dot];
    let fits = credential.is_plausible() && (1..=MAX_ID_BYTES).contains(&id.len());
    (fits && id.iter().all(plain)).then(|| String::from_utf8_lossy(id).into_owned())
}

async fn ask(store: SocketAddr, id: String, presented: Digest) -> Verdict {
    let row = match timeout(STORE_TIMEOUT, look_up(store, &id)).await {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the key store cannot be asked");
            return Err(Denial::unavailable(RETRY_AFTER));
        }
        Err(_) => {
            tracing::warn!("the key store did not answer in time");
            return Err(Denial::unavailable(RETRY_AFTER));
        }
    };
    // An id that is not there is compared, too, so that ids cannot be found by the time it takes.
    let known = row.is_some();
    let matches = row.unwrap_or_else(|| Digest::of(b"")).matches(&presented);
    match known && matches {
        true => Ok(Principal::new(&id)),
        false => Err(Denial::unknown_credential()),
    }
}

/// `SELECT sha256 FROM keys WHERE id = $1`, in the words of the store below.
async fn look_up(store: SocketAddr, id: &str) -> io::Result<Option<Digest>> {
    let mut stream = TcpStream::connect(store).await?;
    stream.write_all(format!("{id}\n").as_bytes()).await?;
    let mut row = String::new();
    let mut reader = BufReader::new(stream).take(MAX_ROW_BYTES);
    reader.read_line(&mut row).await?;
    match row.as_str() {
        "none\n" => Ok(None),
        // A row that cannot be read is a broken store, not an unknown key.
        text => Digest::from_hex(text.trim_end())
            .map(Some)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The SHA-256 of `ivr.a-secret-for-trying-out`.
const IVR: &str = "5e2054868f0e0370bcac02c97d10c3c7c93d33c172665f69c786d7183c6388dd";

/// Stands for the database: a line with an id in, a line with its digest out.
async fn run_store(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut id = String::new();
            stream.read_line(&mut id).await?;
            let row = if id == "ivr\n" { IVR } else { "none" };
            stream.write_all(format!("{row}\n").as_bytes()).await
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let given = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok());
    let port: u16 = given.as_deref().unwrap_or("3000").parse()?;
    let store = match std::env::var("STORE_ADDR") {
        Ok(address) => address.parse()?,
        Err(_) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            tokio::spawn(run_store(listener));
            address
        }
    };

    let app = Router::new()
        .route(
            "/",
            get(|caller: Caller| async move { format!("hello, {}\n", caller.key_id()) }),
        )
        .layer(AuthLayer::new(store_verifier(store)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
