//! Google Cloud Text-to-Speech (`POST /v1/text:synthesize`).
//!
//! Its clients send an API key as `x-goog-api-key` or as the query parameter `key`, and an access
//! token as `Authorization: Bearer`. They read `error.code`, `message` and `status` (AIP-193). Google
//! answers an unknown API key with 400; the answer here is 401, so that the clients raise
//! `Unauthenticated`.

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::credential_location::{Case, CredentialLocation, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};
use crate::denial::DenialKind;

const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

static LOCATIONS: [CredentialLocation; 3] = [
    CredentialLocation::Header(X_GOOG_API_KEY, &[Form::Raw]),
    CredentialLocation::AnyQuery("key"),
    CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
];

pub(super) static PROFILE: Profile = Profile {
    name: "google",
    credential_locations: &LOCATIONS,
    canonical: as_it_is,
    upstream: (X_GOOG_API_KEY, Form::Raw),
    deployment_variable: None,
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

const ROUTES: &[Route] = &[
    route("POST", "/v1/text:synthesize", SPEAK),
    route("POST", "/v1beta1/text:synthesize", SPEAK),
    route("GET", "/v1/voices", READ_VOICES),
    route("GET", "/v1beta1/voices", READ_VOICES),
    route(
        "POST",
        "/google.cloud.texttospeech.v1.TextToSpeech/SynthesizeSpeech",
        SPEAK,
    ),
    route(
        "POST",
        "/google.cloud.texttospeech.v1.TextToSpeech/StreamingSynthesize",
        SPEAK,
    ),
    route(
        "POST",
        "/google.cloud.texttospeech.v1.TextToSpeech/ListVoices",
        READ_VOICES,
    ),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    let code = kind.status().as_u16();
    let status = match code {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 | 501 => "UNIMPLEMENTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNAVAILABLE",
    };
    let message = sentence(kind);
    Refusal::json(
        kind,
        format!(
            "{{\"error\":{{\"code\":{code},\"message\":\"{message}\",\"status\":\"{status}\"}}}}"
        ),
    )
    .challenge("Bearer")
}
