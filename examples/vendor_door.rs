//! What a refusal looks like in each vendor's dialect, and how to limit callers.
//!
//! It shows a dialect chosen at start, and a verifier that wraps another: keys that start with
//! `limited-` are over their limit, and all others are for the key ring behind it to judge.
//!
//! ```sh
//! VOXGATE_DIALECT=rime cargo run --example vendor_door
//!
//! curl -i -H 'Authorization: Bearer a-key-for-trying-out' http://127.0.0.1:3000/      # 200
//! curl -i -H 'Authorization: Bearer limited-for-trying-out' http://127.0.0.1:3000/    # 429
//! curl -i -H 'Authorization: Bearer a-guess' http://127.0.0.1:3000/                   # 401
//! ```
//!
//! `VOXGATE_DIALECT` is as in the gateway's settings, `VOXGATE_API_KEYS` the keys that are let in,
//! separated by commas. `PORT`, or the first argument, is the port to listen on; 0 takes a free
//! one.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens, and why it does not start"
)]

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use voxgate::{
    AuthLayer, Caller, Denial, DenialKind, Dialect, Key, KeyRing, Principal, RawCredential, Secret,
    Verify, VerifyOutcome,
};

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Refuses keys that are over their limit before it asks the store behind it. A real one counts;
/// this one knows them by their first letters.
struct Limited<V> {
    store: V,
}

impl<V: Verify> Verify for Limited<V> {
    type Future = V::Future;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        // The same bytes in every dialect: the key, without its scheme, and Inworld's `id:secret`
        // without its base64.
        if presented.expose().starts_with(b"limited-") {
            let denial = Denial::new(DenialKind::RateLimited).with_retry_after(RETRY_AFTER);
            return VerifyOutcome::Ready(Err(denial));
        }
        self.store.verify(presented)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let port: u16 = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => setting("PORT", "3000").parse()?,
    };
    let dialect: Dialect = setting("VOXGATE_DIALECT", "rime").parse()?;
    let store = ring(&setting("VOXGATE_API_KEYS", "a-key-for-trying-out"))?;
    let auth = AuthLayer::new(Limited { store }).with_dialect(dialect);

    // Every path and every method: what matters here is who gets in.
    let app = Router::new().fallback(greet).layer(auth);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// A ring of these keys, whose ids are `door-1`, `door-2`, …
fn ring(keys: &str) -> Result<KeyRing, Box<dyn Error>> {
    let keys = keys.split(',').zip(1..).map(|(text, number)| {
        let principal = Principal::new(&format!("door-{number}"));
        Ok(Key::from_secret(&Secret::new(text.trim())?, principal))
    });
    let keys: Vec<Key> = keys.collect::<Result<_, Box<dyn Error>>>()?;
    Ok(KeyRing::new(keys)?)
}

async fn greet(caller: Caller) -> String {
    format!("hello, {}\n", caller.key_id())
}
