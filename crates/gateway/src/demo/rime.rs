//! A sample text-to-speech server with the API of Rime: `POST /v1/rime-tts`, and the JSON WebSocket
//! `GET /ws3`. Clients made for Rime can use the demo without a model.
//!
//! With a required key, the server refuses every request without exactly that key. This shows that
//! the gateway adds its own deployment key to what it forwards.

mod ws3;

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::Deserialize;
use voxgate::Digest;

use super::tone;

/// The limit for a request body and for a WebSocket message.
const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of audio in each piece that is sent.
const CHUNK_BYTES: usize = 4 * 1024;
/// The limit for the text of one request, in characters.
const MAX_TEXT: usize = 2_000;
const DEFAULT_RATE: u32 = 22_050;
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// The status and the text of a refusal.
type Refusal = (StatusCode, String);

/// The sample server. With `required_key`, every request to a served path must have exactly the
/// header `Authorization: Bearer <key>`.
pub(super) fn router(required_key: Option<String>) -> Router {
    let expected = required_key.map(|key| Digest::of(format!("Bearer {key}").as_bytes()));
    Router::new()
        .route("/v1/rime-tts", post(synthesise))
        .route("/ws3", get(ws3::upgrade))
        .route_layer(from_fn_with_state(expected, require_key))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .fallback(not_served)
}

async fn not_served() -> Refusal {
    let text = "this sample server has POST /v1/rime-tts and the WebSocket GET /ws3";
    (StatusCode::NOT_FOUND, text.to_owned())
}

/// Accepts a request only with the one expected `Authorization` header.
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

/// The fields of a request that this server uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Synthesis {
    text: String,
    sampling_rate: Option<u32>,
}

/// Serves `POST /v1/rime-tts`: JSON in, audio out in chunks.
async fn synthesise(
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|rejection| (rejection.status(), rejection.body_text()))?;
    let content_type = content_type(&headers).ok_or_else(|| {
        let text = "Accept: this sample server makes audio/wav (the default) and audio/pcm";
        (StatusCode::NOT_ACCEPTABLE, text.to_owned())
    })?;
    let bad = |text| (StatusCode::BAD_REQUEST, text);
    let request: Synthesis =
        serde_json::from_slice(&body).map_err(|error| bad(format!("body: {error}")))?;
    let rate = request.sampling_rate.unwrap_or(DEFAULT_RATE);
    let mut sound = speak(request.text, rate).await.map_err(bad)?;
    if content_type == "audio/wav" {
        let header = wav_header(rate, sound.len());
        sound.splice(..0, header);
    }
    let mut sound = Bytes::from(sound);
    let chunks = std::iter::from_fn(move || {
        let piece = sound.split_to(sound.len().min(CHUNK_BYTES));
        (!piece.is_empty()).then_some(Ok::<_, Infallible>(piece))
    });
    let body = Body::from_stream(stream::iter(chunks));
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// The audio format that the client accepts, if this server makes it.
fn content_type(headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let accepts = |format: &str| accepted.iter().any(|value| value.contains(format));
    if accepts("audio/pcm") {
        return Some("audio/pcm");
    }
    let wav = ["audio/wav", "audio/*", "*/*"];
    (accepted.is_empty() || wav.into_iter().any(accepts)).then_some("audio/wav")
}

/// The text as audio: mono samples of 16 bits, little-endian. At least a short silence.
async fn speak(text: String, rate: u32) -> Result<Vec<u8>, String> {
    check_rate(rate)?;
    if text.trim().is_empty() {
        return Err("text: is empty; send at least one word".to_owned());
    }
    if text.chars().count() > MAX_TEXT {
        return Err(format!(
            "text: is too long; send at most {MAX_TEXT} characters"
        ));
    }
    let rendered = tokio::task::spawn_blocking(move || {
        let samples = tone::render(&text, rate);
        let silence = if samples.is_empty() { rate / 10 } else { 0 };
        let samples = samples.into_iter().chain((0..silence).map(|_| 0));
        samples.flat_map(i16::to_le_bytes).collect()
    });
    rendered.await.map_err(|error| error.to_string())
}

