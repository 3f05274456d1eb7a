//! The neutral dialect: bearer tokens and refusals as RFC 6750 defines them.
//!
//! gRPC calls are refused in gRPC's form, so it fits NVIDIA Riva and NIM as well.

use http::StatusCode;
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile};

use super::credential_location::{CredentialLocation, Case, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, form, mint, proto, route};
use super::subprotocol::Offer;
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "bearer",
    credential_locations: &[
        CredentialLocation::Header(AUTHORIZATION, &[Form::Scheme("Bearer", Case::Any)]),
        // NVIDIA NIM's realtime WebSocket, whose server selects the offer `realtime` beside it.
        CredentialLocation::Subprotocol(Offer::PrefixBeside("realtime-token.", "realtime")),
    ],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

/// `nvidia.riva.tts.SynthesizeSpeechRequest`. Field 6 is a sample of a voice.
static RIVA: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, proto(&[1])),
    (Field::Language, proto(&[2])),
    (Field::Format, proto(&[3])),
    (Field::SampleRate, proto(&[4])),
    (Field::Voice, proto(&[5])),
    (Field::Fetch, proto(&[6])),
] })
    .with_answers(const { &[(AnswerField::Audio, proto(&[1]))] });

/// <https://docs.nvidia.com/nim/speech/latest/reference/api-references/tts/http-tts.html>: a form.
static NIM: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, form("text")),
    (Field::Voice, form("voice")),
    (Field::Language, form("language")),
    (Field::Format, form("encoding")),
    (Field::SampleRate, form("sample_rate_hz")),
    (Field::Fetch, form("audio_prompt")),
] });

/// NVIDIA's speech servers, Riva and NIM, whose clients send bearer tokens.
const ROUTES: &[Route] = &[
    route("POST", "/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize", SPEAK).speech(&RIVA),
    route("POST", "/nvidia.riva.tts.RivaSpeechSynthesis/SynthesizeOnline", SPEAK).speech(&RIVA),
    route(
        "POST",
        "/nvidia.riva.tts.RivaSpeechSynthesis/GetRivaSynthesisConfig",
        READ_VOICES,
    ),
    route("POST", "/v1/audio/synthesize", SPEAK).speech(&NIM),
    route("POST", "/v1/audio/synthesize_online", SPEAK).speech(&NIM),
    route("GET", "/v1/audio/list_voices", READ_VOICES),
    route("GET", "/v1/realtime", SPEAK).realtime(),
    mint("/v1/realtime/synthesis_sessions"),
];

/// RFC 6750 §3 for the challenge and its error codes; the body repeats the code as JSON in the
/// form of RFC 6749 §5.2.
pub(super) fn refuse(kind: DenialKind, _: RefusalContext) -> Refusal {
    use DenialKind as Kind;
    let (status, code, challenge) = match kind {
        // §3.1: the refusal of a request without a credential has no error code.
        Kind::MissingCredential | Kind::UnrecognizedDialect => (
            StatusCode::UNAUTHORIZED,
            "missing_token",
            Some("Bearer realm=\"voxgate\""),
        ),
        Kind::UnknownCredential => (
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            Some("Bearer realm=\"voxgate\", error=\"invalid_token\""),
        ),
        Kind::MalformedCredential | Kind::ConflictingCredentials => (
            StatusCode::BAD_REQUEST,
            "invalid_request",
            Some("Bearer realm=\"voxgate\", error=\"invalid_request\""),
        ),
        Kind::InsufficientScope => (
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            Some("Bearer realm=\"voxgate\", error=\"insufficient_scope\""),
        ),
        other => (other.status(), other.as_str(), None),
    };
    let description = match code {
        "invalid_request" => "Send one header `Authorization: Bearer <token>`.",
        _ => sentence(kind),
    };
    let body = format!("{{\"error\":\"{code}\",\"error_description\":\"{description}\"}}");
    Refusal {
        status,
        challenge,
        ..Refusal::json(kind, body)
    }
}
