//! Cartesia (`POST /tts/bytes`, WebSocket `/tts/websocket`).
//!
//! Its clients send `Authorization: Bearer KEY`, older ones `X-API-Key`; from browsers
//! `?api_key=KEY` or `?access_token=TOKEN` on the WebSocket. They read `error_code`, `title`,
//! `message` and `request_id`.

use http::{HeaderName, StatusCode};
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{reason, sentence, word};
use super::route::{READ_VOICES, Route, SPEAK, WRITE_VOICES, json, mint, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

static CARRIERS: [CredentialLocation; 4] = [
    CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
    CredentialLocation::Header(X_API_KEY, &[Form::Raw]),
    CredentialLocation::Query("api_key"),
    CredentialLocation::Query("access_token"),
];

pub(super) static PROFILE: Profile = Profile {
    name: "cartesia",
    credential_locations: &CARRIERS,
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse,
    retry: Retry::Header,
    routes: ROUTES,
};

/// `voice` is an object with the id, or with an embedding.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/transcript")),
    (Field::Voice, json("/voice")),
    (Field::Voice, json("/voice/id")),
    (Field::Fetch, json("/voice/embedding")),
    (Field::Model, json("/model_id")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format/encoding")),
    (Field::SampleRate, json("/output_format/sample_rate")),
] })
    .with_answers(const { &[(AnswerField::Audio, json("/data"))] });

/// Each message names its voice.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Message, const { &[
    (Field::Text, json("/transcript")),
    (Field::Voice, json("/voice")),
    (Field::Voice, json("/voice/id")),
    (Field::Fetch, json("/voice/embedding")),
    (Field::Model, json("/model_id")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format/encoding")),
    (Field::SampleRate, json("/output_format/sample_rate")),
] })
    .with_answers(const { &[(AnswerField::Audio, json("/data"))] });

const ROUTES: &[Route] = &[
    route("POST", "/tts/bytes", SPEAK).speech(&TTS),
    route("POST", "/tts/sse", SPEAK).speech(&TTS),
    route("GET", "/tts/websocket", SPEAK).speech(&WEBSOCKET),
    route("GET", "/voices", READ_VOICES),
    route("GET", "/voices/*", READ_VOICES),
    route("*", "/voices", WRITE_VOICES),
    route("*", "/voices/*", WRITE_VOICES),
    mint("/access-token"),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    let (status, code, title) = match kind {
        DenialKind::QuotaExhausted => {
            (StatusCode::PAYMENT_REQUIRED, "quota_exceeded", "Payment Required")
        }
        _ => (kind.status(), word(kind), reason(kind)),
    };
    let message = sentence(kind);
    let request_id = context.request_id;
    Refusal::json(
        kind,
        format!(
            "{{\"error_code\":\"{code}\",\"title\":\"{title}\",\"message\":\"{message}\",\
             \"request_id\":\"{request_id}\"}}"
        ),
    )
    .status(status)
    .challenge("Bearer")
}
