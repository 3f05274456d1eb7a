//! Google Cloud Text-to-Speech (`POST /v1/text:synthesize`).
//!
//! Its clients send an API key as `x-goog-api-key` or as the query parameter `key`, and an access
//! token as `Authorization: Bearer`. They read `error.code`, `message` and `status` (AIP-193). An
//! unknown API key is answered with 400, as Google does: its clients repeat a request after a 401.

use http::header::AUTHORIZATION;
use http::{HeaderName, StatusCode};
use voxgate_core::denial::DenialKind;

use crate::speech::{Field, SpeechProfile};

use super::credential_location::{Case, CredentialLocation, Form};
use super::refusal::sentence;
use super::route::{READ_VOICES, Route, SPEAK, json, proto, route};
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

/// JSON of protocol buffers: names in both spellings.
static TTS: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, json("/input/text")),
    (Field::Ssml, json("/input/ssml")),
    (Field::Text, json("/input/markup")),
    (Field::Text, json("/input/prompt")),
    (Field::Text, json("/input/multiSpeakerMarkup/turns/*/text")),
    (Field::Text, json("/input/multi_speaker_markup/turns/*/text")),
    (Field::Voice, json("/voice/name")),
    (Field::Voice, json("/voice/multiSpeakerVoiceConfig/speakerVoiceConfigs/*/speakerId")),
    (Field::Voice, json("/voice/multiSpeakerVoiceConfig/speakerVoiceConfigs/*/speaker_id")),
    (Field::Voice, json("/voice/multiSpeakerVoiceConfig/speaker_voice_configs/*/speakerId")),
    (Field::Voice, json("/voice/multiSpeakerVoiceConfig/speaker_voice_configs/*/speaker_id")),
    (Field::Voice, json("/voice/multi_speaker_voice_config/speakerVoiceConfigs/*/speakerId")),
    (Field::Voice, json("/voice/multi_speaker_voice_config/speakerVoiceConfigs/*/speaker_id")),
    (Field::Voice, json("/voice/multi_speaker_voice_config/speaker_voice_configs/*/speakerId")),
    (Field::Voice, json("/voice/multi_speaker_voice_config/speaker_voice_configs/*/speaker_id")),
    (Field::Language, json("/voice/languageCode")),
    (Field::Language, json("/voice/language_code")),
    (Field::Model, json("/voice/modelName")),
    (Field::Model, json("/voice/model_name")),
    (Field::Fetch, json("/voice/customVoice")),
    (Field::Fetch, json("/voice/custom_voice")),
    (Field::Fetch, json("/voice/voiceClone")),
    (Field::Fetch, json("/voice/voice_clone")),
    (Field::Format, json("/audioConfig/audioEncoding")),
    (Field::SampleRate, json("/audioConfig/sampleRateHertz")),
] });

/// `SynthesizeSpeechRequest`.
static GRPC: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Text, proto(&[1, 1])),
    (Field::Ssml, proto(&[1, 2])),
    (Field::Text, proto(&[1, 5])),
    (Field::Text, proto(&[1, 6])),
    (Field::Text, proto(&[1, 4, 1, 2])),
    (Field::Language, proto(&[2, 1])),
    (Field::Voice, proto(&[2, 2])),
    (Field::Model, proto(&[2, 6])),
    (Field::Voice, proto(&[2, 7, 2, 2])),
    (Field::Fetch, proto(&[2, 4])),
    (Field::Fetch, proto(&[2, 5])),
    (Field::Format, proto(&[3, 1])),
    (Field::SampleRate, proto(&[3, 5])),
] });

/// `StreamingSynthesizeRequest`: a configuration, then text.
static GRPC_STREAM: SpeechProfile = SpeechProfile::new(const { &[
    (Field::Language, proto(&[1, 1, 1])),
    (Field::Voice, proto(&[1, 1, 2])),
    (Field::Model, proto(&[1, 1, 6])),
    (Field::Voice, proto(&[1, 1, 7, 2, 2])),
    (Field::Fetch, proto(&[1, 1, 4])),
    (Field::Fetch, proto(&[1, 1, 5])),
    (Field::Format, proto(&[1, 4, 1])),
    (Field::SampleRate, proto(&[1, 4, 2])),
    (Field::Text, proto(&[2, 1])),
    (Field::Text, proto(&[2, 5])),
    (Field::Text, proto(&[2, 6])),
    (Field::Text, proto(&[2, 7, 1, 2])),
] });

const ROUTES: &[Route] = &[
    route("POST", "/v1/text:synthesize", SPEAK).speech(&TTS),
    route("POST", "/v1beta1/text:synthesize", SPEAK).speech(&TTS),
    route("GET", "/v1/voices", READ_VOICES),
    route("GET", "/v1beta1/voices", READ_VOICES),
    route(
        "POST",
        "/google.cloud.texttospeech.v1.TextToSpeech/SynthesizeSpeech",
        SPEAK,
    ).speech(&GRPC),
    route(
        "POST",
        "/google.cloud.texttospeech.v1.TextToSpeech/StreamingSynthesize",
        SPEAK,
    ).speech(&GRPC_STREAM),
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
