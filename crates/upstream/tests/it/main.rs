//! Replays faults of servers and networks, over real sockets.

mod addresses;
mod harness;
mod http1;
mod http2;
