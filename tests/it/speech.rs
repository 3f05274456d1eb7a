//! What a key may have spoken: limits of voices, and the count of characters, over HTTP and gRPC.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use proptest::prelude::*;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use voxgate::speech::{Message, SpeechMeter};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, DenialKind, Dialect, Key, KeyRing, Principal, Secret,
    SpeechBody, SpeechOptions, SpeechSession,
};

/// A text that no output may contain.
const CANARY: &str = "canary-7f3a";

/// How a request ended: why it failed, its characters, and whether they are unmetered.
type End = (Option<DenialKind>, Option<u64>, bool);

/// The forwarded bodies, and what the completion records say.
#[derive(Clone, Default)]
struct Seen {
    forwarded: Arc<Mutex<Vec<Vec<u8>>>>,
    ends: Arc<Mutex<Vec<End>>>,
    shown: Arc<Mutex<String>>,
}

impl AuditSink for Seen {
    fn record(&self, record: &AuditRecord<'_>) {
        self.shown
            .lock()
            .expect("no panic")
            .push_str(&format!("{record:?}"));
        if let AuditRecord::Completion(completion) = record {
            let meter = completion.speech;
            let characters = meter.map(SpeechMeter::characters);
            let unmetered = meter.is_some_and(SpeechMeter::is_unmetered);
            let end = (completion.failure, characters, unmetered);
            self.ends.lock().expect("no panic").push(end);
        }
    }
}

fn key(id: &str, principal: Principal) -> Key {
    let secret = Secret::new(&format!("{id}:a-secret-of-our-own")).expect("a secret");
    Key::from_secret(&secret, principal)
}

fn layer(dialect: Dialect, seen: &Seen) -> AuthLayer<voxgate::SharedKeyRing> {
    let keys = [
        key(
            "limited",
            Principal::new("limited").with_voices(["cove", "1071"]),
        ),
        key("modelled", Principal::new("modelled").with_models(["m-*"])),
        key("spoken", Principal::new("spoken").with_languages(["en-*"])),
        key(
            "scoped",
            Principal::new("scoped").with_scopes(["tts:synthesize"]),
        ),
        key(
            "fetching",
            Principal::new("fetching").with_scopes(["tts:synthesize", "tts:fetch"]),
        ),
        key("free", Principal::new("free")),
    ];
    AuthLayer::new(voxgate::SharedKeyRing::new(
        KeyRing::new(keys).expect("a ring"),
    ))
    .with_dialect(dialect)
    .with_audit_sink(seen.clone())
    .with_speech_meters()
}

/// Sends one request through the layers to a service that collects its body.
async fn send<B>(
    dialect: Dialect,
    options: SpeechOptions,
    seen: &Seen,
    request: Request<B>,
) -> (StatusCode, String, Option<String>)
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static,
{
    let forwarded = Arc::clone(&seen.forwarded);
    let inner = service_fn(move |request: Request<SpeechBody<B>>| {
        let forwarded = Arc::clone(&forwarded);
        async move {
            let hint = request.body().size_hint().exact();
            let Ok(body) = request.into_body().collect().await else {
                return Ok(Response::new(Full::<Bytes>::from("failed")));
            };
            let body = body.to_bytes().to_vec();
            assert!(hint.is_none_or(|hint| hint == body.len() as u64));
            forwarded.lock().expect("no panic").push(body);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("audio")))
        }
    });
    let service = layer(dialect, seen).with_speech(options).layer(inner);
    let response = service.oneshot(request).await.expect("an answer");
    let status = response.status();
    let grpc = response.headers().get("grpc-status");
    let grpc = grpc.map(|status| status.to_str().expect("a number").to_owned());
    let body = response.into_body().collect().await.expect("a body");
    let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, body, grpc)
}

