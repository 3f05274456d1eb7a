//! Smallest AI (`POST /waves/v1/tts`, WebSocket `/waves/v1/tts/live`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY`, and JSON refusals of two
//! shapes. Its self-hosted server takes `Authorization: Token KEY`.

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{reason, sentence};
use super::route::{READ_VOICES, Route, SPEAK, WRITE_VOICES, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "smallest",
    credential_locations: &[CredentialLocation::Header(
        AUTHORIZATION,
        &[Form::Scheme("Bearer", Case::Any), Form::Scheme("Token", Case::Any)],
    )],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: Some("SMALLEST_API_KEY"),
    refuse,
    retry: Retry::Shortened,
    routes: ROUTES,
};

const ROUTES: &[Route] = &[
    route("POST", "/waves/v1/tts", SPEAK),
    route("GET", "/waves/v1/tts/live", SPEAK),
    route("POST", "/waves/v1/tts/live", SPEAK),
    route("POST", "/waves/v1/{model}/get_speech", SPEAK),
    route("POST", "/waves/v1/{model}/stream", SPEAK),
    route("GET", "/waves/v1/{model}/stream", SPEAK),
    route("GET", "/waves/v1/{model}/get_voices", READ_VOICES),
    route("GET", "/waves/v1/voice-cloning", READ_VOICES),
    route("*", "/waves/v1/voice-cloning", WRITE_VOICES),
    route("*", "/waves/v1/voice-cloning/*", WRITE_VOICES),
    // The self-hosted server.
    route("POST", "/v1/speak", SPEAK),
    route("GET", "/v1/speak/stream", SPEAK),
    // The older clients.
    route("POST", "/api/v1/{model}/get_speech", SPEAK),
    route("POST", "/api/v1/{model}/stream", SPEAK),
    route("GET", "/api/v1/{model}/stream", SPEAK),
    route("GET", "/api/v1/{model}/get_voices", READ_VOICES),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    let body = match (kind, kind.status().as_u16()) {
        (DenialKind::MissingCredential, _) => {
            "{\"message\":\"Unauthorized: No tokens provided\"}".to_owned()
        }
        (DenialKind::QuotaExhausted, _) => format!(
            "{{\"error\":\"{}\",\"request_id\":\"{}\"}}",
            sentence(kind),
            context.request_id
        ),
        (_, 401) => {
            "{\"error\":\"Unauthorized\",\"message\":\"Bearer token is missing or invalid.\"}"
                .to_owned()
        }
        (_, 429) => format!(
            "{{\"error\":\"Rate limit exceeded. Please retry after a short backoff.\",\
             \"request_id\":\"{}\"}}",
            context.request_id
        ),
        _ => format!(
            "{{\"error\":\"{}\",\"message\":\"{}\"}}",
            reason(kind),
            sentence(kind)
        ),
    };
    Refusal::json(kind, body).challenge("Bearer")
}
