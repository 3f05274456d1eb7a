//! The reasons for refusing a request.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::principal::Principal;
use voxgate_limits::Limit;

/// A refusal: its kind, and when to retry.
///
/// A denial contains little on purpose. The caller receives the text of its vendor's dialect, and
/// the audit record contains the [`DenialKind`]. Neither contains the credential.
#[derive(Clone, Debug)]
pub struct Denial {
    kind: DenialKind,
    retry_after: Option<Duration>,
    principal: Option<Principal>,
    limit: Option<Limit>,
    /// Members of `RateLimit-Policy` and `RateLimit`.
    quota_fields: Option<Box<[HeaderValue; 2]>>,
    token_error: Option<&'static str>,
}

impl Denial {
    /// A denial of this kind.
    #[must_use]
    pub fn new(kind: DenialKind) -> Self {
        Self {
            kind,
            retry_after: None,
            principal: None,
            limit: None,
            quota_fields: None,
            token_error: None,
        }
    }

    /// No key matches the credential.
    #[must_use]
    pub fn unknown_credential() -> Self {
        Self::new(DenialKind::UnknownCredential)
    }

    /// A system that the decision needs is unreachable: 503.
    #[must_use]
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(DenialKind::Unavailable).with_retry_after(retry_after)
    }

    /// Sets the time after which the caller should retry. It is sent as `Retry-After` in whole
    /// seconds, rounded up (RFC 9110 §10.2.3).
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Names the owner of a known credential that is refused, for the audit record. The owner is
    /// not shown to the caller.
    #[must_use]
    pub fn with_principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Names the limit that was exceeded, for the audit record.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds members of `RateLimit-Policy` and `RateLimit`, which tell the caller about its quotas.
    #[must_use]
    pub fn with_quota_fields(mut self, policy: HeaderValue, limit: HeaderValue) -> Self {
        self.quota_fields = Some(Box::new([policy, limit]));
        self
    }

    /// Members of `RateLimit-Policy` and `RateLimit`.
    #[must_use]
    pub fn quota_fields(&self) -> Option<&[HeaderValue; 2]> {
        self.quota_fields.as_deref()
    }

    /// Names the reason to refuse a token, for the audit record. It is not shown to the caller.
    #[must_use]
    pub fn with_token_error(mut self, reason: &'static str) -> Self {
        self.token_error = Some(reason);
        self
    }

    /// The reason to refuse a token, if the credential was one.
    #[must_use]
    pub fn token_error(&self) -> Option<&'static str> {
        self.token_error
    }

    /// The limit that was exceeded, if any.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// The owner of the credential, if it is known.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The kind of denial.
    #[must_use]
    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// The time after which the caller should retry, if it is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The default HTTP status. A dialect may use the status of its vendor instead.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }
}

impl From<DenialKind> for Denial {
    fn from(kind: DenialKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request refused: {}", self.kind.as_str())
    }
}

impl std::error::Error for Denial {}

