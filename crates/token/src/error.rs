//! Why a token is refused.

use std::fmt;

use voxgate_core::denial::DenialKind;

/// The reason for refusing a token. Audit records contain its [name](Self::as_str); the caller
/// learns only that its credential is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is longer than a credential may be.
    TooLarge,
    /// The token is not a JWT in its compact form (RFC 7519), or a claim has the wrong type.
    Malformed,
    /// The token is encrypted (JWE, five parts).
    Encrypted,
    /// `alg` is `none` (RFC 8725 §3.2).
    AlgorithmNone,
    /// The key does not sign with this `alg`. It also is the answer to a token that takes a public
    /// key for the secret of an HMAC (RFC 8725 §2.1).
    AlgorithmMismatch,
    /// `crit` names an extension (RFC 7515 §4.1.11). None is supported.
    UnknownCritical,
    /// The header has a key or a certificate of its own: `jwk` or `x5c`.
    EmbeddedKey,
    /// The header has the URL of a key: `jku` or `x5u`.
    KeyUrl,
    /// The token contains another token: `cty` is `JWT`.
    Nested,
    /// The payload is compressed or not encoded: `zip`, or `b64` that is `false`.
    UnsupportedHeader,
    /// `iss` names no issuer that is accepted.
    UnknownIssuer,
    /// No key of the issuer has this `kid`, or the token needs a `kid` and has none.
    UnknownKey,
    /// The keys of the issuer were never received.
    IssuerUnavailable,
    /// The signature is wrong.
    BadSignature,
    /// `aud` does not name this service.
    WrongAudience,
    /// A required claim is missing.
    MissingClaim,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The token is valid for longer than its issuer's tokens may be.
    TooLongLived,
    /// The token is for another purpose: its `typ` is not `JWT` or `at+jwt`.
    WrongType,
    /// A single-use token was used before.
    AlreadyUsed,
    /// A single-use token is older than this process, which therefore cannot know whether it was
    /// used.
    IssuedBeforeStart,
    /// It is unknown whether a single-use token was used: the store is full or unreachable.
    StoreUnavailable,
    /// The claims give the subject no right that this service knows.
    NoRights,
}

impl TokenError {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::TooLarge,
        Self::Malformed,
        Self::Encrypted,
        Self::AlgorithmNone,
        Self::AlgorithmMismatch,
        Self::UnknownCritical,
        Self::EmbeddedKey,
        Self::KeyUrl,
        Self::Nested,
        Self::UnsupportedHeader,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::IssuerUnavailable,
        Self::BadSignature,
        Self::WrongAudience,
        Self::MissingClaim,
        Self::Expired,
        Self::NotYetValid,
        Self::TooLongLived,
        Self::WrongType,
        Self::AlreadyUsed,
        Self::IssuedBeforeStart,
        Self::StoreUnavailable,
        Self::NoRights,
    ];

    /// The name in audit records: their field `token_error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Encrypted => "encrypted",
            Self::AlgorithmNone => "algorithm_none",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::UnknownCritical => "unknown_critical",
            Self::EmbeddedKey => "embedded_key",
            Self::KeyUrl => "key_url",
            Self::Nested => "nested",
            Self::UnsupportedHeader => "unsupported_header",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::BadSignature => "bad_signature",
            Self::WrongAudience => "wrong_audience",
            Self::MissingClaim => "missing_claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooLongLived => "too_long_lived",
            Self::WrongType => "wrong_type",
            Self::AlreadyUsed => "already_used",
            Self::IssuedBeforeStart => "issued_before_start",
            Self::StoreUnavailable => "store_unavailable",
            Self::NoRights => "no_rights",
        }
    }

    /// The kind of the refusal.
    #[must_use]
    pub fn kind(self) -> DenialKind {
        match self {
            Self::Expired => DenialKind::ExpiredCredential,
            Self::NotYetValid => DenialKind::NotYetValidCredential,
            Self::IssuerUnavailable | Self::StoreUnavailable => DenialKind::Unavailable,
            _ => DenialKind::InvalidToken,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_listed_once() {
        let names: std::collections::HashSet<_> = TokenError::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(names.len(), TokenError::ALL.len());
        assert_eq!(names.len(), TokenError::NoRights as usize + 1);
    }
}
