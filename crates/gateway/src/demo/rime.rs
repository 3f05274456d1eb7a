//! A sample text-to-speech server in the shape of Rime's API.
//!
//! It serves `POST /v1/rime-tts` and the JSON websocket `GET /ws3`, so that
//! clients made for Rime can talk to the demo without a model. When it is given
//! a key it refuses every request without exactly that key, which shows that
//! the gateway in front puts its own deployment key on what it forwards.

mod protocol;
mod request;
mod ws3;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream;
use voxgate::Digest;

use self::request::{Format, read_request};
use super::audio;
use super::voice::{SpeechError, Voice};

/// Most bytes of a request body, and of one websocket message.
const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of audio sent at a time.
const CHUNK_BYTES: usize = 4 * 1024;
/// Sample rate when the request names none.
const DEFAULT_RATE: u32 = 22_050;
/// A refusal: the status, and what to do about it in plain text.
type Refusal = (StatusCode, String);

/// Builds the sample server.
///
/// With `required_key`, every request to a served path must carry exactly
/// `Authorization: Bearer <key>`.
pub(super) fn router(voice: Voice, required_key: Option<String>) -> Router {
    let expected = required_key.map(|key| Digest::of(format!("Bearer {key}").as_bytes()));
    Router::new()
        .route("/v1/rime-tts", post(synthesise))
        .route("/ws3", get(ws3::upgrade))
        .route_layer(from_fn_with_state(expected, require_key))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .fallback(not_served)
        .with_state(Arc::new(voice))
}

/// Answers paths the sample server does not have.
async fn not_served() -> Refusal {
    let text = "this sample server has POST /v1/rime-tts and the websocket GET /ws3";
    (StatusCode::NOT_FOUND, text.to_owned())
}

/// Lets a request pass only with the one expected `Authorization` header.
async fn require_key(
    State(expected): State<Option<Digest>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(expected) = expected {
        let mut sent = request.headers().get_all(header::AUTHORIZATION).iter();
        let is_expected = |sent: &HeaderValue| Digest::of(sent.as_bytes()).matches(&expected);
        let matches = sent.next().is_some_and(is_expected);
        if !matches || sent.next().is_some() {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            let text = "upstream expects the deployment key";
            return (StatusCode::UNAUTHORIZED, challenge, text).into_response();
        }
    }
    next.run(request).await
}

/// Serves `POST /v1/rime-tts`: JSON in, audio out in chunks.
async fn synthesise(
    State(voice): State<Arc<Voice>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|rejection| (rejection.status(), rejection.body_text()))?;
    let format = Format::accepted_by(&headers).ok_or_else(|| {
        let text = "Accept: this sample server makes audio/wav (the default) and audio/pcm";
        (StatusCode::NOT_ACCEPTABLE, text.to_owned())
    })?;
    let (text, rate) = read_request(&body).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    let samples = voice
        .speak(&text, rate)
        .await
        .map_err(|error| refusal(&error))?;
    tracing::debug!(samples = samples.len(), rate, "sample server spoke");

    let mut sound = audio::pcm_bytes(&samples);
    let content_type = match format {
        Format::Pcm => "audio/pcm",
        Format::Wav => {
            let head = audio::wav_header(rate, sound.len());
            sound.splice(..0, head);
            "audio/wav"
        }
    };
    let body = Body::from_stream(stream::iter(chunks(Bytes::from(sound))));
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// Cuts audio into pieces of [`CHUNK_BYTES`] without copying it.
fn chunks(mut sound: Bytes) -> impl Iterator<Item = Result<Bytes, Infallible>> {
    std::iter::from_fn(move || {
        let piece = sound.split_to(sound.len().min(CHUNK_BYTES));
        (!piece.is_empty()).then_some(Ok(piece))
    })
}

