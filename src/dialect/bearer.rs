//! The neutral dialect: bearer tokens and refusals as RFC 6750 defines them.

use std::borrow::Cow;

use http::StatusCode;
use http::header::AUTHORIZATION;

use super::{Carrier, Profile, Refusal};
use crate::denial::DenialKind;

pub(super) static PROFILE: Profile = Profile {
    name: "bearer",
    carriers: &[Carrier::Scheme {
        header: AUTHORIZATION,
        scheme: "Bearer",
        exact_case: false,
    }],
    upstream: Carrier::Scheme {
        header: AUTHORIZATION,
        scheme: "Bearer",
        exact_case: false,
    },
    deployment_variable: None,
    refuse,
    routes: &[],
};

/// RFC 6750 §3 for the challenge and its error codes; the body repeats the code as JSON in the
/// form of RFC 6749 §5.2.
fn refuse(kind: DenialKind) -> Refusal {
    use DenialKind as Kind;
    let (status, code, description, challenge) = match kind {
        // §3.1: a request without any credential is told no error code.
        Kind::MissingCredential => (
            StatusCode::UNAUTHORIZED,
            "missing_token",
            "no bearer token was presented",
            Some("Bearer realm=\"voxgate\""),
        ),
        Kind::UnknownCredential | Kind::DisabledCredential => (
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "the token is not valid",
            Some("Bearer realm=\"voxgate\", error=\"invalid_token\""),
        ),
        Kind::MalformedCredential | Kind::ConflictingCredentials => (
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "send one header `Authorization: Bearer <token>`",
            Some("Bearer realm=\"voxgate\", error=\"invalid_request\""),
        ),
        Kind::InsufficientScope => (
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the token does not permit this request",
            Some("Bearer realm=\"voxgate\", error=\"insufficient_scope\""),
        ),
        other => (other.status(), other.as_str(), "see the error code", None),
    };
    Refusal {
        status,
        content_type: "application/json",
        body: Cow::Owned(format!(
            "{{\"error\":\"{code}\",\"error_description\":\"{description}\"}}"
        )),
        challenge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_follow_rfc_6750() {
        for (kind, status, code) in [
            (DenialKind::MissingCredential, 401, None),
            (DenialKind::UnknownCredential, 401, Some("invalid_token")),
            (
                DenialKind::MalformedCredential,
                400,
                Some("invalid_request"),
            ),
            (
                DenialKind::ConflictingCredentials,
                400,
                Some("invalid_request"),
            ),
            (
                DenialKind::InsufficientScope,
                403,
                Some("insufficient_scope"),
            ),
        ] {
            let refusal = refuse(kind);
            assert_eq!(refusal.status, status, "{kind:?}");
            let challenge = refusal.challenge.expect("a challenge");
            let error = code.map(|code| format!("Bearer realm=\"voxgate\", error=\"{code}\""));
            let expected = error.as_deref().unwrap_or("Bearer realm=\"voxgate\"");
            assert_eq!(challenge, expected, "{kind:?}");
        }
    }
}
