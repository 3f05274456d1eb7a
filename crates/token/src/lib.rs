//! Short-lived tokens in place of keys: JSON Web Tokens (RFC 7519) that Voxgate signs, and those of
//! other issuers.
//!
//! - [`TokenIssuer`] signs tokens with a [`SigningKey`].
//! - [`TokenVerifier`] verifies them, and those of [`TrustedIssuers`]. Its answer, a
//!   [`VerifiedToken`], becomes a principal together with the key behind it.
//! - [`IssuersFile`] describes other issuers, and follows their keys.
//! - [`SpentTokens`] remembers single-use tokens.
//!
//! `jsonwebtoken` reads, signs and verifies; `ring` has the cryptography. This crate decides what is
//! accepted, after RFC 8725 (best current practices for JWT).

mod cache;
mod claims;
mod error;
mod header;
mod issuer;
mod issuers_file;
mod key_set;
mod provider;
mod refresh;
mod rights;
mod signing_key;
mod spent;
mod trusted;
mod verifier;

pub use self::error::TokenError;
pub use self::issuer::{Grant, IssuedToken, NotIssued, TokenIssuer};
pub use self::issuers_file::{FollowedIssuers, IssuersFile};
pub use self::key_set::{InvalidKeySet, KeySet};
pub use self::refresh::{Fetch, FetchRequest};
pub use self::signing_key::{InvalidSigningKey, SigningKey};
pub use self::spent::{SingleUse, SpendToken, Spending, SpentTokens};
pub use self::trusted::{ClaimMapping, TrustedIssuer, TrustedIssuers};
pub use self::verifier::{DEFAULT_CACHE, LEEWAY, TokenVerifier, VerifiedToken};

#[cfg(test)]
mod tests;
