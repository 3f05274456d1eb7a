//! Extractors for axum handlers (feature `axum`).

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum_core::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::auth::Tunnel;
use crate::principal::Caller;

/// Answers 500 when the layer did not run: a route that was left outside it must not look like a
/// route with an anonymous caller.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "this route is not behind voxgate::AuthLayer",
        ))
    }
}

/// Hold it for as long as the upgraded connection lives. Answers 400 to a request that does not
/// ask for an upgrade.
impl<S: Sync> FromRequestParts<S> for Tunnel {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or((StatusCode::BAD_REQUEST, "an upgrade is required"))
    }
}

/// The peer's address as axum's own [`ConnectInfo`] has it, for
/// [`AuthLayer::with_peer_address`](crate::AuthLayer::with_peer_address) in a server that is started with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
#[must_use]
pub fn connect_info(extensions: &Extensions) -> Option<SocketAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0)
}
