//! Azure Speech (`POST /cognitiveservices/v1`, WebSocket `/cognitiveservices/websocket/v1`).
//!
//! Its client sends the raw header `Ocp-Apim-Subscription-Key`, also on the upgrade, or a token as
//! `Authorization: Bearer`. It recognizes refusals only by their status.

use http::HeaderName;
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{Counting, Field, Place, SpeechProfile, Stickiness};

use super::credential_location::{Case, CredentialLocation, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, header, json, mint, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

static CARRIERS: [CredentialLocation; 2] = [
    CredentialLocation::Header(SUBSCRIPTION_KEY, &[Form::Raw]),
    // A token of `POST /sts/v1.0/issueToken`.
    CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
];

pub(super) static PROFILE: Profile = Profile {
    name: "azure",
    credential_locations: &CARRIERS,
    canonical: as_it_is,
    upstream: (SUBSCRIPTION_KEY, Form::Raw),
    deployment_variable: None,
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

/// An SSML document names its voices.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, Place::Ssml),
    (Field::Format, header("x-microsoft-outputformat")),
] })
    .with_counting(Counting::Azure);

/// SSML, or pieces of text after a context that names the voice.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Session, const { &[
    (Field::Text, Place::Ssml),
    (Field::Voice, json("/synthesis/input/voiceName")),
    (Field::Language, json("/synthesis/input/language")),
    (Field::Format, json("/synthesis/audio/outputFormat")),
] })
    .with_counting(Counting::Azure);

const ROUTES: &[Route] = &[
    route("POST", "/cognitiveservices/v1", SPEAK).speech(&TTS),
    route("POST", "/tts/cognitiveservices/v1", SPEAK).speech(&TTS),
    route("GET", "/cognitiveservices/websocket/v1", SPEAK).speech(&WEBSOCKET),
    route("GET", "/cognitiveservices/websocket/v2", SPEAK).speech(&WEBSOCKET),
    route("GET", "/tts/cognitiveservices/websocket/v1", SPEAK).speech(&WEBSOCKET),
    route("GET", "/tts/cognitiveservices/websocket/v2", SPEAK).speech(&WEBSOCKET),
    route("GET", "/cognitiveservices/voices/list", READ_VOICES),
    route("GET", "/tts/cognitiveservices/voices/list", READ_VOICES),
    mint("/sts/v1.0/issueToken"),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    Refusal {
        content_type: "text/plain",
        ..Refusal::json(kind, sentence(kind).to_owned())
    }
}
