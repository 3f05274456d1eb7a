//! Sends requests to the servers behind a gateway.
//!
//! An [`Upstream`] has the [`Server`]s of one path prefix, and a server has the addresses that its name
//! resolves to. A [`Client`] belongs to one worker thread and sends
//! requests: it chooses an address, takes or opens a connection, and sends the request again if no
//! server can have processed it.
//!
//! ```text
//! Client::send ─▶ Upstream::choose ─▶ Endpoint ─▶ idle HTTP/1.1 connection, or a stream of an HTTP/2
//!                 (power of two                   connection of this caller, or connect: a race
//!                  choices)                       of the addresses
//! ```
//!
//! Below HTTP there is TCP, TLS over TCP, or a Unix socket. With TLS, ALPN decides between HTTP/2 and
//! HTTP/1.1 (RFC 7301); gRPC offers only HTTP/2, and WebSockets only HTTP/1.1.
//!
//! Connections are hyper's (`hyper::client::conn`). What its pool in hyper-util did before is done
//! here, and listed in docs/DESIGN.md.

mod answer;
mod callers;
mod client;
mod connect;
mod endpoint;
mod error;
mod frames;
mod health;
mod http1;
mod http2;
mod io;
mod replay;
mod resolve;
mod server;
mod transport;
mod turn;
mod upstream;

pub use self::answer::{AnswerBody, AnswerError};
pub use self::callers::Callers;
pub use self::client::{Client, SendContext};
pub use self::endpoint::InFlight;
pub use self::error::{SendError, SendErrorKind};
pub use self::health::{HealthCheck, InvalidHealthCheck};
pub use self::server::{Protocol, Server, ServerStatus};
pub use self::turn::Turn;
pub use self::upstream::{Settings, Upstream};

use bytes::Bytes;
use http_body::Body;

/// The body of a request that can be sent. Its `Default` is an empty body, which is sent again with a
/// request that had none.
pub trait RequestBody:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
    + Default
    + Send
    + Unpin
    + 'static
{
}

impl<B> RequestBody for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Default
        + Send
        + Unpin
        + 'static
{
}
