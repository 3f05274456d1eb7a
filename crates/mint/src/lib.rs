//! Requests for short-lived tokens, in the form of each vendor's API.
//!
//! A backend that has a key asks for a token and gives it to a browser or a phone. Each vendor has a
//! request of its own for that, so that applications move to their own servers unchanged. This crate
//! has one file for each vendor, with a table of its [endpoints](Endpoint), and the [`MintLayer`] that
//! answers them in front of the proxy. An [`Issuer`] signs the tokens.
//!
//! A token has no more rights than the key that asked for it, does not outlive that key, and cannot
//! ask for tokens itself.

mod answer;
mod body;
mod endpoint;
mod fields;
mod issuer;
mod layer;
mod problem;
mod rights;
mod signed;
mod vendor;
mod wish;

pub use self::answer::AnswerBody;
pub use self::endpoint::{Endpoint, Life};
pub use self::issuer::{IssuedToken, Issuer, NotIssued, TokenRequest};
pub use self::layer::{Mint, MintBody, MintFuture, MintLayer, Minting};
pub use self::rights::MINT_TOKENS;
pub use self::signed::{SignatureVerifier, SignedRequests};
pub use self::vendor::endpoints;
