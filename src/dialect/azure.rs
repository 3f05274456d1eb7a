//! Azure Speech (`POST /cognitiveservices/v1`, WebSocket `/cognitiveservices/websocket/v1`).
//!
//! Its client sends the raw header `Ocp-Apim-Subscription-Key`, also on the upgrade, and recognizes
//! refusals only by their status.

use http::HeaderName;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, mint, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

static CARRIERS: [CredentialLocation; 1] = [CredentialLocation::Header(SUBSCRIPTION_KEY, &[Form::Raw])];

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

const ROUTES: &[Route] = &[
    route("POST", "/cognitiveservices/v1", SPEAK),
    route("POST", "/tts/cognitiveservices/v1", SPEAK),
    route("GET", "/cognitiveservices/websocket/v1", SPEAK),
    route("GET", "/cognitiveservices/websocket/v2", SPEAK),
    route("GET", "/tts/cognitiveservices/websocket/v1", SPEAK),
    route("GET", "/tts/cognitiveservices/websocket/v2", SPEAK),
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
