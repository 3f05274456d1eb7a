//! The audio and the charges in the answers of vendors.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use voxgate::SpeechOptions;
use voxgate::rate_limit::QuotaPeriod;
use voxgate::speech::{Billed, SpeechMeter};
use voxgate::{AuditRecord, AuditSink, AuthLayer, Dialect, Key, KeyRing, Principal, Secret};
use voxgate_usage::{UsageBook, UsageLayer};

use super::books::TestClock;

const TOKEN: &str = "a-long-enough-token-for-a-test";

/// The meters of completion records.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<SpeechMeter>>>);

impl AuditSink for Ends {
    fn record(&self, record: &AuditRecord<'_>) {
        if let AuditRecord::Completion(end) = record {
            let mut ends = self.0.lock().expect("no panic");
            ends.extend(end.speech.cloned());
        }
    }
}

/// What one answer counted: milliseconds of audio, the same in the book, and the charges.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    audio_ms: Option<u64>,
    in_book: u64,
    billed: Billed,
}

fn book() -> UsageBook {
    let clock = TestClock::at("2026-11-28T12:00:00Z");
    let builder = clock.book("UTC").with_all_principals();
    builder.build().expect("a book")
}

fn auth(dialect: Dialect, ends: &Ends) -> voxgate::SpeechAuthLayer<KeyRing> {
    let secret = match dialect {
        Dialect::Inworld => format!("id:{TOKEN}"),
        _ => TOKEN.to_owned(),
    };
    let secret = Secret::new(&secret).expect("visible ASCII");
    let ring = KeyRing::new([Key::from_secret(&secret, Principal::new("ivr"))]).expect("a ring");
    let auth = AuthLayer::new(ring).with_dialect(dialect);
    let auth = auth.with_audit_sink(ends.clone()).with_speech_meters();
    auth.with_speech(SpeechOptions::default().with_message_reading())
}

fn request(dialect: Dialect, method: Method, path: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match dialect {
        Dialect::ElevenLabs => request.header("xi-api-key", TOKEN),
        Dialect::Supertone => request.header("x-sup-api-key", TOKEN),
        Dialect::Deepgram => request.header(AUTHORIZATION, format!("Token {TOKEN}")),
        Dialect::Inworld => {
            let id = BASE64_STANDARD.encode(format!("id:{TOKEN}"));
            request.header(AUTHORIZATION, format!("Basic {id}"))
        }
        _ => request.header(AUTHORIZATION, format!("Bearer {TOKEN}")),
    }
}

fn used(book: &UsageBook) -> u64 {
    let today = 0;
    assert_eq!(QuotaPeriod::ALL[today], QuotaPeriod::Day);
    book.usage(&Principal::new("ivr"))[0].used[today][2]
}

/// Sends a request whose answer has these header fields, and this body in parts of `size` bytes.
async fn answer(
    dialect: Dialect,
    path: &str,
    body: &[u8],
    fields: &[(&str, &str)],
    answer: &[u8],
    size: usize,
) -> Counted {
    let (ends, book) = (Ends::default(), book());
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().expect("a name");
        headers.insert(name, value.parse().expect("a value"));
    }
    let parts: Vec<Bytes> = answer.chunks(size).map(Bytes::copy_from_slice).collect();
    let server = service_fn(move |request: Request<voxgate::SpeechBody<Full<Bytes>>>| {
        let frames = parts.clone().into_iter();
        let frames = frames.map(|part| Ok::<_, Infallible>(http_body::Frame::data(part)));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut response = Response::new(body);
        *response.headers_mut() = headers.clone();
        async {
            request.into_body().collect().await.expect("a body");
            Ok::<_, Infallible>(response)
        }
    });
    let service = ServiceBuilder::new()
        .layer(auth(dialect, &ends))
        .layer(UsageLayer::new(book.clone()))
        .service(server);
    let media_type = match fields.iter().any(|(_, value)| value.contains("grpc")) {
        true => "application/grpc",
        false => "application/json",
    };
    let request = request(dialect, Method::POST, path).header(CONTENT_TYPE, media_type);
    let body = Full::new(Bytes::copy_from_slice(body));
    let request = request.body(body).expect("a request");
    let response = service.oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200, "{dialect} {path}");
    let received = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(received, answer, "{dialect} {path}");
    let meter = ends.0.lock().expect("no panic").pop().expect("a meter");
    Counted {
        audio_ms: meter.audio_milliseconds(),
        in_book: used(&book),
        billed: meter.billed(),
    }
}

