//! ElevenLabs (`POST /v1/text-to-speech/{voice_id}`, WebSocket `…/stream-input`).
//!
//! Its client sends the raw header `xi-api-key` and reads `detail.status` and `detail.message`.

use http::HeaderName;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, READ_USAGE, READ_VOICES, Route, SPEAK, WRITE_VOICES, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const XI_API_KEY: HeaderName = HeaderName::from_static("xi-api-key");

/// In every response of its API.
pub(super) static CONCURRENCY_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("current-concurrent-requests"),
    HeaderName::from_static("maximum-concurrent-requests"),
];

static CARRIERS: [CredentialLocation; 1] = [CredentialLocation::Header(XI_API_KEY, &[Form::Raw])];

pub(super) static PROFILE: Profile = Profile {
    name: "elevenlabs",
    credential_locations: &CARRIERS,
    canonical: as_it_is,
    upstream: (XI_API_KEY, Form::Raw),
    deployment_variable: None,
    refuse,
    retry: Retry::Shortened,
    routes: ROUTES,
};

/// The WebSockets whose messages may have the members `xi-api-key`, `xi_api_key` or
/// `authorization`: the first one, and with several contexts the first one of each.
pub(super) const CREDENTIAL_IN_MESSAGE: &[&str] = &[
    "/v1/text-to-speech/{voice_id}/stream-input",
    "/v1/text-to-speech/{voice_id}/multi-stream-input",
    "/v1/text-to-dialogue/stream-input",
    "/v1/text-to-dialogue/multi-stream-input",
    "/11labs/v1/text-to-speech/{voice_id}/stream-input",
    "/11labs/v1/text-to-speech/{voice_id}/multi-stream-input",
];

const ROUTES: &[Route] = &[
    route("POST", "/v1/text-to-speech/{voice_id}", SPEAK).voice("voice_id"),
    route("POST", "/v1/text-to-speech/{voice_id}/stream", SPEAK).voice("voice_id"),
    route("POST", "/v1/text-to-speech/{voice_id}/with-timestamps", SPEAK).voice("voice_id"),
    route("POST", "/v1/text-to-speech/{voice_id}/stream/with-timestamps", SPEAK).voice("voice_id"),
    route("GET", "/v1/text-to-speech/{voice_id}/stream-input", SPEAK).voice("voice_id"),
    route("GET", "/v1/text-to-speech/{voice_id}/multi-stream-input", SPEAK).voice("voice_id"),
    // The interface of KugelAudio's server for ElevenLabs' clients.
    route("POST", "/11labs/v1/text-to-speech/{voice_id}", SPEAK).voice("voice_id"),
    route("POST", "/11labs/v1/text-to-speech/{voice_id}/stream", SPEAK).voice("voice_id"),
    route("GET", "/11labs/v1/text-to-speech/{voice_id}/stream-input", SPEAK).voice("voice_id"),
    route("GET", "/11labs/v1/text-to-speech/{voice_id}/multi-stream-input", SPEAK).voice("voice_id"),
    route("GET", "/11labs/v1/voices", READ_VOICES),
    route("GET", "/11labs/v1/models", READ_MODELS),
    route("GET", "/v1/voices", READ_VOICES),
    route("GET", "/v1/voices/*", READ_VOICES),
    route("GET", "/v2/voices", READ_VOICES),
    route("POST", "/v1/voices/*", WRITE_VOICES),
    route("DELETE", "/v1/voices/*", WRITE_VOICES),
    route("GET", "/v1/models", READ_MODELS),
    route("GET", "/v1/user", READ_USAGE),
    route("GET", "/v1/user/*", READ_USAGE),
    route("GET", "/v1/usage/*", READ_USAGE),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    let status = match kind.status().as_u16() {
        401 => "invalid_api_key",
        403 => "missing_permissions",
        429 => "too_many_concurrent_requests",
        _ => word(kind),
    };
    let message = sentence(kind);
    Refusal::json(
        kind,
        format!("{{\"detail\":{{\"status\":\"{status}\",\"message\":\"{message}\"}}}}"),
    )
}
