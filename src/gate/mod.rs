//! The layer: the way of a request, from its credential to its end record.
//!
//! [`AuthLayer`] holds the settings, [`Auth`] is the service, [`AuthFuture`] its future and
//! [`GateBody`] the body of its responses. What happens to a request stands in one function, in
//! `pipeline.rs`.

mod arrival;
mod body;
mod exchange;
mod future;
mod layer;
mod pipeline;
mod record;
mod service;

pub use self::arrival::PeerAddr;
pub use self::body::GateBody;
pub use self::exchange::Tunnel;
pub use self::future::AuthFuture;
pub use self::layer::AuthLayer;
pub use self::service::Auth;
