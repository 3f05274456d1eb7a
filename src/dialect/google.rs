//! Google Cloud Text-to-Speech (`POST /v1/text:synthesize`).
//!
//! Its clients send an API key as `x-goog-api-key` or as the query parameter `key`, and an access
//! token as `Authorization: Bearer`. They read `error.code`, `message` and `status` (AIP-193). An
//! unknown API key is answered with 400, as Google does: its clients repeat a request after a 401.

use http::header::AUTHORIZATION;
use http::{HeaderName, StatusCode};
use voxgate_core::denial::DenialKind;

use super::credential_location::{Case, CredentialLocation, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

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
    // An unknown API key is an invalid argument to Google. Its clients send a request with a 401 again.
    let is_unknown = kind == DenialKind::UnknownCredential;
    let http = match is_unknown {
        true => StatusCode::BAD_REQUEST,
        false => kind.status(),
    };
    let code = http.as_u16();
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
    let message = match is_unknown {
        true => "API key not valid. Please pass a valid API key.",
        false => sentence(kind),
    };
    let body = format!(
        "{{\"error\":{{\"code\":{code},\"message\":\"{message}\",\"status\":\"{status}\"}}}}"
    );
    let is_401 = http == StatusCode::UNAUTHORIZED;
    Refusal {
        status: http,
        // RFC 9110 §11.6.1 allows a challenge in any answer. It tells this 400 from the upstream's own.
        challenge: (is_unknown || is_401).then_some("Bearer"),
        ..Refusal::json(kind, body)
    }
}
