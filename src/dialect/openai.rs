//! OpenAI, and the servers that are compatible with it (`POST /v1/audio/speech`).
//!
//! Its client sends `Authorization: Bearer KEY`; in a browser, the subprotocols `realtime` and
//! `openai-insecure-api-key.KEY` of the realtime WebSocket. It reads `error.message`, `type`, `param` and
//! `code`.

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, READ_VOICES, Route, SPEAK, route};
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

const ROUTES: &[Route] = &[
    route("POST", "/v1/audio/speech", SPEAK),
    // Servers that are compatible with it: vLLM-Omni's batches and WebSocket.
    route("POST", "/v1/audio/speech/batch", SPEAK),
    route("GET", "/v1/audio/speech/stream", SPEAK),
    route("GET", "/v1/audio/voices", READ_VOICES),
    route("GET", "/v1/models", READ_MODELS),
    // Names of models on compatible servers have a slash: `org/model`.
    route("GET", "/v1/models/{model%2F}", READ_MODELS),
    route("GET", "/v1/models/*", READ_MODELS),
    route("GET", "/v1/realtime", "realtime").realtime(),
];

fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    let (error, code) = match kind.status().as_u16() {
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
