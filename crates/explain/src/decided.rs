//! A decision, from a trial or from the audit log.

use voxgate::DenialKind;

/// What was decided about a request, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    pub(crate) method: String,
    /// The path, without its query.
    pub(crate) path: String,
    pub(crate) dialect: String,
    /// How the caller was accepted: `api_key`, `deployment_key` or `public`.
    pub(crate) auth_method: Option<String>,
    pub(crate) key_id: Option<String>,
    /// The scopes that the key had, separated by spaces.
    pub(crate) scopes: Option<String>,
    /// `None` if the request was accepted.
    pub(crate) denial: Option<DenialKind>,
    /// Whether it was refused after its head had been accepted, because of its body or a message.
    pub(crate) in_body: bool,
    /// The limit that was exceeded.
    pub(crate) limit: Option<String>,
    /// The rule of the policy that decided, for a restricted key.
    pub(crate) rule: Option<String>,
    pub(crate) required_scope: Option<String>,
    pub(crate) status: Option<u16>,
    /// The text of the refusal.
    pub(crate) answer: Option<String>,
    /// More about the request, for the reader.
    pub(crate) notes: Vec<String>,
}

/// The steps of a decision, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Request,
    Dialect,
    Key,
    Policy,
    Names,
    Limits,
    Upstream,
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::Request,
        Self::Dialect,
        Self::Key,
        Self::Policy,
        Self::Names,
        Self::Limits,
        Self::Upstream,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Dialect => "dialect",
            Self::Key => "key",
            Self::Policy => "policy",
            Self::Names => "names",
            Self::Limits => "limits",
            Self::Upstream => "upstream",
        }
    }

    /// The step that refuses with this reason.
    pub(crate) fn of(kind: DenialKind) -> Self {
        use DenialKind as Kind;
        match kind {
            Kind::AmbiguousPath
            | Kind::InvalidHost
            | Kind::MethodNotAllowed
            | Kind::InvalidScheme
            | Kind::InvalidHeader
            | Kind::InvalidContentLength
            | Kind::UnsupportedTransferCoding
            | Kind::OriginNotAllowed
            | Kind::UnclearOriginal => Self::Request,
            Kind::UnrecognizedDialect => Self::Dialect,
            Kind::InsufficientScope | Kind::NoRule | Kind::RealtimeOnly => Self::Policy,
            Kind::VoiceNotAllowed
            | Kind::VoiceNotSeen
            | Kind::ModelNotAllowed
            | Kind::ModelNotSeen
            | Kind::LanguageNotAllowed
            | Kind::LanguageNotSeen
            | Kind::FetchNotAllowed
            | Kind::UnreadableBody
            | Kind::TokenCannotMint
            | Kind::InvalidTokenRequest
            | Kind::ContentTooLarge => Self::Names,
            Kind::RateLimited
            | Kind::QuotaExhausted
            | Kind::LimitNotEnforced
            | Kind::Unavailable => Self::Limits,
            Kind::NoUpstream
            | Kind::UpstreamUnreachable
            | Kind::UpstreamTimeout
            | Kind::UpstreamUnavailable
            | Kind::InternalError => Self::Upstream,
            // Whatever else a verifier reports is about the credential.
            _ => Self::Key,
        }
    }
}

/// The kind of a denial with this name in audit records.
pub(crate) fn kind_of(name: &str) -> Option<DenialKind> {
    let mut kinds = DenialKind::ALL.iter().copied();
    kinds.find(|kind| kind.as_str() == name)
}
