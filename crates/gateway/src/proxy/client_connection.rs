//! The HTTP/2 connections to upstreams that one client connection uses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::client::legacy::Client;

use super::ForwardedBody;
use super::connector::Connector;

/// The most callers that have pools of their own on one client connection. A proxy in front can send
/// the requests of many callers on one connection.
const MAX_CALLERS: usize = 256;

/// The pools of HTTP/2 connections to upstreams, one for each caller on this client connection.
///
/// A server that finds a request malformed may end its whole connection (RFC 9113 §5.4.1). With these
/// pools, it ends no stream of another client connection or of another caller. The pools end with
/// the client connection.
#[derive(Clone, Default)]
pub(crate) struct ClientConnection(Arc<Mutex<HashMap<Box<str>, Pool>>>);

/// Connections to each upstream.
type Pool = Client<Connector, ForwardedBody>;

impl ClientConnection {
    /// The pool of this caller, which `make` makes for its first request.
    pub(super) fn pool(&self, key_id: &str, make: impl FnOnce() -> Pool) -> Pool {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(key_id) {
            return pool.clone();
        }
        // Requests in flight keep their connections.
        if pools.len() >= MAX_CALLERS {
            pools.clear();
        }
        let pool = make();
        pools.insert(key_id.into(), pool.clone());
        pool
    }
}
