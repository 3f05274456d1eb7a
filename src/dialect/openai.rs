//! OpenAI, and the servers that are compatible with it (`POST /v1/audio/speech`).
//!
//! Its client sends `Authorization: Bearer KEY`; in a browser, the subprotocols `realtime` and
//! `openai-insecure-api-key.KEY` of the realtime WebSocket. It reads `error.message`, `type`, `param` and
//! `code`.

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, READ_VOICES, Route, SPEAK, json, mint, query, route};
use super::subprotocol::Offer;
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "openai",
    credential_locations: &[
        CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
        CredentialLocation::Subprotocol(Offer::PrefixBeside("openai-insecure-api-key.", "realtime")),
    ],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse,
    retry: Retry::Header,
    routes: ROUTES,
};

/// `instructions` is not spoken. Compatible servers read files that a body names.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/input")),
    (Field::Voice, json("/voice")),
    (Field::Voice, json("/voice/id")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Language, json("/lang_code")),
    (Field::Format, json("/response_format")),
    (Field::SampleRate, json("/sample_rate")),
    (Field::Fetch, json("/ref_audio")),
    (Field::Fetch, json("/reference_audio")),
    (Field::Fetch, json("/reference_audio_filename")),
    (Field::Fetch, json("/references")),
    (Field::Fetch, json("/speaker_wav")),
    (Field::Fetch, json("/audio_prompt")),
    (Field::Fetch, json("/audio_prompt_path")),
    (Field::Fetch, json("/speaker_embedding")),
] })
    // `stream_format` `sse`; `pcm` has 24 kHz (<https://platform.openai.com/docs/guides/text-to-speech>).
    .with_answers(const { &[(AnswerField::Audio, json("/audio"))] })
    .with_default_audio("mp3", 24_000);

/// vLLM-Omni: the voice of an item replaces that of the batch.
static BATCH: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/items/*/input")),
    (Field::Voice, json("/voice")),
    (Field::DefaultVoice, json("/items/*/voice")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::DefaultVoice, json("/items/*/voice/id")),
    (Field::Format, json("/response_format")),
    (Field::Fetch, json("/ref_audio")),
    (Field::Fetch, json("/reference_audio")),
    (Field::Fetch, json("/reference_audio_filename")),
    (Field::Fetch, json("/references")),
    (Field::Fetch, json("/speaker_wav")),
    (Field::Fetch, json("/audio_prompt")),
    (Field::Fetch, json("/audio_prompt_path")),
    (Field::Fetch, json("/speaker_embedding")),
    (Field::Fetch, json("/items/*/ref_audio")),
] });

/// vLLM-Omni: `session.config`, then `input.text`.
static STREAM: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Session, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/response_format")),
    (Field::Fetch, json("/ref_audio")),
    (Field::Fetch, json("/speaker_embedding")),
] });

/// A conversation: the server writes the text.
static REALTIME: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Model, query("model")),
] })
    .with_messages(Stickiness::Session, const { &[
    (Field::Voice, json("/session/audio/output/voice")),
    (Field::Voice, json("/session/audio/output/voice/id")),
    (Field::Voice, json("/session/voice")),
    (Field::Voice, json("/response/audio/output/voice")),
    (Field::Voice, json("/response/audio/output/voice/id")),
    (Field::Voice, json("/response/voice")),
    (Field::Model, json("/session/model")),
] })
    .unmetered();

const ROUTES: &[Route] = &[
    route("POST", "/v1/audio/speech", SPEAK).speech(&TTS),
    // Servers that are compatible with it: vLLM-Omni's batches and WebSocket.
    route("POST", "/v1/audio/speech/batch", SPEAK).speech(&BATCH),
    route("GET", "/v1/audio/speech/stream", SPEAK).speech(&STREAM),
    route("GET", "/v1/audio/voices", READ_VOICES),
    route("GET", "/v1/models", READ_MODELS),
    // Names of models on compatible servers have a slash: `org/model`.
    route("GET", "/v1/models/{model%2F}", READ_MODELS),
    route("GET", "/v1/models/*", READ_MODELS),
    route("GET", "/v1/realtime", "realtime").realtime().speech(&REALTIME),
    mint("/v1/realtime/client_secrets"),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    let (error, code) = match kind.status().as_u16() {
        _ if kind == DenialKind::QuotaExhausted => ("insufficient_quota", "insufficient_quota"),
        401 => ("invalid_request_error", "invalid_api_key"),
        429 => ("requests", "rate_limit_exceeded"),
        500.. => ("server_error", word(kind)),
        _ => ("invalid_request_error", word(kind)),
    };
    let message = sentence(kind);
    Refusal::json(
        kind,
        format!(
            "{{\"error\":{{\"message\":\"{message}\",\"type\":\"{error}\",\"param\":null,\
             \"code\":\"{code}\"}}}}"
        ),
    )
    .challenge("Bearer")
}
