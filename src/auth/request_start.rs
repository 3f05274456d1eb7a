//! The start of a request: its time, its identifier, and the address of its sender.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::Extensions;

use crate::request_id::RequestId;

/// The time at which a request arrived, and its identifier.
#[derive(Clone, Copy)]
pub(super) struct RequestStart {
    pub(super) request_id: RequestId,
    pub(super) time: SystemTime,
    pub(super) instant: Instant,
}

impl RequestStart {
    pub(super) fn now() -> Self {
        let time = SystemTime::now();
        Self {
            request_id: RequestId::new(time.duration_since(UNIX_EPOCH).unwrap_or_default()),
            time,
            instant: Instant::now(),
        }
    }
}

/// The address of the client's end of the connection. A server puts it into the request's
/// extensions so that audit records can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    pub(super) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}
