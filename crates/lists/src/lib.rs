//! Removes the voices and models that a caller may not use from the lists of a text-to-speech server.
//!
//! [`FilterListsLayer`] goes between [`AuthLayer`](voxgate::AuthLayer) and the service that asks the
//! server. It concerns only callers that are limited to voices or models ([`Principal::has_voice`],
//! [`Principal::has_model`]), and only the lists that it knows, by dialect and path:
//!
//! - A list is read whole, at most [`MAX_LIST`] bytes, and answered again with what the caller may use.
//! - A request for one voice or model (`LIST/{id}…`) is refused with 403 if the caller may not use it.
//!
//! An answer that is not understood is not passed on: the caller gets 502. So it is if the list is
//! too long, compressed or partial, is not JSON, or has another structure. Of the answer, only the
//! list and plain values beside it are kept, because anything else could name others.
//!
//! [`Principal::has_voice`]: voxgate::Principal::has_voice
//! [`Principal::has_model`]: voxgate::Principal::has_model

mod filter;
mod layer;
mod routes;
#[cfg(test)]
mod tests;

pub use self::layer::{FilterLists, FilterListsLayer, MAX_LIST};
