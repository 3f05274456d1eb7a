//! What the fuzz targets reach.

use http::Request;

use crate::proxy;

/// The request that goes upstream for one that the authentication layer accepted; `None` if the layer
/// has not seen it.
#[must_use]
pub fn forwarded(request: Request<()>) -> Option<Request<()>> {
    proxy::forwarded(request)
}
