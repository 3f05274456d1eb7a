//! Supertone (`POST /v1/text-to-speech/{voice_id}`).
//!
//! Its API documents the credential as the raw header `x-sup-api-key`. Its error schema requires
//! `status_code`, but its examples use `statusCode`. The official clients raise their typed error
//! only if `status_code` is present, so that the refusal has both.

use http::{HeaderName, StatusCode};
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile};

use super::credential_location::{CredentialLocation, Form};
use super::refusal::{reason, sentence};
use super::route::{READ_USAGE, READ_VOICES, Route, SPEAK, WRITE_VOICES, header, json, path, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const X_SUP_API_KEY: HeaderName = HeaderName::from_static("x-sup-api-key");

static CARRIERS: [CredentialLocation; 1] = [CredentialLocation::Header(X_SUP_API_KEY, &[Form::Raw])];

pub(super) static PROFILE: Profile = Profile {
    name: "supertone",
    credential_locations: &CARRIERS,
    canonical: as_it_is,
    upstream: (X_SUP_API_KEY, Form::Raw),
    deployment_variable: Some("SUPERTONE_API_KEY"),
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

/// <https://docs.supertoneapi.com/en/docs/text-to-speech/create-speech>.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, path("voice_id")),
    (Field::Text, json("/text")),
    (Field::Model, json("/model")),
    (Field::Language, json("/language")),
    (Field::Format, json("/output_format")),
] })
    // Seconds (<https://docs.supertoneapi.com/en/docs/text-to-speech/create-speech>).
    .with_answers(const { &[(AnswerField::AudioSeconds, header("x-audio-length"))] });

const ROUTES: &[Route] = &[
    route("POST", "/v1/text-to-speech/{voice_id}", SPEAK).speech(&TTS),
    route("POST", "/v1/text-to-speech/{voice_id}/stream", SPEAK).speech(&TTS),
    route("GET", "/v1/voices", READ_VOICES),
    route("GET", "/v1/voices/*", READ_VOICES),
    route("GET", "/v1/custom-voices", READ_VOICES),
    route("GET", "/v1/custom-voices/*", READ_VOICES),
    route("*", "/v1/custom-voices", WRITE_VOICES),
    route("*", "/v1/custom-voices/*", WRITE_VOICES),
    route("GET", "/v1/usage", READ_USAGE),
    route("GET", "/v1/usage/*", READ_USAGE),
    route("GET", "/v1/credits", READ_USAGE),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    let http = match kind {
        DenialKind::QuotaExhausted => StatusCode::PAYMENT_REQUIRED,
        _ => kind.status(),
    };
    let status = http.as_u16();
    let message = match status {
        401 => "Invalid API Key",
        403 => "Permission denied",
        429 => "rate limit exceeded",
        _ => sentence(kind),
    };
    let error = http.canonical_reason().unwrap_or(reason(kind));
    Refusal::json(
        kind,
        format!(
            "{{\"status\":\"error\",\"message\":{{\"message\":\"{message}\",\"error\":\"{error}\",\
             \"statusCode\":{status},\"status_code\":{status}}}}}"
        ),
    )
    .status(http)
}
