//! The neutral dialect: bearer tokens and refusals as RFC 6750 defines them.

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::sentence;
use super::{Profile, Refusal, RefusalContext, as_it_is};
use crate::denial::DenialKind;

pub(super) static PROFILE: Profile = Profile {
    name: "bearer",
    credential_locations: &[CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)])],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse,
    routes: &[],
};

/// RFC 6750 §3 for the challenge and its error codes; the body repeats the code as JSON in the
/// form of RFC 6749 §5.2.
pub(super) fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    use DenialKind as Kind;
    let (status, code, challenge) = match kind {
        // §3.1: the refusal of a request without a credential has no error code.
        Kind::MissingCredential | Kind::UnrecognizedDialect => (
            StatusCode::UNAUTHORIZED,
            "missing_token",
            Some("Bearer realm=\"voxgate\""),
        ),
        Kind::UnknownCredential => (
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            Some("Bearer realm=\"voxgate\", error=\"invalid_token\""),
        ),
        Kind::MalformedCredential | Kind::ConflictingCredentials => (
            StatusCode::BAD_REQUEST,
            "invalid_request",
            Some("Bearer realm=\"voxgate\", error=\"invalid_request\""),
        ),
        Kind::InsufficientScope => (
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            Some("Bearer realm=\"voxgate\", error=\"insufficient_scope\""),
        ),
        other => (other.status(), other.as_str(), None),
    };
    let description = match code {
        "invalid_request" => "Send one header `Authorization: Bearer <token>`.",
        _ => sentence(kind),
    };
    let body = format!("{{\"error\":\"{code}\",\"error_description\":\"{description}\"}}");
    Refusal {
        status,
        challenge,
        ..Refusal::json(kind, body)
    }
}