fn frames(parts: Vec<Bytes>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send {
    StreamBody::new(stream::iter(parts).map(|part| Ok(Frame::data(part))))
}

/// A request with the credential of the key with this id, in the dialect's form.
fn post<B>(dialect: Dialect, id: &str, path: &str, content_type: &str, body: B) -> Request<B> {
    let secret = format!("{id}:a-secret-of-our-own");
    let (name, value) = match dialect {
        Dialect::Supertone => ("x-sup-api-key", secret),
        Dialect::ElevenLabs => ("xi-api-key", secret),
        Dialect::Azure => ("ocp-apim-subscription-key", secret),
        Dialect::Google => ("x-goog-api-key", secret),
        Dialect::Deepgram => ("authorization", format!("Token {secret}")),
        Dialect::Inworld => {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
            ("authorization", format!("Basic {encoded}"))
        }
        _ => ("authorization", format!("Bearer {secret}")),
    };
    let request = Request::post(path)
        .header(name, value)
        .header("host", "voxgate");
    let request = request.header("content-type", content_type);
    request.body(body).expect("a request")
}

/// A dialect, a path and a body in which `VOICE` stands for the voice.
const ROUTES: &[(Dialect, &str, &str)] = &[
    (
        Dialect::Rime,
        "/v1/rime-tts",
        r#"{"speaker":"VOICE","text":"Héllo","modelId":"m-1","lang":"en-US"}"#,
    ),
    (
        Dialect::Supertone,
        "/v1/text-to-speech/VOICE",
        r#"{"text":"Héllo","model":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::Smallest,
        "/waves/v1/tts",
        r#"{"text":"Héllo","voice_id":"VOICE","model":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::Kugel,
        "/v1/tts/generate",
        r#"{"text":"Héllo","voice_id":"VOICE","model_id":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::Inworld,
        "/tts/v1/voice",
        r#"{"text":"Héllo","voiceId":"VOICE","modelId":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::OpenAi,
        "/v1/audio/speech",
        r#"{"input":"Héllo","voice":"VOICE","model":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::OpenAi,
        "/v1/audio/speech",
        r#"{"input":"Héllo","voice":{"id":"VOICE"},"model":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::ElevenLabs,
        "/v1/text-to-speech/VOICE/stream",
        r#"{"text":"Héllo","model_id":"m-1","language_code":"en-US"}"#,
    ),
    (
        Dialect::Cartesia,
        "/tts/bytes",
        r#"{"transcript":"Héllo","voice":{"mode":"id","id":"VOICE"},"model_id":"m-1","language":"en-US"}"#,
    ),
    (
        Dialect::Google,
        "/v1/text:synthesize",
        r#"{"input":{"text":"Héllo"},"voice":{"name":"VOICE","languageCode":"en-US","modelName":"m-1"}}"#,
    ),
];

#[tokio::test]
async fn a_voice_a_model_and_a_language_are_allowed_or_refused_in_every_dialect() {
    for (dialect, path, body) in ROUTES {
        for (id, voice, expected) in [
            ("limited", "cove", None),
            ("limited", "1071", None),
            ("limited", "other", Some(DenialKind::VoiceNotAllowed)),
            ("modelled", "other", None),
            ("spoken", "other", None),
            ("free", "other", None),
        ] {
            check(
                *dialect,
                id,
                &path.replace("VOICE", voice),
                &body.replace("VOICE", voice),
                expected,
                5,
            )
            .await;
        }
        let other = body.replace("m-1", "other").replace("en-US", "de");
        let path = path.replace("VOICE", "cove");
        let other = other.replace("VOICE", "cove");
        check(
            *dialect,
            "modelled",
            &path,
            &other,
            Some(DenialKind::ModelNotAllowed),
            5,
        )
        .await;
        check(
            *dialect,
            "spoken",
            &path,
            &other,
            Some(DenialKind::LanguageNotAllowed),
            5,
        )
        .await;
        check(*dialect, "free", &path, "{\"not json", None, 0).await;
        check(
            *dialect,
            "modelled",
            &path,
            "{\"not json",
            Some(DenialKind::UnreadableBody),
            0,
        )
        .await;
    }
}

async fn check(
    dialect: Dialect,
    id: &str,
    path: &str,
    body: &str,
    expected: Option<DenialKind>,
    characters: u64,
) {
    let seen = Seen::default();
    let request = post(
        dialect,
        id,
        path,
        "application/json",
        Full::<Bytes>::from(body.to_owned()),
    );
    let (status, _, _) = send(dialect, SpeechOptions::default(), &seen, request).await;
    let forwarded = seen.forwarded.lock().expect("no panic").clone();
    let ends = seen.ends.lock().expect("no panic").clone();
    let what = format!("{dialect} {id} {path} {body}");
    match expected {
        None => {
            assert_eq!(status, 200, "{what}");
            assert_eq!(forwarded, [body.as_bytes()], "{what}");
            let unmetered = body.contains("not json");
            assert_eq!(ends, [(None, Some(characters), unmetered)], "{what}");
        }
        Some(kind) => {
            assert!(status.is_client_error(), "{what}: {status}");
            assert!(forwarded.is_empty(), "{what}");
            // What the head shows is refused before there is a completion record.
            let refused = ends.iter().all(|(failure, ..)| *failure == Some(kind));
            let decided = seen
                .shown
                .lock()
                .expect("no panic")
                .contains(&format!("{kind:?}"));
            assert!(refused && decided, "{what}: {ends:?}");
        }
    }
}

#[tokio::test]
async fn what_two_servers_could_read_in_two_ways_is_refused_to_a_limited_key_only() {
    let json = "application/json";
    for (content_type, encoding, body, expected) in [
        (json, None, r#"{"speaker":"cove","text":"a"}"#, 200),
        (
            json,
            Some("identity"),
            r#"{"speaker":"cove","text":"a"}"#,
            200,
        ),
        (json, Some("gzip"), r#"{"speaker":"cove","text":"a"}"#, 400),
        ("text/plain", None, r#"{"speaker":"cove","text":"a"}"#, 400),
        (
            "application/json;charset=utf-16",
            None,
            r#"{"speaker":"cove","text":"a"}"#,
            400,
        ),
        (
            json,
            None,
            r#"{"speaker":"cove","sp\u0065aker":"other","text":"a"}"#,
            403,
        ),
        (
            json,
            None,
            r#"{"speaker":"cove","Speaker":"other","text":"a"}"#,
            403,
        ),
        (json, None, r#"{"speaker":["cove"],"text":"a"}"#, 403),
        (json, None, r#"{"text":"a"}"#, 403),
        (json, None, r#"{"speaker":"","text":"a"}"#, 403),
        (json, None, r#"{"speaker":"cove","text":"a"}{}"#, 400),
        (
            json,
            None,
            "\u{feff}{\"speaker\":\"cove\",\"text\":\"a\"}",
            400,
        ),
        (json, None, "", 400),
    ] {
        for (id, expected) in [("limited", expected), ("free", 200)] {
            let seen = Seen::default();
            let body = Full::<Bytes>::from(body.to_owned());
            let mut request = post(
                Dialect::Rime,
                id,
                "/v1/rime-tts",
                content_type,
                body.clone(),
            );
            if let Some(encoding) = encoding {
                let encoding = encoding.parse().expect("a value");
                request.headers_mut().insert("content-encoding", encoding);
            }
            let (status, ..) = send(Dialect::Rime, SpeechOptions::default(), &seen, request).await;
            assert_eq!(
                status.as_u16(),
                expected,
                "{id} {content_type} {encoding:?} {body:?}"
            );
            let forwarded = seen.forwarded.lock().expect("no panic").len();
            assert_eq!(forwarded == 1, expected == 200);
        }
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_to_a_limited_key_and_not_counted_for_others() {
    let text = "a".repeat(3_000);
    // The voice stands after the bound.
    let body = format!(r#"{{"text":"{text}","speaker":"cove"}}"#);
    let options = || SpeechOptions::default().with_body_bytes(1_024);
    for announced in [true, false] {
        for (id, expected) in [("limited", 413), ("free", 200)] {
            let seen = Seen::default();
            let parts = body
                .as_bytes()
                .chunks(7)
                .map(Bytes::copy_from_slice)
                .collect();
            let status = match announced {
                true => {
                    let body = Full::<Bytes>::from(body.clone());
                    let request = post(Dialect::Rime, id, "/v1/rime-tts", "application/json", body);
                    send(Dialect::Rime, options(), &seen, request).await.0
                }
                false => {
                    let body = frames(parts);
                    let request = post(Dialect::Rime, id, "/v1/rime-tts", "application/json", body);
                    send(Dialect::Rime, options(), &seen, request).await.0
                }
            };
            assert_eq!(status.as_u16(), expected, "{id} {announced}");
            let forwarded = seen.forwarded.lock().expect("no panic").clone();
            if id == "free" {
                assert_eq!(forwarded, [body.as_bytes()]);
                let ends = seen.ends.lock().expect("no panic").clone();
                assert_eq!(ends, [(None, Some(0), true)]);
            } else {
                assert!(forwarded.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn a_server_side_fetch_needs_its_scope() {
    for (id, path, body, expected) in [
        (
            "scoped",
            "/v1/speak?model=m",
            r#"{"url":"http://10.0.0.1"}"#,
            403,
        ),
        (
            "limited",
            "/v1/speak?model=cove",
            r#"{"url":"http://10.0.0.1"}"#,
            403,
        ),
        (
            "fetching",
            "/v1/speak?model=m",
            r#"{"url":"http://10.0.0.1"}"#,
            200,
        ),
        (
            "free",
            "/v1/speak?model=m",
            r#"{"url":"http://10.0.0.1"}"#,
            200,
        ),
        (
            "scoped",
            "/v1/speak?model=m&callback=http://x",
            r#"{"text":"a"}"#,
            403,
        ),
        ("scoped", "/v1/speak?model=m", r#"{"text":"a"}"#, 200),
    ] {
        let seen = Seen::default();
        let body = Full::<Bytes>::from(body);
        let request = post(Dialect::Deepgram, id, path, "application/json", body);
        let (status, ..) = send(Dialect::Deepgram, SpeechOptions::default(), &seen, request).await;
        assert_eq!(status.as_u16(), expected, "{id} {path}");
    }
}

/// A protobuf field with a length of less than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    [&[number << 3 | 2, length][..], content].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// A gRPC call, whose body is split into parts of this size.
async fn call(
    dialect: Dialect,
    id: &str,
    path: &str,
    body: &[u8],
    size: usize,
) -> (Seen, Option<String>) {
    let seen = Seen::default();
    let parts = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let mut request = post(dialect, id, path, "application/grpc", frames(parts));
    *request.version_mut() = http::Version::HTTP_2;
    let (_, _, status) = send(dialect, SpeechOptions::default(), &seen, request).await;
    (seen, status)
}

#[tokio::test]
async fn grpc_messages_are_checked_by_field_number_wherever_they_are_split() {
    const RIVA: &str = "/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize";
    const RIME: &str = "/rime.TextToSpeech/SynthesizeStreaming";
    let riva =
        |voice: &str| framed(&[field(1, "Héllo".as_bytes()), field(5, voice.as_bytes())].concat());
    let twice = framed(&[field(5, b"cove"), field(1, b"a"), field(5, b"other")].concat());
    let compressed = [&[1][..], &riva("cove")[1..]].concat();
    let header = |voice: &str| framed(&field(1, &field(3, voice.as_bytes())));
    let text = framed(&field(2, "Héllo".as_bytes()));
    let stream = |voice: &str| [header(voice), text.clone(), text.clone()].concat();
    let changed = [header("cove"), text.clone(), header("other"), text.clone()].concat();
    for size in [1, 2, 3, 7, 1_000] {
        for (dialect, path, body, refused, characters) in [
            (Dialect::Bearer, RIVA, riva("cove"), None, 5),
            (Dialect::Bearer, RIVA, riva("other"), Some("7"), 0),
            (Dialect::Bearer, RIVA, twice.clone(), Some("7"), 0),
            (Dialect::Bearer, RIVA, framed(&field(1, b"a")), Some("7"), 0),
            (Dialect::Bearer, RIVA, compressed.clone(), Some("3"), 0),
            (
                Dialect::Bearer,
                RIVA,
                riva("cove")[..9].to_vec(),
                Some("3"),
                0,
            ),
            (Dialect::Rime, RIME, stream("cove"), None, 10),
            (Dialect::Rime, RIME, stream("other"), Some("7"), 0),
            (
                Dialect::Rime,
                RIME,
                [text.clone(), header("cove")].concat(),
                Some("7"),
                0,
            ),
            (Dialect::Rime, RIME, changed.clone(), Some("7"), 5),
        ] {
            let (seen, status) = call(dialect, "limited", path, &body, size).await;
            let ends = seen.ends.lock().expect("no panic").clone();
            let forwarded = seen.forwarded.lock().expect("no panic").clone();
            assert_eq!(status.as_deref(), refused, "{path} {size} {body:?}");
            assert_eq!(ends.len(), 1);
            assert_eq!(ends[0].1, Some(characters), "{path} {size} {body:?}");
            assert_eq!(ends[0].0.is_some(), refused.is_some());
            match refused {
                None => assert_eq!(forwarded, [body]),
                Some(_) => assert!(forwarded.is_empty()),
            }
        }
        let (seen, status) = call(Dialect::Bearer, "free", RIVA, &compressed, size).await;
        assert_eq!(status, None);
        assert_eq!(
            *seen.forwarded.lock().expect("no panic"),
            std::slice::from_ref(&compressed)
        );
        assert_eq!(
            *seen.ends.lock().expect("no panic"),
            [(None, Some(0), true)]
        );
    }
}

#[tokio::test]
async fn a_websocket_whose_messages_nothing_reads_is_refused_to_a_limited_key() {
    for (dialect, id, path, expected) in [
        (Dialect::Smallest, "limited", "/waves/v1/tts/live", 403),
        (Dialect::Smallest, "free", "/waves/v1/tts/live", 200),
        // The voice is in the path, and no message can change it.
        (
            Dialect::ElevenLabs,
            "limited",
            "/v1/text-to-speech/cove/stream-input",
            200,
        ),
        (
            Dialect::ElevenLabs,
            "limited",
            "/v1/text-to-speech/other/stream-input",
            404,
        ),
        // A new context can name another voice.
        (Dialect::Rime, "limited", "/ws3?speaker=cove", 403),
    ] {
        let seen = Seen::default();
        let mut request = post(dialect, id, path, "text/plain", Full::<Bytes>::default());
        *request.method_mut() = http::Method::GET;
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
            request
                .headers_mut()
                .insert(name, value.parse().expect("a value"));
        }
        let (status, ..) = send(dialect, SpeechOptions::default(), &seen, request).await;
        assert_eq!(status.as_u16(), expected, "{dialect} {id} {path}");
    }
}

/// The session of a WebSocket that the layer accepted.
async fn session(dialect: Dialect, id: &str, path: &str) -> SpeechSession {
    let found = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&found);
    let inner = service_fn(move |request: Request<SpeechBody<Full<Bytes>>>| {
        let session = request.extensions().get::<SpeechSession>().cloned();
        *keep.lock().expect("no panic") = session;
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let mut request = post(dialect, id, path, "text/plain", Full::<Bytes>::default());
    *request.method_mut() = http::Method::GET;
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        let value = value.parse().expect("a value");
        request.headers_mut().insert(name, value);
    }
    let options = SpeechOptions::default().with_message_reading();
    let service = layer(dialect, &Seen::default())
        .with_speech(options)
        .layer(inner);
    service.oneshot(request).await.expect("an answer");
    let session = found.lock().expect("no panic").take();
    session.unwrap_or_else(|| panic!("{dialect} {path} was refused"))
}

#[tokio::test]
async fn the_messages_of_a_websocket_are_checked_in_every_dialect() {
    let no = Some(DenialKind::VoiceNotAllowed);
    let unseen = Some(DenialKind::VoiceNotSeen);
    let unreadable = Some(DenialKind::UnreadableBody);
    type Steps<'a> = &'a [(&'a str, Option<DenialKind>, u64)];
    let cases: &[(Dialect, &str, Steps<'_>)] = &[
        (
            Dialect::Smallest,
            "/waves/v1/tts/live",
            &[
                (r#"{"text":"Hé","voice_id":"cove"}"#, None, 2),
                (r#"{"text":"a"}"#, unseen, 2),
                (r#"{"text":"a","voice_id":"other"}"#, no, 2),
                (r#"{"cancel_request":true}"#, None, 2),
                (
                    r#"{"text":"a","voice_id":"cove","voice_id":"other"}"#,
                    unseen,
                    2,
                ),
                ("text", unreadable, 2),
            ],
        ),
        (
            Dialect::Kugel,
            "/ws/tts/stream",
            &[
                (r#"{"text":"a"}"#, unseen, 0),
                (r#"{"voice_id":1071}"#, None, 0),
                (r#"{"text":"a","flush":true}"#, None, 1),
                (r#"{"text":"a","voice_id":7}"#, no, 1),
            ],
        ),
        (
            Dialect::Kugel,
            "/ws/tts/multi",
            &[
                (
                    r#"{"text":"ab","context_id":"1","voice_settings":{"voice_id":1071}}"#,
                    None,
                    2,
                ),
                (r#"{"text":"ab","context_id":"1"}"#, None, 4),
                (r#"{"text":"ab","context_id":"2"}"#, unseen, 4),
                (r#"{"text":"ab","context_id":"1","voice_id":3}"#, no, 4),
            ],
        ),
        (
            Dialect::Inworld,
            "/tts/v1/voice:streamBidirectional",
            &[
                (r#"{"create":{"voiceId":"cove"},"contextId":"1"}"#, None, 0),
                (r#"{"send_text":{"text":"abc"},"contextId":"1"}"#, None, 3),
                (r#"{"send_text":{"text":"abc"},"contextId":"2"}"#, unseen, 3),
                (r#"{"create":{"voice_id":"other"},"contextId":"2"}"#, no, 3),
                (
                    r#"{"send_text":{"text":"a"},"contextId":"1","context_id":"2"}"#,
                    unreadable,
                    3,
                ),
            ],
        ),
        (
            Dialect::ElevenLabs,
            "/v1/text-to-speech/cove/stream-input",
            &[(r#"{"text":" "}"#, None, 1), (r#"{"text":"abc"}"#, None, 4)],
        ),
        (
            Dialect::Deepgram,
            "/v1/speak?model=cove",
            &[
                (r#"{"type":"Speak","text":"abc"}"#, None, 3),
                (r#"{"type":"Flush"}"#, None, 3),
            ],
        ),
        (
            Dialect::Cartesia,
            "/tts/websocket",
            &[
                (
                    r#"{"transcript":"ab","voice":{"mode":"id","id":"cove"},"context_id":"1"}"#,
                    None,
                    2,
                ),
                (
                    r#"{"transcript":"ab","voice":{"id":"other"},"context_id":"1"}"#,
                    no,
                    2,
                ),
                (
                    r#"{"transcript":"ab","voice":{"embedding":[1]}}"#,
                    Some(DenialKind::FetchNotAllowed),
                    2,
                ),
            ],
        ),
        (
            Dialect::Rime,
            "/ws?speaker=cove",
            &[
                ("Hello", None, 5),
                ("<FLUSH>", None, 5),
                (r#"{"text":"ab","contextId":"1"}"#, None, 7),
                // The query does not count for a context of the engine.
                (r#"{"start":{"text":"ab"},"contextId":"2"}"#, unseen, 7),
                (
                    r#"{"start":{"text":"ab","speaker":"cove"},"contextId":"2"}"#,
                    None,
                    9,
                ),
                (r#"{"text":"ab","contextId":"2"}"#, None, 11),
                (r#"{"start":{"speaker":"other"},"contextId":"3"}"#, no, 11),
            ],
        ),
        (
            Dialect::Rime,
            "/ws",
            &[
                ("Hello", unseen, 0),
                (r#"{"config":{"defaults":{"speaker":"other"}}}"#, no, 0),
                (r#"{"config":{"defaults":{"speaker":"cove"}}}"#, None, 0),
                (r#"{"start":{"text":"ab"},"contextId":"2"}"#, None, 2),
            ],
        ),
        (
            Dialect::OpenAi,
            "/v1/audio/speech/stream",
            &[
                (r#"{"type":"input.text","text":"a"}"#, unseen, 0),
                (r#"{"type":"session.config","voice":"cove"}"#, None, 0),
                (r#"{"type":"input.text","text":"ab"}"#, None, 2),
                (r#"{"type":"session.config","voice":"other"}"#, no, 2),
            ],
        ),
        (
            Dialect::OpenAi,
            "/v1/realtime?model=m",
            &[
                (r#"{"type":"response.create"}"#, unseen, 0),
                (
                    r#"{"type":"session.update","session":{"audio":{"output":{"voice":"cove"}}}}"#,
                    None,
                    0,
                ),
                (r#"{"type":"response.create"}"#, None, 0),
                (
                    r#"{"type":"response.create","response":{"voice":"other"}}"#,
                    no,
                    0,
                ),
            ],
        ),
        (
            Dialect::Azure,
            "/cognitiveservices/websocket/v1",
            &[
                ("Path:speech.config\r\n\r\n{}", None, 0),
                (
                    "Path:ssml\r\n\r\n<speak><voice name='cove'>ab</voice></speak>",
                    None,
                    2,
                ),
                (
                    "Path:ssml\r\n\r\n<speak><voice name='cove'>a</voice><voice name='o'>b</voice></speak>",
                    no,
                    2,
                ),
                ("Path:text.piece\r\n\r\nab", None, 4),
            ],
        ),
    ];
    for (dialect, path, steps) in cases {
        let mut session = session(*dialect, "limited", path).await;
        for (message, expected, characters) in *steps {
            let allowed = session.allow(Message::Text(message.as_bytes())).err();
            assert_eq!(allowed, *expected, "{dialect} {message}");
            assert_eq!(
                session.meter().characters(),
                *characters,
                "{dialect} {message}"
            );
        }
    }
}

#[tokio::test]
async fn a_websocket_forgets_the_oldest_contexts_and_not_what_they_may() {
    let mut session = session(Dialect::Kugel, "limited", "/ws/tts/multi").await;
    let mut say = |context: usize, voice: &str| {
        let message = format!(r#"{{"text":"a","context_id":"{context}"{voice}}}"#);
        session.allow(Message::Text(message.as_bytes()))
    };
    for context in 0..3_000 {
        assert_eq!(say(context, r#","voice_id":1071"#), Ok(()));
    }
    assert_eq!(say(2_999, ""), Ok(()));
    assert_eq!(say(0, ""), Err(DenialKind::VoiceNotSeen));
    assert_eq!(say(0, r#","voice_id":1071"#), Ok(()));
}

#[tokio::test]
async fn binary_messages_of_the_engine_are_read_by_field_number() {
    let mut session = session(Dialect::Rime, "limited", "/ws").await;
    let start = |speaker: &[u8]| {
        let start = field(3, &[field(3, speaker), field(4, b"ab")].concat());
        [field(1, b"1"), start].concat()
    };
    for (message, expected) in [
        (start(b"cove"), Ok(())),
        ([field(1, b"1"), field(4, b"cd")].concat(), Ok(())),
        (
            [field(1, b"2"), field(4, b"cd")].concat(),
            Err(DenialKind::VoiceNotSeen),
        ),
        (start(b"other"), Err(DenialKind::VoiceNotAllowed)),
        (vec![0xff], Err(DenialKind::UnreadableBody)),
    ] {
        assert_eq!(
            session.allow(Message::Binary(&message)),
            expected,
            "{message:?}"
        );
    }
    assert_eq!(session.meter().characters(), 4);
}

#[tokio::test]
async fn no_output_contains_the_text() {
    for id in ["limited", "free"] {
        for voice in ["cove", "other"] {
            let seen = Seen::default();
            let body = format!(r#"{{"speaker":"{voice}","text":"{CANARY}"}}"#);
            let body = Full::<Bytes>::from(body);
            let request = post(Dialect::Rime, id, "/v1/rime-tts", "application/json", body);
            let (_, answer, _) =
                send(Dialect::Rime, SpeechOptions::default(), &seen, request).await;
            assert!(!answer.contains(CANARY));
            assert!(!seen.shown.lock().expect("no panic").contains(CANARY));
        }
    }
}

/// A body that sends some bytes and then waits for ever.
struct Slow(Option<Bytes>);

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn the_memory_of_a_thousand_slow_uploads_is_bounded() {
    let seen = Seen::default();
    let inner = service_fn(|_: Request<SpeechBody<Slow>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let options = SpeechOptions::default().with_held_bytes(100 * 1_000);
    let mut service = layer(Dialect::Rime, &seen)
        .with_speech(options)
        .layer(inner);
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..1_000 {
        let body = Slow(Some(Bytes::from(vec![b' '; 1_000])));
        let request = post(
            Dialect::Rime,
            "limited",
            "/v1/rime-tts",
            "application/json",
            body,
        );
        let mut answer = Box::pin(service.call(request));
        match answer.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => held.push(answer),
            Poll::Ready(answer) => {
                assert_eq!(answer.expect("an answer").status(), 503);
                refused += 1;
            }
        }
    }
    assert_eq!((held.len(), refused), (100, 900));
    // What is dropped gives its bytes back.
    held.truncate(99);
    let body = Slow(Some(Bytes::from(vec![b' '; 1_000])));
    let request = post(
        Dialect::Rime,
        "limited",
        "/v1/rime-tts",
        "application/json",
        body,
    );
    let mut answer = Box::pin(service.call(request));
    let polled = answer.poll_unpin(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

/// Splits bytes at these places.
fn split(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut ends: Vec<usize> = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect();
    ends.extend([0, bytes.len()]);
    ends.sort_unstable();
    let parts = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
    parts.map(Bytes::copy_from_slice).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn characters_are_those_that_the_client_sent(
        text in any::<String>(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        id in prop::sample::select(&["limited", "free"][..]),
    ) {
        let text = serde_json::to_string(&text).map(|quoted| (text, quoted)).expect("text");
        let body = format!(r#"{{"text":{},"speaker":"cove"}}"#, text.1);
        let seen = Seen::default();
        let parts = split(body.as_bytes(), &places);
        let request = post(Dialect::Rime, id, "/v1/rime-tts", "application/json", frames(parts));
        let (status, ..) = block_on(send(Dialect::Rime, SpeechOptions::default(), &seen, request));
        prop_assert_eq!(status.as_u16(), 200);
        prop_assert_eq!(&*seen.forwarded.lock().expect("no panic"), &[body.as_bytes()]);
        let ends = seen.ends.lock().expect("no panic").clone();
        prop_assert_eq!(ends, [(None, Some(text.0.chars().count() as u64), false)]);
    }

    #[test]
    fn forwarded_bytes_are_received_bytes(
        body in prop::collection::vec(any::<u8>(), 0..400),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        grpc in any::<bool>(),
        bound in 1_usize..400,
    ) {
        let seen = Seen::default();
        let parts = split(&body, &places);
        let (path, content_type) = match grpc {
            true => ("/rime.TextToSpeech/SynthesizeStreaming", "application/grpc"),
            false => ("/v1/rime-tts", "application/json"),
        };
        let options = SpeechOptions::default().with_body_bytes(bound);
        let request = post(Dialect::Rime, "free", path, content_type, frames(parts));
        let (status, ..) = block_on(send(Dialect::Rime, options, &seen, request));
        prop_assert_eq!(status.as_u16(), 200);
        prop_assert_eq!(&*seen.forwarded.lock().expect("no panic"), &[body]);
    }
}
