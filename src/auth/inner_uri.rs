//! The URI of a request that is judged by another one.

use std::mem;

use http::{Extensions, Request, Uri};

/// In the extensions of a request while it is judged by another URI: its own.
#[derive(Clone)]
pub(super) struct InnerUri(Uri);

impl InnerUri {
    /// Gives the request the URI that `find` returns, and keeps its own.
    pub(super) fn exchange<B>(request: &mut Request<B>, find: fn(&Extensions) -> Option<&Uri>) {
        let Some(original) = find(request.extensions()).cloned() else {
            return;
        };
        let own = mem::replace(request.uri_mut(), original);
        request.extensions_mut().insert(Self(own));
    }

    /// Gives the request its own URI again.
    pub(super) fn restore<B>(request: &mut Request<B>) {
        if let Some(Self(own)) = request.extensions_mut().remove::<Self>() {
            *request.uri_mut() = own;
        }
    }
}
