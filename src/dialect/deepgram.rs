//! Deepgram (`POST /v1/speak`, WebSocket `/v1/speak`).
//!
//! Its clients send `Authorization: Token KEY`, or `Bearer` with an access token in either case;
//! from browsers, the subprotocols `token, KEY` or `bearer, TOKEN`. They read `err_code` and
//! `err_msg`.

use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::{sentence, word};
use super::route::{READ_MODELS, Route, SPEAK, any_key, mint, route};
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

const ROUTES: &[Route] = &[
    route("POST", "/v1/speak", SPEAK),
    route("GET", "/v1/speak", SPEAK),
    route("POST", "/v2/speak", SPEAK),
    route("GET", "/v2/speak", SPEAK),
    // Self-hosted.
    any_key("GET", "/v1/status"),
    any_key("GET", "/v1/status/*"),
    route("GET", "/v1/models", READ_MODELS),
    route("GET", "/v1/models/*", READ_MODELS),
    mint("/v1/auth/grant"),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    let (code, message) = match kind.status().as_u16() {
        401 => ("INVALID_AUTH".to_owned(), "Invalid credentials."),
        403 => ("INSUFFICIENT_PERMISSIONS".to_owned(), sentence(kind)),
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
    .challenge("Token")
}