/// The kind of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialKind {
    /// The path is ambiguous: the policy could check a different path than the server serves.
    AmbiguousPath,
    /// The request's target and its `Host` do not name one plain authority (RFC 9112 §3.2).
    InvalidHost,
    /// `TRACE` or `CONNECT`. A server that adds a secret to forwarded requests must refuse both.
    MethodNotAllowed,
    /// The target names a scheme other than `http` and `https`.
    InvalidScheme,
    /// A header value begins or ends with a space (RFC 9113 §8.2.1), or a header name has a
    /// character that servers confuse with another.
    InvalidHeader,
    /// `Content-Length` is not one decimal in its canonical form (RFC 9110 §8.6).
    InvalidContentLength,
    /// The body has a transfer coding other than `chunked` (RFC 9112 §6.1).
    UnsupportedTransferCoding,
    /// The dialect was not recognised, so that the location of the credential is unknown.
    UnrecognizedDialect,
    /// No credential location of the dialect contains a credential.
    MissingCredential,
    /// A credential location contains a value, but not in the form that the dialect requires.
    MalformedCredential,
    /// More than one credential was presented.
    ConflictingCredentials,
    /// No key matches the credential.
    UnknownCredential,
    /// The credential has the form of a generated key, but its
    /// checksum is wrong: it is incomplete or mistyped.
    MistypedCredential,
    /// The credential is known, but disabled.
    DisabledCredential,
    /// The credential is known, but expired.
    ExpiredCredential,
    /// The credential is known, but not valid yet.
    NotYetValidCredential,
    /// The credential is a token that is refused. The record has the reason in `token_error`.
    InvalidToken,
    /// The signature of the request is not the one of the key that it names.
    InvalidSignature,
    /// The request was signed too long ago, or in the future.
    StaleSignature,
    /// The nonce of the signature was used before.
    ReplayedSignature,
    /// The principal lacks the scope that the route requires.
    InsufficientScope,
    /// The key may not be used from the address of the client.
    AddressNotAllowed,
    /// The WebSocket is of a page whose origin is not allowed.
    OriginNotAllowed,
    /// A proxy asked about a request, and did not name that request in one way only.
    UnclearOriginal,
    /// A proxy asked about a request, and a limit of the key cannot be enforced without the request's
    /// stream.
    LimitNotEnforced,
    /// The key is limited, and no rule of the policy names the request.
    NoRule,
    /// A key of the kind `realtime` on a route that is not for realtime sessions.
    RealtimeOnly,
    /// The key may not use the voice that the request names.
    VoiceNotAllowed,
    /// The key is limited to voices, and the request names none, or not in one way only.
    VoiceNotSeen,
    /// The key may not use the model that the request names.
    ModelNotAllowed,
    /// The key is limited to models, and the request names none, or not in one way only.
    ModelNotSeen,
    /// The key may not use the language that the request names.
    LanguageNotAllowed,
    /// The key is limited to languages, and the request names none, or not in one way only.
    LanguageNotSeen,
    /// The request names a URL or a file for the server to read, or a voice that is not a name, and
    /// the key lacks the scope for it.
    FetchNotAllowed,
    /// The body of a request by a limited key cannot be read.
    UnreadableBody,
    /// The caller asks for a token with a token, and not with a key.
    TokenCannotMint,
    /// The request for a token is not one that can be answered.
    InvalidTokenRequest,
    /// The body of the request is too large.
    ContentTooLarge,
    /// The caller exceeds a limit.
    RateLimited,
    /// The quota of the caller, or of its account, is used up.
    QuotaExhausted,
    /// A system that the decision or the response needs is temporarily unreachable.
    Unavailable,
    /// No upstream serves this path.
    NoUpstream,
    /// The upstream cannot be reached, or closed the connection before it answered.
    UpstreamUnreachable,
    /// The upstream did not accept a connection, or did not answer, in time.
    UpstreamTimeout,
    /// All addresses of the upstream are out: connections to them fail, or their health checks.
    UpstreamUnavailable,
    /// The gateway failed because of an internal error.
    InternalError,
}

