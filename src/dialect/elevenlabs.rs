//! ElevenLabs (`POST /v1/text-to-speech/{voice_id}`, WebSocket `…/stream-input`).
//!
//! Its client sends the raw header `xi-api-key`; from browsers, `?single_use_token=` on a WebSocket.
//! It reads `detail.status` and `detail.message`.

use http::{HeaderName, StatusCode};
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Form};
use super::refusal::{sentence, word};
use super::route::{
    READ_MODELS, READ_USAGE, READ_VOICES, Route, SPEAK, WRITE_VOICES, header, json, mint, path, query, route,
};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const XI_API_KEY: HeaderName = HeaderName::from_static("xi-api-key");

/// In every response of its API.
pub(super) static CONCURRENCY_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("current-concurrent-requests"),
    HeaderName::from_static("maximum-concurrent-requests"),
];

static CARRIERS: [CredentialLocation; 2] = [
    CredentialLocation::Header(XI_API_KEY, &[Form::Raw]),
    // A token of `POST /v1/single-use-token/tts_websocket`.
    CredentialLocation::Query("single_use_token"),
];

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

/// `output_format` of a request without one.
const DEFAULT_FORMAT: &str = "mp3_44100_128";

/// `previous_text` and `next_text` are not spoken.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, path("voice_id")),
    (Field::Text, json("/text")),
    (Field::Model, json("/model_id")),
    (Field::Language, json("/language_code")),
    (Field::Format, query("output_format")),
] })
    // Credits, by <https://elevenlabs.io/docs/api-reference/text-to-speech/convert>: characters, times the
    // factor of the model.
    .with_answers(const { &[
        (AnswerField::Characters, header("character-cost")),
        (AnswerField::Audio, json("/audio_base64")),
    ] })
    .with_default_audio(DEFAULT_FORMAT, 44_100);

/// The voice of a socket is in its path.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, path("voice_id")),
    (Field::Model, query("model_id")),
    (Field::Language, query("language_code")),
    (Field::Format, query("output_format")),
] })
    .with_messages(Stickiness::Session, const { &[
    (Field::Text, json("/text")),
] })
    .with_answers(const { &[(AnswerField::Audio, json("/audio"))] })
    .with_default_audio(DEFAULT_FORMAT, 44_100);

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
    route("POST", "/v1/text-to-speech/{voice_id}", SPEAK).speech(&TTS),
    route("POST", "/v1/text-to-speech/{voice_id}/stream", SPEAK).speech(&TTS),
    route("POST", "/v1/text-to-speech/{voice_id}/with-timestamps", SPEAK).speech(&TTS),
    route("POST", "/v1/text-to-speech/{voice_id}/stream/with-timestamps", SPEAK).speech(&TTS),
    route("GET", "/v1/text-to-speech/{voice_id}/stream-input", SPEAK).speech(&WEBSOCKET),
    route("GET", "/v1/text-to-speech/{voice_id}/multi-stream-input", SPEAK).speech(&WEBSOCKET),
    // The interface of KugelAudio's server for ElevenLabs' clients.
    route("POST", "/11labs/v1/text-to-speech/{voice_id}", SPEAK).speech(&TTS),
    route("POST", "/11labs/v1/text-to-speech/{voice_id}/stream", SPEAK).speech(&TTS),
    route("GET", "/11labs/v1/text-to-speech/{voice_id}/stream-input", SPEAK).speech(&WEBSOCKET),
    route("GET", "/11labs/v1/text-to-speech/{voice_id}/multi-stream-input", SPEAK).speech(&WEBSOCKET),
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
    mint("/v1/single-use-token/{type}"),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    // <https://elevenlabs.io/docs/developers/resources/error-messages>: a voice of another account is
    // not found.
    let http = match kind {
        DenialKind::VoiceNotAllowed => StatusCode::NOT_FOUND,
        DenialKind::QuotaExhausted => StatusCode::UNAUTHORIZED,
        _ => kind.status(),
    };
    let status = match http.as_u16() {
        404 if kind == DenialKind::VoiceNotAllowed => "voice_not_found",
        _ if kind == DenialKind::QuotaExhausted => "quota_exceeded",
        401 => "invalid_api_key",
        403 => "missing_permissions",
        429 => "too_many_concurrent_requests",
        _ => word(kind),
    };
    let message = sentence(kind);
    let body = format!("{{\"detail\":{{\"status\":\"{status}\",\"message\":\"{message}\"}}}}");
    Refusal {
        status: http,
        ..Refusal::json(kind, body)
    }
}
