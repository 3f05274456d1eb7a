//! What signs the tokens.

use std::fmt;
use std::time::{Duration, SystemTime};

use voxgate::Principal;

/// A token to sign.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The key that asked.
    pub key: Principal,
    /// The rights of the token: the id of the key, with scopes, voices and kind of the token.
    pub principal: Principal,
    /// How long the token is valid, in whole seconds.
    pub life: Duration,
    /// Whether the token can be used once only.
    pub single_use: bool,
}

/// A signed token.
#[derive(Clone)]
pub struct IssuedToken {
    /// The token in its compact form (RFC 7515 §7.1). It is a secret.
    pub token: String,
    /// Its identifier (`jti`).
    pub id: String,
    /// When it was issued.
    pub issued: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why a token could not be signed. The text says so without any secret.
#[derive(Debug)]
pub struct NotIssued(pub String);

impl fmt::Display for NotIssued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotIssued {}

/// Signs tokens.
pub trait Issuer: Send + Sync {
    /// Signs a token. Must not block.
    ///
    /// # Errors
    ///
    /// If the token cannot be signed. The request is then answered with 503.
    fn issue(&self, request: &TokenRequest) -> Result<IssuedToken, NotIssued>;
}
