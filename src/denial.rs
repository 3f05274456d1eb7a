//! Why a request is not let through.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::limit::Limit;
use crate::principal::Principal;

/// A refusal: its kind, and when a retry makes sense.
///
/// It says little on purpose. The caller reads the words of its vendor's dialect, the audit record
/// holds the [`DenialKind`], and neither holds the credential.
#[derive(Clone, Debug)]
pub struct Denial {
    kind: DenialKind,
    retry_after: Option<Duration>,
    principal: Option<Principal>,
    limit: Option<Limit>,
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

    /// Adds the time after which a retry makes sense. It is sent as `Retry-After` in whole
    /// seconds, rounded up (RFC 9110 §10.2.3).
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Names whose credential it was, for the audit record: it is known, and refused all the same.
    /// The caller is not told.
    #[must_use]
    pub fn with_principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Names the limit that was hit, for the audit record.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The limit that was hit, if one was.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Whose credential it was, if that is known.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// What kind of denial it is.
    #[must_use]
    pub fn kind(&self) -> DenialKind {
        self.kind
    }

    /// The time after which a retry makes sense, if it is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The status a neutral server answers with. A dialect may choose its vendor's own.
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

/// What kind of denial it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialKind {
    /// The path has more than one meaning, so the policy could judge another path than is served.
    AmbiguousPath,
    /// The request's target and its `Host` do not name one plain authority (RFC 9112 §3.2).
    InvalidHost,
    /// `TRACE` or `CONNECT`: neither may pass a server that adds a secret to what it forwards.
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
    /// The dialect was not recognised, so it is unknown where the credential would be.
    UnrecognizedDialect,
    /// No credential location of the dialect holds a credential.
    MissingCredential,
    /// A credential location is used, but not in the form that the dialect requires.
    MalformedCredential,
    /// More than one credential was presented.
    ConflictingCredentials,
    /// No key matches the credential.
    UnknownCredential,
    /// The credential has the form of [our own keys](crate::generate_key) and not their checksum:
    /// a part of it is missing, or it was typed.
    MistypedCredential,
    /// The credential is known and has been disabled.
    DisabledCredential,
    /// The credential is known and does not count any more.
    ExpiredCredential,
    /// The credential is known and does not count yet.
    NotYetValidCredential,
    /// The principal lacks the scope that the route requires.
    InsufficientScope,
    /// The request's body is larger than is allowed.
    ContentTooLarge,
    /// The caller sends more than its limit.
    RateLimited,
    /// A system that the decision or the response needs is unreachable at the moment.
    Unavailable,
    /// No upstream serves this path.
    NoUpstream,
    /// The upstream cannot be reached, or broke off before it answered.
    UpstreamUnreachable,
    /// The upstream did not accept a connection, or did not answer, in time.
    UpstreamTimeout,
}

impl DenialKind {
    /// The kind that the caller sees. A caller with a refused key does not learn whether the key is
    /// known.
    pub(crate) fn as_told(self) -> Self {
        match self {
            Self::MistypedCredential
            | Self::DisabledCredential
            | Self::ExpiredCredential
            | Self::NotYetValidCredential => Self::UnknownCredential,
            other => other,
        }
    }

    /// Whether it is uncertain where the request ends, so that its connection must not be used again.
    pub(crate) fn is_framing(self) -> bool {
        matches!(
            self,
            Self::InvalidContentLength | Self::UnsupportedTransferCoding
        )
    }

    /// Whether the caller failed to authenticate.
    pub(crate) fn is_failed_authentication(self) -> bool {
        self.status() == StatusCode::UNAUTHORIZED
    }

    /// The name that stands in audit records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status a neutral server answers with.
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
            Self::InsufficientScope => ("insufficient_scope", StatusCode::FORBIDDEN),
            Self::ContentTooLarge => ("content_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::NoUpstream => ("no_upstream", StatusCode::NOT_FOUND),
            Self::UpstreamUnreachable => ("upstream_unreachable", StatusCode::BAD_GATEWAY),
            Self::UpstreamTimeout => ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT),
        }
    }
}
