//! Replays faults of servers and networks, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test panics like the test itself"
)]

mod addresses;
mod harness;
mod http1;
mod http2;
mod tls;
