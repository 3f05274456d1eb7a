//! Rime (`POST /v1/rime-tts`, WebSocket `/ws`, `/ws2`, `/ws3`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY` with a capital B, and the
//! refusals `missing headers` and `invalid api key` as plain text: the second also when the
//! `Bearer` prefix is missing. The new engine documents `Authorization: Api-Key KEY`, also for gRPC.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Case, Form};
use super::route::{READ_VOICES, Route, SPEAK, route};
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "rime",
    credential_locations: &[CredentialLocation::Header(
        AUTHORIZATION,
        &[Form::Scheme("Bearer", Case::Exact), Form::Scheme("Api-Key", Case::Any)],
    )],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Exact)),
    deployment_variable: Some("RIME_API_KEY"),
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

const ROUTES: &[Route] = &[
    route("POST", "/v1/rime-tts", SPEAK),
    route("GET", "/ws", SPEAK),
    route("GET", "/ws2", SPEAK),
    route("GET", "/ws3", SPEAK),
    // The on-premises container listens at the root, for HTTP and for WebSocket.
    route("POST", "/", SPEAK),
    route("GET", "/", SPEAK),
    // Another path of the new engine.
    route("POST", "/invocations", SPEAK),
    route("GET", "/data/voices/*", READ_VOICES),
    route("POST", "/rime.TextToSpeech/Synthesize", SPEAK),
    route("POST", "/rime.TextToSpeech/SynthesizeStreaming", SPEAK),
    route("POST", "/rime.TextToSpeech/NormalizeText", SPEAK),
    route("POST", "/rime.TextToSpeech/GetSupportedSpeakers", READ_VOICES),
    route("POST", "/rime.TextToSpeech/GetSupportedLanguages", READ_VOICES),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    use DenialKind as Kind;
    let body = match kind {
        Kind::MissingCredential => "missing headers",
        Kind::MalformedCredential
        | Kind::ConflictingCredentials
        | Kind::UnknownCredential
        | Kind::MistypedCredential
        | Kind::DisabledCredential
        | Kind::ExpiredCredential
        | Kind::NotYetValidCredential => "invalid api key",
        Kind::InsufficientScope => "access forbidden",
        Kind::RateLimited => "Currently at websocket limit",
        // Rime documents no text for errors that only a gateway sends.
        Kind::AmbiguousPath => "bad request: the path is ambiguous",
        Kind::InvalidHost => "bad request: the Host header is invalid",
        Kind::MethodNotAllowed => "method not allowed",
        Kind::InvalidScheme => "bad request: the scheme is invalid",
        Kind::InvalidHeader => "bad request: a header is invalid",
        Kind::InvalidContentLength => "bad request: the Content-Length header is invalid",
        Kind::UnsupportedTransferCoding => "not implemented: the only transfer coding is chunked",
        Kind::UnrecognizedDialect => "missing headers",
        Kind::ContentTooLarge => "payload too large",
        Kind::Unavailable => "service unavailable",
        Kind::NoUpstream => "not found",
        Kind::UpstreamUnreachable => "bad gateway: the TTS server cannot be reached",
        Kind::UpstreamTimeout => "gateway timeout: the TTS server did not answer in time",
        Kind::UpstreamUnavailable => "service unavailable: no TTS server is available",
        Kind::InternalError => "internal server error",
        other => other.sentence(),
    };
    Refusal {
        status: kind.status(),
        content_type: "text/plain",
        body: Cow::Borrowed(body),
        challenge: None,
    }
    .challenge("Bearer")
}