/// One second of silence at 8 kHz, in 16 bits.
fn second() -> Vec<u8> {
    vec![0; 16_000]
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn grpc(field: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![field << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(content);
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

fn billed(characters: Option<u64>, audio_ms: Option<u64>) -> Billed {
    let mut billed = Billed::default();
    (billed.characters, billed.audio_ms) = (characters, audio_ms);
    billed
}

/// `SynthesizeSpeechRequest`: text, `LINEAR_PCM` and 8 kHz.
const RIVA: &[u8] = &[0, 0, 0, 0, 8, 0x0a, 1, b'a', 0x18, 1, 0x20, 0xc0, 0x3e];

#[tokio::test]
async fn the_audio_and_the_charges_in_an_answer_are_counted() {
    let audio = encoded(&second());
    let event =
        format!("event: chunk\r\ndata: {{\"type\":\"chunk\",\"data\":\"{audio}\"}}\r\n\r\n");
    let events = format!(": hello\n\n{event}{event}data: [DONE]\n\n");
    let lines = format!("{{\"result\":{{\"audioContent\":\"{audio}\"}}}}\n").repeat(2);
    let inworld =
        b"{\"text\":\"a\",\"voiceId\":\"v\",\"audioConfig\":{\"audioEncoding\":\"LINEAR16\",\
                   \"sampleRateHertz\":8000}}";
    let none = Billed::default();
    for (dialect, path, body, fields, answered, audio_ms, charged) in [
        (
            Dialect::Cartesia,
            "/tts/sse",
            &b"{\"transcript\":\"a\",\"voice\":{\"id\":\"v\"},\"output_format\":\
             {\"encoding\":\"pcm_s16le\",\"sample_rate\":8000}}"[..],
            &[("content-type", "text/event-stream")][..],
            events.clone().into_bytes(),
            Some(2_000),
            none.clone(),
        ),
        (
            Dialect::Inworld,
            "/tts/v1/voice:stream",
            &inworld[..],
            &[("content-type", "application/json")],
            lines.into_bytes(),
            Some(2_000),
            none.clone(),
        ),
        (
            Dialect::Inworld,
            "/tts/v1/voice",
            &inworld[..],
            &[("content-type", "application/json")],
            format!(
                "{{\"audioContent\":\"{audio}\",\"usage\":{{\"processedCharactersCount\":7}}}}"
            )
            .into_bytes(),
            Some(1_000),
            billed(Some(7), None),
        ),
        (
            Dialect::ElevenLabs,
            "/v1/text-to-speech/v/stream/with-timestamps?output_format=pcm_16000",
            b"{\"text\":\"a\"}",
            &[
                ("content-type", "application/json"),
                ("character-cost", "4.5"),
            ],
            format!("{{\"audio_base64\":\"{audio}\"}}\n{{\"audio_base64\":\"{audio}\"}}")
                .into_bytes(),
            Some(1_000),
            billed(Some(5), None),
        ),
        (
            Dialect::Smallest,
            "/waves/v1/tts/live",
            b"{\"text\":\"a\",\"voice_id\":\"v\",\"sample_rate\":8000}",
            &[("content-type", "text/event-stream")],
            format!("event: audio\ndata: \"{audio}\"\n\n").into_bytes(),
            Some(1_000),
            none.clone(),
        ),
        (
            Dialect::OpenAi,
            "/v1/audio/speech",
            b"{\"input\":\"a\",\"voice\":\"v\",\"response_format\":\"pcm\"}",
            &[("content-type", "text/event-stream")],
            format!("data: {{\"type\":\"speech.audio.delta\",\"audio\":\"{audio}\"}}\n\n")
                .into_bytes(),
            // OpenAI's rate is 24 kHz.
            Some(333),
            none.clone(),
        ),
        (
            Dialect::Deepgram,
            "/v1/speak?model=aura",
            b"{\"text\":\"a\"}",
            &[
                ("content-type", "audio/l16;rate=8000"),
                ("dg-char-count", "12"),
            ],
            b"ab".repeat(8_000),
            Some(1_000),
            billed(Some(12), None),
        ),
        (
            Dialect::Supertone,
            "/v1/text-to-speech/v",
            b"{\"text\":\"a\"}",
            &[
                ("content-type", "audio/x-unknown"),
                ("x-audio-length", "1.25"),
            ],
            b"abcdefgh".to_vec(),
            None,
            billed(None, Some(1_250)),
        ),
        (
            Dialect::Bearer,
            "/nvidia.riva.tts.RivaSpeechSynthesis/SynthesizeOnline",
            RIVA,
            &[("content-type", "application/grpc")],
            [grpc(1, &second()), grpc(1, &second())].concat(),
            Some(2_000),
            none.clone(),
        ),
        // Compressed answers cannot be read, and what is no JSON has nothing.
        (
            Dialect::Cartesia,
            "/tts/sse",
            b"{\"transcript\":\"a\"}",
            &[
                ("content-type", "text/event-stream"),
                ("content-encoding", "gzip"),
            ],
            events.into_bytes(),
            None,
            none.clone(),
        ),
        (
            Dialect::Inworld,
            "/tts/v1/voice",
            &inworld[..],
            &[("content-type", "application/json")],
            b"}{\"audioContent\":\"AAAA\"}".to_vec(),
            None,
            none.clone(),
        ),
    ] {
        for size in [7, 1_024, usize::MAX] {
            let found = answer(dialect, path, body, fields, &answered, size).await;
            let expected = Counted {
                audio_ms,
                in_book: audio_ms.unwrap_or(0),
                billed: charged.clone(),
            };
            assert_eq!(found, expected, "{dialect} {path} in parts of {size}");
        }
    }
}