fn check_rate(rate: u32) -> Result<(), String> {
    let (least, most) = (RATES.start(), RATES.end());
    match RATES.contains(&rate) {
        true => Ok(()),
        false => Err(format!("samplingRate: must be from {least} to {most}")),
    }
}

/// The header of a WAV file with this many bytes of mono samples of 16 bits.
fn wav_header(rate: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut header = b"RIFF".to_vec();
    header.extend(length.saturating_add(36).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(rate.to_le_bytes());
    header.extend((rate * 2).to_le_bytes());
    header.extend(b"\x02\0\x10\0data");
    header.extend(length.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use axum::http::request::Builder;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

    fn request() -> Builder {
        Request::post("/v1/rime-tts").header("authorization", "Bearer deploy")
    }

    async fn send(request: Builder, body: impl Into<Body>) -> Outcome<Response> {
        let router = router(Some("deploy".to_owned()));
        Ok(router.oneshot(request.body(body.into())?).await?)
    }

    async fn text(answer: Response) -> Outcome<(u16, String)> {
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    #[tokio::test]
    async fn audio_comes_in_chunks_in_the_accepted_format() -> Outcome {
        let body = r#"{"text":"Hello there","speaker":"cove","samplingRate":8000}"#;
        for (accept, format) in [("audio/pcm", "audio/pcm"), ("*/*", "audio/wav")] {
            let answer = send(request().header("accept", accept), body).await?;
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], format);
            let (mut body, mut sound, mut frames) = (answer.into_body(), Vec::new(), 0);
            while let Some(frame) = body.frame().await {
                let piece = frame?.into_data().unwrap_or_default();
                assert!(piece.len() <= CHUNK_BYTES);
                sound.extend(piece);
                frames += 1;
            }
            assert!(frames > 1 && sound.len() > 8_000, "{}", sound.len());
            let length = sound.len() - 44;
            assert_eq!(
                sound.starts_with(&wav_header(8_000, length)),
                format == "audio/wav"
            );
        }
        Ok(())
    }

    #[tokio::test]
    async fn only_exactly_the_deployment_key_is_accepted() -> Outcome {
        for keys in [
            &[][..],
            &["Bearer deploy2"],
            &["bearer deploy"],
            &["Bearer deploy", "Bearer mine"],
        ] {
            let add = |request: Builder, key: &&str| request.header("authorization", *key);
            let request = keys.iter().fold(Request::post("/v1/rime-tts"), add);
            let wanted = (401, "upstream expects the deployment key".to_owned());
            let answer = send(request, r#"{"text":"a"}"#).await?;
            assert_eq!(text(answer).await?, wanted, "{keys:?}");
        }
        let open = Request::post("/v1/rime-tts").body(Body::from(r#"{"text":"-"}"#))?;
        assert_eq!(router(None).oneshot(open).await?.status(), StatusCode::OK);
        Ok(())
    }

    #[tokio::test]
    async fn bad_requests_name_the_field() -> Outcome {
        let long = format!(r#"{{"text":"{}"}}"#, "a".repeat(MAX_TEXT + 1));
        for (body, status, wanted) in [
            (r#"{"text":""}"#, 400, "text: is empty"),
            (r#"{"text":"a","samplingRate":1}"#, 400, "samplingRate: "),
            (&long, 400, "at most 2000"),
            ("nonsense", 400, "body: "),
            ("{}", 400, "`text`"),
            (&"x".repeat(MAX_MESSAGE + 1), 413, "limit"),
        ] {
            let (got, text) = text(send(request(), body.to_owned()).await?).await?;
            assert!(got == status && text.contains(wanted), "{got} {text}");
        }
        let unwanted = request().header("accept", "audio/mp3");
        let (status, supported) = text(send(unwanted, r#"{"text":"a"}"#).await?).await?;
        assert!(status == 406 && supported.contains("audio/wav"));
        let (status, _) = text(send(Request::get("/ws2"), Body::empty()).await?).await?;
        assert_eq!(status, 404);
        Ok(())
    }
}
