//! Extractors for axum handlers (feature `axum`).

use std::convert::Infallible;
#[cfg(feature = "connect-info")]
use std::net::SocketAddr;

#[cfg(feature = "connect-info")]
use axum::extract::{ConnectInfo, OriginalUri};
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;

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

/// For a handler that also serves routes without the layer: `None` on those.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
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

#[cfg(feature = "connect-info")]
#[cfg_attr(docsrs, doc(cfg(feature = "connect-info")))]
/// The peer's address as axum's own [`ConnectInfo`] has it, for
/// [`AuthLayer::with_peer_address`](crate::AuthLayer::with_peer_address) in a server that is started with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
#[must_use]
pub fn connect_info(extensions: &http::Extensions) -> Option<SocketAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0)
}

#[cfg(feature = "connect-info")]
#[cfg_attr(docsrs, doc(cfg(feature = "connect-info")))]
/// The URI before axum's routers removed the prefix under which they are nested, for
/// [`AuthLayer::with_original_uri`](crate::AuthLayer::with_original_uri).
#[must_use]
pub fn original_uri(extensions: &http::Extensions) -> Option<&http::Uri> {
    extensions.get::<OriginalUri>().map(|original| &original.0)
}
