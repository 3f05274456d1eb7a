//! Who sent a request that came through proxies.
//!
//! A header such as `X-Forwarded-For` says what its author wants. It counts only if the other end of
//! the connection is in a network that the operator trusts, and only as far as trusted proxies wrote it:
//! the list is read from right to left, and the first address that is not trusted is the client.
//!
//! - [`TrustedProxies`] reads the headers, and [`ClientAddressLayer`] puts what it finds into the
//!   extensions of each request: [`PeerAddr`](voxgate::PeerAddr), [`ClientAddr`](voxgate::ClientAddr),
//!   [`ClientRequestId`](voxgate::ClientRequestId) and [`ForwardedFields`].
//! - [`proxy_protocol`] reads the header with which a load balancer begins a connection.

mod address;
mod forwarded;
mod layer;
pub mod proxy_protocol;
mod trusted;

pub use self::layer::{ClientAddress, ClientAddressLayer};
pub use self::trusted::{ClientHeader, Forwarded, ForwardedFields, TrustedProxies};
