//! Rime (`POST /v1/rime-tts`, WebSocket `/ws`, `/ws2`, `/ws3`).
//!
//! Its API documents the credential as `Authorization: Bearer KEY` with a capital B, and the
//! refusals `missing headers` and `invalid api key` as plain text: the second also when the
//! `Bearer` prefix is missing. The new engine documents `Authorization: Api-Key KEY`, also for gRPC.

use std::borrow::Cow;

use http::StatusCode;
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, Place, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::route::{READ_VOICES, Route, SPEAK, header, json, proto, query, route};
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

/// <https://docs.rime.ai/docs/api-reference>: the JSON of the API and of the engine.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/speaker")),
    (Field::Model, json("/modelId")),
    (Field::Language, json("/lang")),
    (Field::Language, json("/language")),
    (Field::Format, json("/audioFormat")),
    (Field::Format, header("accept")),
    (Field::SampleRate, json("/samplingRate")),
] });

/// The older sockets (`/ws` plain text, `/ws2` and `/ws3` JSON) and the engine's (JSON, and protobuf in
/// binary messages: <https://docs.rime.ai/docs/on-prem/protocols>).
static WEBSOCKET: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Voice, query("speaker")),
    (Field::Model, query("modelId")),
    (Field::Language, query("lang")),
    (Field::Format, query("audioFormat")),
    (Field::SampleRate, query("samplingRate")),
] })
    .with_messages(Stickiness::Context, const { &[
    (Field::Text, Place::Raw),
    (Field::Text, json("/text")),
    (Field::Text, json("/start/text")),
    (Field::Context, json("/contextId")),
    (Field::Start, json("/start")),
    (Field::Voice, json("/start/speaker")),
    (Field::Voice, json("/speaker")),
    (Field::Language, json("/start/language")),
    (Field::Format, json("/start/audioParameters/audioFormat")),
    (Field::SampleRate, json("/start/audioParameters/samplingRate")),
    (Field::DefaultVoice, json("/config/defaults/speaker")),
    (Field::Context, proto(&[1])),
    (Field::Start, proto(&[3])),
    (Field::Voice, proto(&[3, 3])),
    (Field::Text, proto(&[3, 4])),
    (Field::Text, proto(&[4])),
    (Field::Language, proto(&[3, 2])),
    (Field::DefaultVoice, proto(&[2, 3, 3])),
] })
    .with_commands(&["<FLUSH>", "<CLEAR>", "<EOS>"])
    // `/ws` answers with audio, `/ws2` and `/ws3` with chunks, and the engine with `WebSocketResponse`.
    .with_answers(const { &[
    (AnswerField::Audio, Place::Raw),
    (AnswerField::Audio, json("/data")),
    (AnswerField::Audio, json("/audio")),
    (AnswerField::Audio, proto(&[4])),
] });

/// `SynthesisRequest` of `rime.TextToSpeech`.
static GRPC: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Language, proto(&[2])),
    (Field::Voice, proto(&[3])),
    (Field::Text, proto(&[4])),
    (Field::Format, proto(&[5, 1])),
    (Field::SampleRate, proto(&[5, 2])),
] })
    .with_answers(const { &[(AnswerField::Audio, proto(&[1]))] });

/// `StreamingSynthesisRequest`: a header and chunks of text.
static GRPC_STREAM: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Language, proto(&[1, 2])),
    (Field::Voice, proto(&[1, 3])),
    (Field::Text, proto(&[1, 4])),
    (Field::Format, proto(&[1, 5, 1])),
    (Field::SampleRate, proto(&[1, 5, 2])),
    (Field::Text, proto(&[2])),
] })
    .with_answers(const { &[(AnswerField::Audio, proto(&[1]))] });

/// The engine's WebSocket, whose first message may be `{"config":{"authorization":"Api-Key KEY"}}`.
pub(super) const CREDENTIAL_IN_MESSAGE: &[&str] = &["/ws"];

const ROUTES: &[Route] = &[
    route("POST", "/v1/rime-tts", SPEAK).speech(&TTS),
    route("GET", "/ws", SPEAK).speech(&WEBSOCKET),
    route("GET", "/ws2", SPEAK).speech(&WEBSOCKET),
    route("GET", "/ws3", SPEAK).speech(&WEBSOCKET),
    // The on-premises container listens at the root, for HTTP and for WebSocket.
    route("POST", "/", SPEAK).speech(&TTS),
    route("GET", "/", SPEAK).speech(&WEBSOCKET),
    // Another path of the new engine.
    route("POST", "/invocations", SPEAK).speech(&TTS),
    route("GET", "/data/voices/*", READ_VOICES),
    route("POST", "/rime.TextToSpeech/Synthesize", SPEAK).speech(&GRPC),
    route("POST", "/rime.TextToSpeech/SynthesizeStreaming", SPEAK).speech(&GRPC_STREAM),
    route("POST", "/rime.TextToSpeech/NormalizeText", SPEAK),
    route("POST", "/rime.TextToSpeech/GetSupportedSpeakers", READ_VOICES),
    route("POST", "/rime.TextToSpeech/GetSupportedLanguages", READ_VOICES),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    use DenialKind as Kind;
    let body = match kind {
        Kind::MissingCredential => "missing headers",
        Kind::MalformedCredential
        | Kind::ConflictingCredentials
        | Kind::UnknownCredential
        | Kind::MistypedCredential
        | Kind::DisabledCredential
        | Kind::ExpiredCredential
        | Kind::NotYetValidCredential
        | Kind::InvalidToken => "invalid api key",
        Kind::QuotaExhausted => "invalid subscription",
        Kind::InsufficientScope
        | Kind::AddressNotAllowed
        | Kind::OriginNotAllowed
        | Kind::LimitNotEnforced
        | Kind::VoiceNotAllowed
        | Kind::VoiceNotSeen
        | Kind::ModelNotAllowed
        | Kind::ModelNotSeen
        | Kind::LanguageNotAllowed
        | Kind::LanguageNotSeen
        | Kind::FetchNotAllowed => "access forbidden",
        // The only text that Rime documents, for its WebSockets.
        Kind::RateLimited if context.websocket => "Currently at websocket limit",
        Kind::RateLimited => "too many requests: retry later",
        // Rime documents no text for errors that only a gateway sends.
        Kind::AmbiguousPath => "bad request: the path is ambiguous",
        Kind::InvalidHost => "bad request: the Host header is invalid",
        Kind::MethodNotAllowed => "method not allowed",
        Kind::InvalidScheme => "bad request: the scheme is invalid",
        Kind::InvalidHeader => "bad request: a header is invalid",
        Kind::InvalidContentLength => "bad request: the Content-Length header is invalid",
        Kind::UnsupportedTransferCoding => "not implemented: the only transfer coding is chunked",
        Kind::UnrecognizedDialect => "missing headers",
        Kind::UnreadableBody => "bad request: the body cannot be read",
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
        status: match kind {
            Kind::QuotaExhausted => StatusCode::UNAUTHORIZED,
            _ => kind.status(),
        },
        content_type: "text/plain",
        body: Cow::Borrowed(body),
        challenge: None,
    }
    .challenge("Bearer")
}
