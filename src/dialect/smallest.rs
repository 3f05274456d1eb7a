//! Smallest AI (`POST /waves/v1/tts`, WebSocket `/waves/v1/tts/live`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY`, and JSON refusals of two
//! shapes. Its self-hosted server takes `Authorization: Token KEY`.

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, Place, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{reason, sentence};
use super::route::{READ_VOICES, Route, SPEAK, WRITE_VOICES, json, path, route};
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

/// The JSON of every route; self-hosted servers write `voice`.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Voice, json("/voice")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// The older routes name the model in the path.
static MODEL_IN_PATH: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Voice, json("/voice")),
    (Field::Model, path("model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// Events whose data is base64, and messages with `data.audio` (`smallestai` 5.14.0).
const ANSWERS: &[(AnswerField, Place)] = &[
    (AnswerField::Audio, json("")),
    (AnswerField::Audio, json("/audio")),
    (AnswerField::Audio, json("/data/audio")),
];
const DEFAULT_FORMAT: &str = "pcm";
const DEFAULT_RATE: u32 = 24_000;

/// Each message is a whole request.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Message, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Voice, json("/voice")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// The older socket.
static MODEL_IN_PATH_WEBSOCKET: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Model, path("model")),
] })
    .with_messages(Stickiness::Message, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Voice, json("/voice")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// The scheme in which a deployment key is sent to this path. That of a self-hosted server is a
/// licence, and goes up as `Token`.
pub(super) fn upstream_form(path: &str) -> Form {
    match path {
        "/v1/speak" | "/v1/speak/stream" => Form::Scheme("Token", Case::Any),
        _ => Form::Scheme("Bearer", Case::Any),
    }
}

const ROUTES: &[Route] = &[
    route("POST", "/waves/v1/tts", SPEAK).speech(&TTS),
    route("GET", "/waves/v1/tts/live", SPEAK).speech(&WEBSOCKET),
    route("POST", "/waves/v1/tts/live", SPEAK).speech(&TTS),
    route("POST", "/waves/v1/{model}/get_speech", SPEAK).speech(&MODEL_IN_PATH),
    route("POST", "/waves/v1/{model}/stream", SPEAK).speech(&MODEL_IN_PATH),
    route("GET", "/waves/v1/{model}/stream", SPEAK).speech(&MODEL_IN_PATH_WEBSOCKET),
    route("GET", "/waves/v1/{model}/get_voices", READ_VOICES),
    route("GET", "/waves/v1/voice-cloning", READ_VOICES),
    route("*", "/waves/v1/voice-cloning", WRITE_VOICES),
    route("*", "/waves/v1/voice-cloning/*", WRITE_VOICES),
    // The self-hosted server.
    route("POST", "/v1/speak", SPEAK).speech(&TTS),
    route("GET", "/v1/speak/stream", SPEAK).speech(&WEBSOCKET),
    // The older clients.
    route("POST", "/api/v1/{model}/get_speech", SPEAK).speech(&MODEL_IN_PATH),
    route("POST", "/api/v1/{model}/stream", SPEAK).speech(&MODEL_IN_PATH),
    route("GET", "/api/v1/{model}/stream", SPEAK).speech(&MODEL_IN_PATH_WEBSOCKET),
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
