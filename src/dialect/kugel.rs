//! KugelAudio (`POST /v1/tts/generate`, WebSocket `/ws/tts`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY`, and as `?api_key=KEY` on a
//! WebSocket. The official client sends `X-API-Key` beside the first, and strips one region prefix
//! from its key before it sends it; other clients send the key unchanged, and Vapi sends
//! `x-vapi-secret`. Refusals have the documented `error` object, and also the fields that newer
//! clients read.

use http::{HeaderName, StatusCode};
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, Place, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, READ_VOICES, Route, SPEAK, WRITE_VOICES, json, query, route};
use super::{Profile, Refusal, RefusalContext, Retry};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_VAPI_SECRET: HeaderName = HeaderName::from_static("x-vapi-secret");
const REGIONS: [&[u8]; 3] = [b"eu-", b"us-", b"global-"];

static CARRIERS: [CredentialLocation; 4] = [
    CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
    CredentialLocation::Header(X_API_KEY, &[Form::Raw]),
    CredentialLocation::Query("api_key"),
    CredentialLocation::Header(X_VAPI_SECRET, &[Form::Raw]),
];

pub(super) static PROFILE: Profile = Profile {
    name: "kugel",
    credential_locations: &CARRIERS,
    canonical: without_region,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: Some("KUGELAUDIO_API_KEY"),
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

/// A voice is an integer.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Model, json("/model_id")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] });

/// Audio is PCM unless the request names another format. `usage` comes once for each request, session
/// or context (`kugelaudio` 2.7.0, `models.SessionUsage`).
const ANSWERS: &[(AnswerField, Place)] = &[
    (AnswerField::Audio, json("/audio")),
    (AnswerField::Characters, json("/usage/characters")),
    (AnswerField::AudioSeconds, json("/usage/audio_seconds")),
    (AnswerField::CostCents, json("/usage/cost_cents")),
    (AnswerField::Currency, json("/usage/currency")),
];
const DEFAULT_FORMAT: &str = "pcm";
const DEFAULT_RATE: u32 = 24_000;

/// `/ws/tts`: each message is a whole request.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Message, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Model, json("/model_id")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// `/ws/tts/stream`: the voice rides on the first message and stays.
static STREAM: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Session, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Model, json("/model_id")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// `/ws/tts/multi`: the first message of a context names the voice.
static MULTI: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Context, const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice_id")),
    (Field::Model, json("/model_id")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
    (Field::SampleRate, json("/sample_rate")),
    (Field::Context, json("/context_id")),
    (Field::Voice, json("/voice_settings/voice_id")),
] })
    .with_answers(ANSWERS)
    .with_default_audio(DEFAULT_FORMAT, DEFAULT_RATE);

/// <https://docs.kugelaudio.com/integrations/vapi>: the voice is in the query.
static VAPI: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/message/text")),
    (Field::Voice, query("voice_id")),
    (Field::Model, query("model_id")),
    (Field::Language, query("language")),
    (Field::SampleRate, json("/message/sampleRate")),
] });

/// <https://docs.kugelaudio.com/integrations/cognigy>.
static COGNIGY: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voice")),
    (Field::Language, json("/language")),
] });

const ROUTES: &[Route] = &[
    route("POST", "/v1/tts/generate", SPEAK).speech(&TTS),
    route("GET", "/ws/tts", SPEAK).speech(&WEBSOCKET),
    route("GET", "/ws/tts/stream", SPEAK).speech(&STREAM),
    route("GET", "/ws/tts/multi", SPEAK).speech(&MULTI),
    // Its servers' interfaces for Vapi and for Cognigy. The one for ElevenLabs' clients is in the
    // dialect `elevenlabs`.
    route("POST", "/vapi/synthesize", SPEAK).speech(&VAPI),
    route("POST", "/synthesize/{vendor}", SPEAK).speech(&COGNIGY),
    route("GET", "/v1/models", READ_MODELS),
    route("GET", "/v1/voices", READ_VOICES),
    route("GET", "/v1/voices/*", READ_VOICES),
    route("*", "/v1/voices", WRITE_VOICES),
    route("*", "/v1/voices/*", WRITE_VOICES),
];

/// The key without its region prefix. A key has at most one.
fn without_region(key: &[u8]) -> &[u8] {
    let regions = REGIONS.into_iter();
    let mut stripped = regions.filter_map(|region| key.strip_prefix(region));
    stripped.next().filter(|rest| !rest.is_empty()).unwrap_or(key)
}

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    if kind == DenialKind::QuotaExhausted {
        let body = "{\"error\":\"Insufficient credits\",\"error_code\":\"INSUFFICIENT_CREDITS\",\
                    \"code\":402}";
        return Refusal::json(kind, body.to_owned()).status(StatusCode::PAYMENT_REQUIRED);
    }
    let status = kind.status().as_u16();
    let code = word(kind);
    let message = match status {
        401 => "Invalid or missing API key",
        403 => "API key does not have access to this resource",
        _ => sentence(kind),
    };
    let error_code = code.to_ascii_uppercase();
    Refusal::json(
        kind,
        format!(
            "{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\"}},\
             \"error_code\":\"{error_code}\",\"code\":{status}}}"
        ),
    )
    .challenge("Bearer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_region_prefix_in_lower_case_is_removed() {
        for (key, known) in [
            ("k", "k"),
            ("eu-k", "k"),
            ("us-k", "k"),
            ("global-k", "k"),
            ("eu-us-k", "us-k"),
            ("EU-k", "EU-k"),
            ("asia-k", "asia-k"),
            ("eu-", "eu-"),
        ] {
            assert_eq!(without_region(key.as_bytes()), known.as_bytes(), "{key}");
        }
    }
}
