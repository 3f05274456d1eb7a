//! Starts the program, and servers and clients around it.

mod http;
mod program;
mod receivers;
mod upstream;

pub(crate) use self::http::{Reply, client, client_h2, send_raw};
pub(crate) use self::program::{Program, Started, record, wait_until};
pub(crate) use self::receivers::{Certificate, Collector, Syslog};
pub(crate) use self::upstream::{serve, serve_raw};

/// A caller's key, long enough to be beyond reproach.
pub(crate) const KEY: &str = "caller-key-that-is-long-enough";
/// The deployment key.
pub(crate) const DEPLOYMENT_KEY: &str = "deployment-key-that-is-long-enough";
