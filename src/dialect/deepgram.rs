//! Deepgram (`POST /v1/speak`, WebSocket `/v1/speak`).
//!
//! Its clients send `Authorization: Token KEY`, or `Bearer` with an access token in either case;
//! from browsers, the subprotocols `token, KEY` or `bearer, TOKEN`. They read `err_code` and
//! `err_msg`.

use http::StatusCode;
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, Place, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, Route, SPEAK, any_key, header, json, mint, query, route};
use super::subprotocol::Offer;
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "deepgram",
    credential_locations: &[
        CredentialLocation::Header(
            AUTHORIZATION,
            &[Form::Scheme("Token", Case::Any), Form::Scheme("Bearer", Case::Any)],
        ),
        CredentialLocation::Subprotocol(Offer::After(&["token", "bearer"])),
    ],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Token", Case::Any)),
    deployment_variable: None,
    refuse,
    retry: Retry::Shortened,
    routes: ROUTES,
};

/// The voice is a part of the model. `url` and `callback` make the server call out.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, query("model")),
    (Field::Model, query("model")),
    (Field::Format, query("encoding")),
    (Field::SampleRate, query("sample_rate")),
    (Field::Fetch, query("callback")),
    (Field::Text, json("/text")),
    (Field::Fetch, json("/url")),
] })
    .with_answers(const { &[(AnswerField::Characters, header("dg-char-count"))] });

/// `Speak` messages. The answers are audio in binary messages, and in version 2 a `SpeechMetadata`
/// message for each turn (`deepgram-sdk` 7.17.0, `speak/v2/types`).
static WEBSOCKET: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, query("model")),
    (Field::Model, query("model")),
    (Field::Format, query("encoding")),
    (Field::SampleRate, query("sample_rate")),
    (Field::Fetch, query("callback")),
] })
    .with_messages(Stickiness::Session, const { &[
    (Field::Text, json("/text")),
] })
    .with_answers(const { &[
    (AnswerField::Audio, Place::Raw),
    (AnswerField::Characters, json("/billable_character_count")),
] })
    .with_default_audio("linear16", 24_000);

const ROUTES: &[Route] = &[
    route("POST", "/v1/speak", SPEAK).speech(&TTS),
    route("GET", "/v1/speak", SPEAK).speech(&WEBSOCKET),
    route("POST", "/v2/speak", SPEAK).speech(&TTS),
    route("GET", "/v2/speak", SPEAK).speech(&WEBSOCKET),
    // Self-hosted.
    any_key("GET", "/v1/status"),
    any_key("GET", "/v1/status/*"),
    route("GET", "/v1/models", READ_MODELS),
    route("GET", "/v1/models/*", READ_MODELS),
    mint("/v1/auth/grant"),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    let status = match kind {
        // The only documented code for an account without credit; it is that of speech to text.
        DenialKind::QuotaExhausted => StatusCode::PAYMENT_REQUIRED,
        _ => kind.status(),
    };
    let (code, message) = match status.as_u16() {
        402 => ("ASR_PAYMENT_REQUIRED".to_owned(), sentence(kind)),
        401 => ("INVALID_AUTH".to_owned(), "Invalid credentials."),
        403 => {
            let message = match kind {
                // The voice is a part of the model.
                DenialKind::VoiceNotAllowed | DenialKind::ModelNotAllowed => {
                    "Project does not have access to the requested model."
                }
                _ => sentence(kind),
            };
            ("INSUFFICIENT_PERMISSIONS".to_owned(), message)
        }
        429 => ("TOO_MANY_REQUESTS".to_owned(), sentence(kind)),
        _ => (word(kind).to_ascii_uppercase(), sentence(kind)),
    };
    let request_id = context.request_id;
    Refusal::json(
        kind,
        format!(
            "{{\"err_code\":\"{code}\",\"err_msg\":\"{message}\",\"request_id\":\"{request_id}\"}}"
        ),
    )
    .status(status)
    .challenge("Token")
}
