//! The identity of a token.

use std::sync::Arc;
use std::time::SystemTime;

/// What identifies a token that was presented instead of a key. Audit records contain it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenIdentity {
    issuer: Arc<str>,
    id: Option<Arc<str>>,
    expires: SystemTime,
}

impl TokenIdentity {
    /// A token of this issuer (`iss`) with this identifier (`jti`), and the time at which it
    /// expires.
    #[must_use]
    pub fn new(issuer: &str, id: Option<&str>, expires: SystemTime) -> Self {
        Self {
            issuer: issuer.into(),
            id: id.map(Into::into),
            expires,
        }
    }

    /// The issuer (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The identifier (`jti`), if the issuer gave it one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// When the token expires (`exp`).
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}
