//! Rime (`POST /v1/rime-tts`, WebSocket `/ws`, `/ws2`, `/ws3`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY` with a capital B, and the
//! refusals `missing headers` and `invalid api key` as plain text: the second also when the
//! `Bearer` prefix is missing.

use std::borrow::Cow;

use http::header::AUTHORIZATION;

use super::{Carrier, Profile, Refusal};
use crate::denial::DenialKind;

pub(super) static PROFILE: Profile = Profile {
    name: "rime",
    carriers: &[Carrier::Scheme {
        header: AUTHORIZATION,
        scheme: "Bearer",
        exact_case: true,
    }],
    upstream: Carrier::Scheme {
        header: AUTHORIZATION,
        scheme: "Bearer",
        exact_case: true,
    },
    deployment_variable: Some("RIME_API_KEY"),
    refuse,
    routes: &[
        ("POST", "/v1/rime-tts", "tts:synthesize"),
        ("GET", "/ws", "tts:synthesize"),
        ("GET", "/ws2", "tts:synthesize"),
        ("GET", "/ws3", "tts:synthesize"),
        // The on-premises container listens at the root, for HTTP and for WebSocket.
        ("POST", "/", "tts:synthesize"),
        ("GET", "/", "tts:synthesize"),
        ("GET", "/data/voices/*", "voices:read"),
    ],
};

fn refuse(kind: DenialKind) -> Refusal {
    use DenialKind as Kind;
    let (body, challenge) = match kind {
        Kind::MissingCredential => ("missing headers", Some("Bearer")),
        Kind::MalformedCredential
        | Kind::ConflictingCredentials
        | Kind::UnknownCredential
        | Kind::DisabledCredential => ("invalid api key", Some("Bearer")),
        Kind::InsufficientScope => ("access forbidden", None),
        Kind::RateLimited => ("Currently at websocket limit", None),
        // Rime documents no words for what only a gateway can answer.
        Kind::AmbiguousPath => ("bad request: the path is ambiguous", None),
        Kind::InvalidHost => ("bad request: the Host header is invalid", None),
        Kind::MethodNotAllowed => ("method not allowed", None),
        Kind::Unavailable => ("service unavailable", None),
        Kind::NoUpstream => ("not found", None),
        Kind::UpstreamUnreachable => ("bad gateway: the TTS server cannot be reached", None),
        Kind::UpstreamTimeout => (
            "gateway timeout: the TTS server did not answer in time",
            None,
        ),
    };
    Refusal {
        status: kind.status(),
        content_type: "text/plain",
        body: Cow::Borrowed(body),
        challenge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn refusals_are_rimes_own_words() {
        for (kind, status, body) in [
            (DenialKind::MissingCredential, 401, "missing headers"),
            (DenialKind::MalformedCredential, 401, "invalid api key"),
            (DenialKind::ConflictingCredentials, 401, "invalid api key"),
            (DenialKind::UnknownCredential, 401, "invalid api key"),
            (DenialKind::DisabledCredential, 401, "invalid api key"),
            (DenialKind::InsufficientScope, 403, "access forbidden"),
            (DenialKind::RateLimited, 429, "Currently at websocket limit"),
            (
                DenialKind::AmbiguousPath,
                400,
                "bad request: the path is ambiguous",
            ),
            (DenialKind::Unavailable, 503, "service unavailable"),
        ] {
            let refusal = refuse(kind);
            assert_eq!(refusal.status, status, "{kind:?}");
            assert_eq!(refusal.body, body, "{kind:?}");
            assert_eq!(refusal.content_type, "text/plain", "{kind:?}");
            let challenged = refusal.challenge.is_some();
            assert_eq!(
                challenged,
                refusal.status == StatusCode::UNAUTHORIZED,
                "{kind:?}"
            );
        }
    }
}