impl DenialKind {
    /// All kinds.
    pub const ALL: &'static [Self] = &[
        Self::AmbiguousPath,
        Self::InvalidHost,
        Self::MethodNotAllowed,
        Self::InvalidScheme,
        Self::InvalidHeader,
        Self::InvalidContentLength,
        Self::UnsupportedTransferCoding,
        Self::UnrecognizedDialect,
        Self::MissingCredential,
        Self::MalformedCredential,
        Self::ConflictingCredentials,
        Self::UnknownCredential,
        Self::MistypedCredential,
        Self::DisabledCredential,
        Self::ExpiredCredential,
        Self::NotYetValidCredential,
        Self::InvalidToken,
        Self::InvalidSignature,
        Self::StaleSignature,
        Self::ReplayedSignature,
        Self::InsufficientScope,
        Self::AddressNotAllowed,
        Self::OriginNotAllowed,
        Self::UnclearOriginal,
        Self::LimitNotEnforced,
        Self::NoRule,
        Self::RealtimeOnly,
        Self::VoiceNotAllowed,
        Self::VoiceNotSeen,
        Self::ModelNotAllowed,
        Self::ModelNotSeen,
        Self::LanguageNotAllowed,
        Self::LanguageNotSeen,
        Self::FetchNotAllowed,
        Self::UnreadableBody,
        Self::TokenCannotMint,
        Self::InvalidTokenRequest,
        Self::ContentTooLarge,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Unavailable,
        Self::NoUpstream,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
        Self::InternalError,
    ];

    /// The reason as a sentence for the caller. A vendor that documents its own text uses that instead.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AmbiguousPath => "The path is ambiguous.",
            Self::InvalidHost => "The Host header is invalid.",
            Self::MethodNotAllowed => "The method is not allowed.",
            Self::InvalidScheme => "The scheme of the request's target is invalid.",
            Self::InvalidHeader => "A header of the request is invalid.",
            Self::InvalidContentLength => "The Content-Length header is invalid.",
            Self::UnsupportedTransferCoding => "The only transfer coding is chunked.",
            Self::UnrecognizedDialect => "The request belongs to no API that is served here.",
            Self::MissingCredential => "The API key is missing.",
            Self::MalformedCredential
            | Self::ConflictingCredentials
            | Self::UnknownCredential
            | Self::MistypedCredential
            | Self::DisabledCredential
            | Self::ExpiredCredential
            | Self::NotYetValidCredential
            | Self::InvalidToken
            | Self::InvalidSignature
            | Self::StaleSignature
            | Self::ReplayedSignature => "The API key is invalid.",
            Self::AddressNotAllowed => "The API key may not be used from this address.",
            Self::OriginNotAllowed => "Pages of this origin may not connect.",
            Self::UnclearOriginal => "The proxy in front does not name the request in one way.",
            Self::LimitNotEnforced => "The API key has limits that this address cannot enforce.",
            Self::InsufficientScope | Self::NoRule | Self::RealtimeOnly => {
                "The API key does not have access to this resource."
            }
            Self::VoiceNotAllowed => "The API key does not have access to this voice.",
            Self::VoiceNotSeen => "The API key is limited to voices; name one voice, once.",
            Self::ModelNotAllowed => "The API key does not have access to this model.",
            Self::ModelNotSeen => "The API key is limited to models; name one model, once.",
            Self::LanguageNotAllowed => "The API key does not have access to this language.",
            Self::LanguageNotSeen => {
                "The API key is limited to languages; name one language, once."
            }
            Self::FetchNotAllowed => {
                "The API key may not have the server read a URL, a file or a voice sample."
            }
            Self::UnreadableBody => {
                "The body must be one document in UTF-8, in the format of this resource, and not \
                 compressed."
            }
            Self::TokenCannotMint => "A token cannot make tokens; use an API key.",
            Self::InvalidTokenRequest => "The request for a token is invalid.",
            Self::ContentTooLarge => "The request is too large.",
            Self::RateLimited => "Too many requests; retry later.",
            Self::QuotaExhausted => "The quota is used up.",
            Self::Unavailable => "The service is unavailable; retry later.",
            Self::NoUpstream => "There is nothing at this path.",
            Self::UpstreamUnreachable => "The TTS server cannot be reached.",
            Self::UpstreamTimeout => "The TTS server did not answer in time.",
            Self::UpstreamUnavailable => "No TTS server is available; retry later.",
            Self::InternalError => "The gateway failed.",
        }
    }

    /// The kind that is shown to the caller. A caller with a refused key does not learn whether the
    /// key is known. Vendors have one error for a missing right, whatever the reason is.
    #[doc(hidden)]
    #[must_use]
    pub fn as_told(self) -> Self {
        match self {
            Self::MistypedCredential
            | Self::DisabledCredential
            | Self::ExpiredCredential
            | Self::NotYetValidCredential
            | Self::InvalidToken
            | Self::InvalidSignature
            | Self::StaleSignature
            | Self::ReplayedSignature => Self::UnknownCredential,
            Self::NoRule | Self::RealtimeOnly => Self::InsufficientScope,
            other => other,
        }
    }

    /// Whether it is uncertain where the request ends, so that its connection must not be used again.
    #[doc(hidden)]
    #[must_use]
    pub fn is_framing(self) -> bool {
        matches!(
            self,
            Self::InvalidContentLength | Self::UnsupportedTransferCoding
        )
    }

    /// Whether the caller failed to authenticate.
    #[doc(hidden)]
    #[must_use]
    pub fn is_failed_authentication(self) -> bool {
        self.status() == StatusCode::UNAUTHORIZED
    }

    /// The name in audit records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The default HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Self::AmbiguousPath => ("ambiguous_path", StatusCode::BAD_REQUEST),
            Self::InvalidHost => ("invalid_host", StatusCode::BAD_REQUEST),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::InvalidScheme => ("invalid_scheme", StatusCode::BAD_REQUEST),
            Self::InvalidHeader => ("invalid_header", StatusCode::BAD_REQUEST),
            Self::InvalidContentLength => ("invalid_content_length", StatusCode::BAD_REQUEST),
            Self::UnsupportedTransferCoding => {
                ("unsupported_transfer_coding", StatusCode::NOT_IMPLEMENTED)
            }
            Self::UnrecognizedDialect => ("unrecognized_dialect", StatusCode::UNAUTHORIZED),
            Self::MissingCredential => ("missing_credential", StatusCode::UNAUTHORIZED),
            Self::MalformedCredential => ("malformed_credential", StatusCode::UNAUTHORIZED),
            Self::ConflictingCredentials => ("conflicting_credentials", StatusCode::UNAUTHORIZED),
            Self::UnknownCredential => ("unknown_credential", StatusCode::UNAUTHORIZED),
            Self::MistypedCredential => ("mistyped_credential", StatusCode::UNAUTHORIZED),
            Self::DisabledCredential => ("disabled_credential", StatusCode::UNAUTHORIZED),
            Self::ExpiredCredential => ("expired_credential", StatusCode::UNAUTHORIZED),
            Self::NotYetValidCredential => ("not_yet_valid_credential", StatusCode::UNAUTHORIZED),
            Self::InvalidToken => ("invalid_token", StatusCode::UNAUTHORIZED),
            Self::InsufficientScope => ("insufficient_scope", StatusCode::FORBIDDEN),
            Self::AddressNotAllowed => ("address_not_allowed", StatusCode::FORBIDDEN),
            Self::OriginNotAllowed => ("origin_not_allowed", StatusCode::FORBIDDEN),
            Self::UnclearOriginal => ("unclear_original", StatusCode::BAD_REQUEST),
            Self::LimitNotEnforced => ("limit_not_enforced", StatusCode::FORBIDDEN),
            Self::NoRule => ("no_rule", StatusCode::FORBIDDEN),
            Self::RealtimeOnly => ("realtime_only", StatusCode::FORBIDDEN),
            Self::VoiceNotAllowed => ("voice_not_allowed", StatusCode::FORBIDDEN),
            Self::VoiceNotSeen => ("voice_not_seen", StatusCode::FORBIDDEN),
            Self::ModelNotAllowed => ("model_not_allowed", StatusCode::FORBIDDEN),
            Self::ModelNotSeen => ("model_not_seen", StatusCode::FORBIDDEN),
            Self::LanguageNotAllowed => ("language_not_allowed", StatusCode::FORBIDDEN),
            Self::LanguageNotSeen => ("language_not_seen", StatusCode::FORBIDDEN),
            Self::FetchNotAllowed => ("fetch_not_allowed", StatusCode::FORBIDDEN),
            Self::UnreadableBody => ("unreadable_body", StatusCode::BAD_REQUEST),
            Self::InvalidSignature => ("invalid_signature", StatusCode::UNAUTHORIZED),
            Self::StaleSignature => ("stale_signature", StatusCode::UNAUTHORIZED),
            Self::ReplayedSignature => ("replayed_signature", StatusCode::UNAUTHORIZED),
            Self::TokenCannotMint => ("token_cannot_mint", StatusCode::FORBIDDEN),
            Self::InvalidTokenRequest => ("invalid_token_request", StatusCode::BAD_REQUEST),
            Self::ContentTooLarge => ("content_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS),
            Self::QuotaExhausted => ("quota_exhausted", StatusCode::TOO_MANY_REQUESTS),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::NoUpstream => ("no_upstream", StatusCode::NOT_FOUND),
            Self::UpstreamUnreachable => ("upstream_unreachable", StatusCode::BAD_GATEWAY),
            Self::UpstreamTimeout => ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT),
            Self::UpstreamUnavailable => ("upstream_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::InternalError => ("internal_error", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed_once() {
        let names: std::collections::HashSet<_> =
            DenialKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), DenialKind::ALL.len());
        assert_eq!(names.len(), DenialKind::InternalError as usize + 1);
    }
}
