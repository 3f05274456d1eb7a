//! Inworld (`POST /tts/v1/voice`, WebSocket `/tts/v1/voice:streamBidirectional`).
//!
//! Its API documents the credential as `Authorization: Basic base64(id:secret)`, and as a token in
//! `Authorization: Bearer` or the subprotocol `bearer_TOKEN`. Its SDKs sign their requests for a
//! token (`IW1-HMAC-SHA256`) instead of presenting the key. Refusals are gRPC status codes in
//! JSON, and an unknown key is refused with 403. The permissions of a key concern the Voice API and
//! the Router API only; a realtime key opens only sessions.

use http::StatusCode;
use http::header::AUTHORIZATION;
use voxgate_core::denial::DenialKind;

use crate::speech::{AnswerField, Field, SpeechProfile, Stickiness};

use super::credential_location::{CredentialLocation, Case, Form};
use super::grpc;
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, WRITE_VOICES, any_key, json, mint, route};
use super::subprotocol::Offer;
use super::{Profile, Refusal, RefusalContext, Retry, as_it_is};

pub(super) static PROFILE: Profile = Profile {
    name: "inworld",
    credential_locations: &[
        CredentialLocation::Header(
            AUTHORIZATION,
            &[
                Form::Basic,
                Form::Scheme("Bearer", Case::Any),
                Form::Signature("IW1-HMAC-SHA256", &SIGNED),
            ],
        ),
        CredentialLocation::Subprotocol(Offer::Prefix("bearer_")),
    ],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Basic),
    deployment_variable: Some("INWORLD_API_KEY"),
    refuse,
    retry: Retry::Bounded,
    routes: ROUTES,
};

/// Requests for a token that a client may sign instead of presenting its key. The path is not part
/// of the signature, so a signature counts nowhere else.
const SIGNED: [&str; 3] = [
    "/auth/v1/tokens/token:generate",
    "/v1/sessionTokens/token:generate",
    "/ai.inworld.engine.WorldEngine/GenerateToken",
];

const READ_ROUTERS: &str = "router:read";
const WRITE_ROUTERS: &str = "router:write";

/// JSON of protocol buffers: names in both spellings.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/text")),
    (Field::Voice, json("/voiceId")),
    (Field::Voice, json("/voice_id")),
    (Field::Model, json("/modelId")),
    (Field::Model, json("/model_id")),
    (Field::Language, json("/language")),
    (Field::Format, json("/audioConfig/audioEncoding")),
    (Field::SampleRate, json("/audioConfig/sampleRateHertz")),
] })
    // A stream repeats its usage in each part, so that it is not read there.
    .with_answers(const { &[
    (AnswerField::Audio, json("/audioContent")),
    (AnswerField::Audio, json("/result/audioContent")),
    (AnswerField::Characters, json("/usage/processedCharactersCount")),
] });

/// `create` names the voice of a context.
static WEBSOCKET: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Context, const { &[
    (Field::Text, json("/send_text/text")),
    (Field::Text, json("/sendText/text")),
    (Field::Context, json("/contextId")),
    (Field::Context, json("/context_id")),
    (Field::Voice, json("/create/voiceId")),
    (Field::Voice, json("/create/voice_id")),
    (Field::Model, json("/create/modelId")),
    (Field::Model, json("/create/model_id")),
    (Field::Language, json("/create/language")),
    (Field::Format, json("/create/audioConfig/audioEncoding")),
    (Field::SampleRate, json("/create/audioConfig/sampleRateHertz")),
] })
    .with_answers(const { &[(AnswerField::Audio, json("/result/audioChunk/audioContent"))] });

/// A conversation: the server writes the text.
static REALTIME: SpeechProfile = SpeechProfile::new(&[])
    .with_messages(Stickiness::Session, const { &[
    (Field::Voice, json("/session/audio/output/voice")),
    (Field::Voice, json("/session/audio/output/voice/id")),
    (Field::Voice, json("/session/voice")),
    (Field::Voice, json("/response/audio/output/voice")),
    (Field::Voice, json("/response/audio/output/voice/id")),
    (Field::Voice, json("/response/voice")),
    (Field::Model, json("/session/model")),
] })
    .unmetered();

const ROUTES: &[Route] = &[
    any_key("POST", "/tts/v1/voice").speech(&TTS),
    any_key("POST", "/tts/v1/voice:stream").speech(&TTS),
    any_key("GET", "/tts/v1/voice:streamBidirectional").speech(&WEBSOCKET),
    any_key("GET", "/tts/v1/voices"),
    any_key("POST", "/llm/*"),
    any_key("GET", "/api/v1/realtime/session").realtime().speech(&REALTIME),
    any_key("*", "/v1/realtime/calls").realtime(),
    any_key("*", "/v1/realtime/calls/*").realtime(),
    route("GET", "/voices/v1/*", READ_VOICES),
    route("POST", "/voices/v1/*", WRITE_VOICES),
    route("PATCH", "/voices/v1/*", WRITE_VOICES),
    route("DELETE", "/voices/v1/*", WRITE_VOICES),
    route("GET", "/v1/routers", READ_ROUTERS),
    route("GET", "/v1/routers/*", READ_ROUTERS),
    route("POST", "/v1/routers", WRITE_ROUTERS),
    route("POST", "/v1/routers/*", WRITE_ROUTERS),
    route("PATCH", "/v1/routers/*", WRITE_ROUTERS),
    route("DELETE", "/v1/routers/*", WRITE_ROUTERS),
    mint("/auth/v1/tokens"),
    mint(SIGNED[0]),
    mint(SIGNED[1]),
    mint(SIGNED[2]),
];

fn refuse(kind: DenialKind, context: RefusalContext) -> Refusal {
    use DenialKind as Kind;
    let (status, code, message) = match kind {
        Kind::UnknownCredential => (
            StatusCode::FORBIDDEN,
            7,
            "API key does not exist or was deleted",
        ),
        Kind::MissingCredential => (kind.status(), 16, "authentication is required"),
        _ => (kind.status(), grpc::status(kind), sentence(kind)),
    };
    let error = format!("{{\"code\":{code},\"message\":\"{message}\",\"details\":[]}}");
    let body = match context.streams {
        true => format!("{{\"error\":{error}}}"),
        false => error,
    };
    Refusal { status, ..Refusal::json(kind, body) }.challenge("Basic realm=\"voxgate\"")
}