/// Turns a failure of the voice into an answer.
fn refusal(error: &SpeechError) -> Refusal {
    let status = if error.is_request_fault() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (status, error.to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::request::Builder;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    /// A synthesis request with headers still to add.
    fn ask() -> Builder {
        Request::post("/v1/rime-tts").header("content-type", "application/json")
    }

    /// Sends a request to a server that wants the key `deploy`.
    async fn send(request: Builder, body: impl Into<Body>) -> Outcome<Response> {
        let router = router(Voice::Tone, Some("deploy".to_owned()));
        Ok(router.oneshot(request.body(body.into())?).await?)
    }

    /// The status and the text of an answer.
    async fn text(answer: Response) -> Outcome<(u16, String)> {
        let kind = answer.headers().get(header::CONTENT_TYPE);
        assert!(kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain")));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    #[tokio::test]
    async fn audio_comes_in_chunks_in_the_format_asked_for() -> Outcome {
        let body =
            r#"{"text":"Hello there","speaker":"cove","modelId":"mist","samplingRate":8000,"x":1}"#;
        for (accept, kind) in [("audio/pcm", "audio/pcm"), ("*/*", "audio/wav")] {
            let keyed = ask().header("authorization", "Bearer deploy");
            let answer = send(keyed.header("accept", accept), body).await?;
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
            assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
            let (mut body, mut sound, mut frames) = (answer.into_body(), Vec::new(), 0);
            while let Some(frame) = body.frame().await {
                let piece = frame?.into_data().unwrap_or_default();
                assert!(piece.len() <= CHUNK_BYTES);
                sound.extend(piece);
                frames += 1;
            }
            assert!(
                frames > 1 && sound.len() > 8_000,
                "{frames} {}",
                sound.len()
            );
            if kind == "audio/wav" {
                let wav = audio::read_wav(&sound)?;
                assert_eq!(wav.sample_rate, 8_000);
                assert_eq!(wav.samples.len() * 2, sound.len() - audio::WAV_HEADER_LEN);
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn only_exactly_the_deployment_key_passes() -> Outcome {
        for keys in [
            &[][..],
            &["Bearer deploy2"],
            &["bearer deploy"],
            &["deploy"],
            &["Bearer deploy", "Bearer mine"],
        ] {
            let add = |request: Builder, key: &&str| request.header("authorization", *key);
            let answer = send(keys.iter().fold(ask(), add), r#"{"text":"a"}"#).await?;
            let wanted = (401, "upstream expects the deployment key".to_owned());
            assert_eq!(text(answer).await?, wanted, "{keys:?}");
        }
        let open = router(Voice::Tone, None);
        let answer = open
            .oneshot(ask().body(Body::from(r#"{"text":"a"}"#))?)
            .await?;
        assert_eq!(answer.status(), StatusCode::OK);
        Ok(())
    }

    #[tokio::test]
    async fn bad_requests_name_the_field() -> Outcome {
        let keyed = || ask().header("authorization", "Bearer deploy");
        let long = format!(r#"{{"text":"{}"}}"#, "a".repeat(2_001));
        for (body, status, wanted) in [
            (r#"{"text":""}"#, 400, "text: is empty"),
            (
                r#"{"text":"a","samplingRate":1}"#,
                400,
                "samplingRate: 1 is out of range",
            ),
            (&long, 400, "at most 2000"),
            ("nonsense", 400, "body: is not valid JSON"),
            (&"x".repeat(MAX_MESSAGE + 1), 413, "limit"),
        ] {
            let (got, text) = text(send(keyed(), body.to_owned()).await?).await?;
            assert!(got == status && text.contains(wanted), "{got} {text}");
        }
        let unwanted = keyed().header("accept", "audio/mp3");
        let (status, supported) = text(send(unwanted, r#"{"text":"a"}"#).await?).await?;
        assert_eq!(status, 406);
        assert!(supported.contains("audio/wav") && supported.contains("audio/pcm"));
        for path in ["/ws", "/ws2", "/"] {
            let answer = send(Request::get(path), Body::empty()).await?;
            assert_eq!(text(answer).await?.0, 404, "{path}");
        }
        Ok(())
    }
}
