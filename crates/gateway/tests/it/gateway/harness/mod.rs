//! Starts the program, and servers and clients around it.

mod http;
mod program;
mod receivers;
/// The same as in the tests of `voxgate-limits-redis`.
#[allow(dead_code)]
#[path = "../../../../../limits-redis/src/tests/server.rs"]
pub(crate) mod redis_server;
mod token;
mod upstream;

pub(crate) use self::http::{Reply, client, client_h2, send_raw};
pub(crate) use self::program::{Program, Started, record, wait_until};
pub(crate) use self::receivers::{Certificate, Collector, Syslog};
pub(crate) use self::token::Token;
pub(crate) use self::upstream::{ANY, listen, nowhere, serve, serve_raw};

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not yet: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A caller's key, long enough to be beyond reproach.
pub(crate) const KEY: &str = "caller-key-that-is-long-enough";
/// The deployment key.
pub(crate) const DEPLOYMENT_KEY: &str = "deployment-key-that-is-long-enough";
