//! Keys that are limited to voices, over HTTP and WebSocket.

use std::convert::Infallible;
use std::io::Write as _;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proptest::arbitrary::any as any_value;
use proptest::collection::vec;
use proptest::sample::Index;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::first_message::{Socket, engine, next, open, say};
use super::harness::{KEY, Program, Started, send_raw, serve, wait_until};
use super::usage::voxgate;

/// A text that no record and no log may contain.
const CANARY: &str = "canary-7f3a";

fn keys() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    write!(
        file,
        "[[key]]\nid = \"limited\"\nsecret = \"{KEY}\"\nvoices = [\"cove\"]\n\
         [[key]]\nid = \"free\"\nsecret = \"another-key-that-is-long-enough\"\n"
    )
    .unwrap();
    file
}

/// The completion records, once there are this many.
async fn completions(gateway: &Started, count: usize) -> Vec<Value> {
    wait_until("completion", || {
        let mut records = gateway.records();
        records.retain(|record| record["event"] == "complete");
        (records.len() == count).then_some(records)
    })
    .await
}

fn post(body: &str, headers: &str) -> String {
    format!(
        "POST /v1/audio/speech HTTP/1.1\r\nHost: voxgate\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_body_of_a_limited_key_is_read_and_forwarded_byte_for_byte() {
    let echo = Router::new().fallback(any(|body: Bytes| async move { body }));
    let upstream = serve(echo).await;
    let keys = keys();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_DIALECT", "openai")
        .var("VOXGATE_KEYS_FILE", keys.path())
        .var("VOXGATE_BODY_INSPECT_KIB", "1")
        .start();
    let allowed = format!("{{ \"input\": \"{CANARY}\", \"voice\": \"c\\u006fve\" }}");
    let other = format!("{{\"input\":\"{CANARY}\",\"voice\":\"other\"}}");
    let long = format!("{{\"input\":\"{}\",\"voice\":\"cove\"}}", "a".repeat(2_000));
    let file = "{\"input\":\"a\",\"voice\":\"cove\",\"ref_audio\":\"file:///etc/passwd\"}";
    for (body, headers, status, failure) in [
        (allowed.as_str(), "", 200, None),
        (&other, "", 403, Some("voice_not_allowed")),
        ("{\"input\":\"a\"}", "", 403, Some("voice_not_seen")),
        (
            &allowed,
            "Content-Encoding: gzip\r\n",
            400,
            Some("unreadable_body"),
        ),
        (&long, "", 413, Some("content_too_large")),
        (file, "", 403, Some("fetch_not_allowed")),
    ] {
        let answer = send_raw(gateway.address, post(body, headers)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        match failure {
            None => assert_eq!(answer.body, body),
            Some(_) => {
                assert!(answer.body.contains("\"error\":") && !answer.body.contains(CANARY));
            }
        }
    }
    let failures: Vec<Value> = completions(&gateway, 6)
        .await
        .into_iter()
        .map(|record| record["failure"].clone())
        .collect();
    let expected = [
        Value::Null,
        "voice_not_allowed".into(),
        "voice_not_seen".into(),
        "unreadable_body".into(),
        "content_too_large".into(),
        "fetch_not_allowed".into(),
    ];
    assert_eq!(failures, expected);
    let records = format!("{:?}", gateway.records());
    assert!(!records.contains(CANARY) && !gateway.printed().contains(CANARY));
}

async fn speak(socket: &mut Socket, voice: &str) -> Message {
    let text = format!("{{\"text\":\"{CANARY}\",\"voice_id\":\"{voice}\",\"continue\":true}}");
    say(socket, text).await
}

#[tokio::test]
async fn each_message_of_a_websocket_may_name_an_allowed_voice_only() {
    let (seen, upstream) = engine().await;
    let keys = keys();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_DIALECT", "smallest")
        .var("VOXGATE_KEYS_FILE", keys.path())
        .start();
    let bearer = format!("Bearer {KEY}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let mut socket = open(&gateway, "/waves/v1/tts/live", &headers).await;
    assert!(speak(&mut socket, "cove").await.is_text());
    // A message in two frames, cut within the name of its voice.
    for (part, opcode, last) in [
        ("{\"text\":\"a\",\"voice_id\":\"co", Data::Text, false),
        ("ve\"}", Data::Continue, true),
    ] {
        let frame = Frame::message(part, OpCode::Data(opcode), last);
        socket.send(Message::Frame(frame)).await.unwrap();
    }
    let whole = next(&mut socket).await.into_text().unwrap();
    assert_eq!(whole.as_str(), "{\"text\":\"a\",\"voice_id\":\"cove\"}");
    let error = speak(&mut socket, "other").await.into_text().unwrap();
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["status"], "error");
    let Message::Close(Some(close)) = next(&mut socket).await else {
        panic!("a voice that the key may not use was spoken");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1008, "voice_not_allowed")
    );

    let completion = completions(&gateway, 1).await.remove(0);
    assert_eq!(completion["failure"], "voice_not_allowed");
    let seen = seen.all();
    assert!(!seen[0].contains("permessage-deflate"), "{}", seen[0]);
    assert_eq!(seen.len(), 3, "the handshake and two messages: {seen:?}");
    assert!(!format!("{:?}", gateway.records()).contains(CANARY));

    // The messages of a key without limits are not read.
    let free = [
        ("authorization", "Bearer another-key-that-is-long-enough"),
        ("sec-websocket-extensions", "x-any"),
    ];
    let mut socket = open(&gateway, "/waves/v1/tts/live", &free).await;
    assert!(speak(&mut socket, "other").await.is_text());
}

/// A random text, a context and cuts.
fn texts() -> impl Iterator<Item = (String, usize, Vec<Index>)> {
    let mut runner = TestRunner::deterministic();
    let texts = (
        vec(proptest::char::any(), 0..40),
        0..3_usize,
        vec(any_value::<Index>(), 0..4),
    );
    std::iter::repeat_with(move || {
        let (text, context, cuts) = texts.new_tree(&mut runner).unwrap().current();
        (text.into_iter().collect(), context, cuts)
    })
    .take(1_000)
}

/// The parts of a message that is cut anywhere, also within a character.
fn parts<'a>(message: &'a str, cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len())).collect();
    ends.extend([0, message.len()]);
    ends.sort_unstable();
    let parts = ends.windows(2);
    parts
        .map(|ends| &message.as_bytes()[ends[0]..ends[1]])
        .collect()
}

/// A thousand random texts in three contexts of one WebSocket, each message in up to five frames, and a
/// thousand in bodies of up to five chunks: the report has what the clients sent.
#[tokio::test]
async fn the_report_has_the_characters_that_clients_sent() {
    let mut keys = NamedTempFile::new().unwrap();
    write!(
        keys,
        "[[key]]\nid = \"limited\"\nsecret = \"{KEY}\"\nvoices = [\"1071\"]\n"
    )
    .unwrap();
    let log = tempfile::tempdir().unwrap();
    let start = |upstream| {
        Program::gateway(upstream)
            .var("VOXGATE_DIALECT", "kugel")
            .var("VOXGATE_KEYS_FILE", keys.path())
            .var("VOXGATE_AUDIT_DIR", log.path())
            .start()
    };
    let bearer = format!("Bearer {KEY}");
    let (seen, upstream) = engine().await;
    let mut gateway = start(upstream);
    let headers = [("authorization", bearer.as_str())];
    let mut socket = open(&gateway, "/ws/tts/multi", &headers).await;
    let (mut characters, mut sent) = (0, Vec::new());
    for (number, (text, context, cuts)) in texts().enumerate() {
        characters += text.chars().count();
        let mut message = json!({"text": text, "context_id": context.to_string()});
        if number < 3 {
            // Each context names its voice once.
            message["context_id"] = number.to_string().into();
            message["voice_settings"] = json!({"voice_id": 1071});
        }
        let message = message.to_string();
        let parts = parts(&message, &cuts);
        for (number, part) in parts.iter().enumerate() {
            let kind = match number {
                0 => Data::Text,
                _ => Data::Continue,
            };
            let last = number + 1 == parts.len();
            let frame = Frame::message(part.to_vec(), OpCode::Data(kind), last);
            socket.send(Message::Frame(frame)).await.unwrap();
        }
        let heard = next(&mut socket).await.into_text().unwrap();
        assert_eq!(heard.as_str(), message);
        sent.push(message);
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    assert_eq!(seen.all()[1..], sent);
    gateway.terminate();
    gateway.exit_status().await;

    let echo = Router::new().fallback(any(|body: Bytes| async move { body }));
    let mut gateway = start(serve(echo).await);
    let client = Client::builder(TokioExecutor::new()).build_http();
    for (text, _, cuts) in texts() {
        characters += text.chars().count();
        let message = json!({"text": text, "voice_id": 1071}).to_string();
        let chunks = parts(&message, &cuts).into_iter();
        let frames = chunks.map(|chunk| hyper::body::Frame::data(Bytes::copy_from_slice(chunk)));
        let frames: Vec<_> = frames.map(Ok::<_, Infallible>).collect();
        let request = hyper::Request::post(format!("http://{}/v1/tts/generate", gateway.address))
            .header("authorization", &bearer)
            .header("content-type", "application/json")
            .body(StreamBody::new(stream::iter(frames)));
        let answer = client.request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let heard = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(heard, message);
    }
    gateway.terminate();
    gateway.exit_status().await;

    let usage = voxgate(&["usage", "--format", "json"], log.path());
    let usage: Value = serde_json::from_str(&usage).unwrap();
    assert_eq!(usage["usage"][0]["characters"], characters, "{usage}");
    let report = voxgate(&["audit", "report", "--format", "csv"], log.path());
    let [head, row] = report.lines().collect::<Vec<_>>()[..] else {
        panic!("more than one key: {report}");
    };
    let mut cells = head.split(',').zip(row.split(','));
    let shown = cells.find(|(name, _)| *name == "characters");
    let expected = characters.to_string();
    assert_eq!(shown, Some(("characters", expected.as_str())), "{report}");
}

/// The key in the header of a dialect, and as settings have it.
fn credential(dialect: &str) -> ((&'static str, String), String) {
    let bearer = ("authorization", format!("Bearer {KEY}"));
    match dialect {
        "elevenlabs" => (("xi-api-key", KEY.to_owned()), KEY.to_owned()),
        "deepgram" => (("authorization", format!("Token {KEY}")), KEY.to_owned()),
        "inworld" => {
            let key = format!("id:{KEY}");
            let id = BASE64_STANDARD.encode(&key);
            (("authorization", format!("Basic {id}")), key)
        }
        _ => (bearer, KEY.to_owned()),
    }
}

#[tokio::test]
async fn a_message_beyond_a_quota_is_refused_in_the_words_of_the_vendor() {
    let (seen, upstream) = engine().await;
    for (dialect, path, message, pointer, word, code) in [
        (
            "cartesia",
            "/tts/websocket",
            json!({"transcript": CANARY, "context_id": "c-7"}),
            "/error_code",
            json!("quota_exceeded"),
            1008,
        ),
        (
            "inworld",
            "/tts/v1/voice:streamBidirectional",
            json!({"send_text": {"text": CANARY}}),
            "/error/code",
            json!(8),
            1008,
        ),
        (
            "smallest",
            "/waves/v1/tts/live",
            json!({"text": CANARY}),
            "/status",
            json!("error"),
            1008,
        ),
        (
            "deepgram",
            "/v2/speak?model=m",
            json!({"type": "Speak", "text": CANARY}),
            "/type",
            json!("Error"),
            1008,
        ),
        (
            "openai",
            "/v1/audio/speech/stream",
            json!({"type": "input.text", "text": CANARY}),
            "/error/code",
            json!("insufficient_quota"),
            1008,
        ),
        (
            "kugel",
            "/ws/tts",
            json!({"text": CANARY}),
            "/error_code",
            json!("INSUFFICIENT_CREDITS"),
            4003,
        ),
    ] {
        let (header, secret) = credential(dialect);
        let mut keys = NamedTempFile::new().unwrap();
        let quota = "quota = \"3 characters/month\"";
        write!(
            keys,
            "[[key]]\nid = \"ivr\"\nsecret = \"{secret}\"\n{quota}\n"
        )
        .unwrap();
        let gateway = Program::gateway(upstream)
            .var("VOXGATE_DIALECT", dialect)
            .var("VOXGATE_KEYS_FILE", keys.path())
            .start();
        let mut socket = open(&gateway, path, &[(header.0, &header.1)]).await;
        let error = say(&mut socket, message.to_string()).await;
        let error: Value = serde_json::from_str(&error.into_text().unwrap()).unwrap();
        assert_eq!(error.pointer(pointer), Some(&word), "{dialect}: {error}");
        if dialect == "cartesia" {
            assert_eq!(error["context_id"], "c-7");
        }
        let Message::Close(Some(close)) = next(&mut socket).await else {
            panic!("{dialect}: not closed");
        };
        let close = (u16::from(close.code), close.reason.to_string());
        assert_eq!(close, (code, "quota_exhausted".to_owned()), "{dialect}");
        let completion = completions(&gateway, 1).await.remove(0);
        assert_eq!(completion["failure"], "quota_exhausted");
        let records = format!("{:?} {error}", gateway.records());
        assert!(!records.contains(CANARY), "{dialect}");
    }
    assert!(!seen.all().concat().contains(CANARY));
}

/// Audio is counted while it passes, so that a quota ends a WebSocket that stays open.
#[tokio::test]
async fn a_quota_of_audio_ends_a_tunnel_at_its_next_text() {
    let (_, upstream) = engine().await;
    let mut keys = NamedTempFile::new().unwrap();
    let quota = "quota = \"5s audio/day\"";
    write!(keys, "[[key]]\nid = \"ivr\"\nsecret = \"{KEY}\"\n{quota}\n").unwrap();
    let gateway = Program::gateway(upstream)
        .var("VOXGATE_DIALECT", "kugel")
        .var("VOXGATE_KEYS_FILE", keys.path())
        .start();
    let bearer = format!("Bearer {KEY}");
    let mut socket = open(&gateway, "/ws/tts", &[("authorization", &bearer)]).await;
    let audio = BASE64_STANDARD.encode(vec![0; 80_000]);
    let spoken = json!({"text": "a", "sample_rate": 8000, "audio": audio}).to_string();
    assert!(say(&mut socket, spoken.clone()).await.is_text());
    let refused = say(&mut socket, spoken).await.into_text().unwrap();
    assert!(
        refused.contains("INSUFFICIENT_CREDITS"),
        "{:.200}",
        refused.as_str()
    );
    let completion = completions(&gateway, 1).await.remove(0);
    assert_eq!(completion["audio_ms"], 5_000);
}

/// The engine says each message again, so that a client's message can have what a server's has.
#[tokio::test]
async fn the_audio_in_the_messages_of_a_server_is_counted() {
    let (_, upstream) = engine().await;
    let second = vec![0_u8; 16_000];
    let audio = BASE64_STANDARD.encode(&second);
    let seconds = |fields: Value| {
        let mut message = fields;
        message["text"] = "ab".into();
        message["transcript"] = "ab".into();
        Message::text(message.to_string())
    };
    let pcm = json!({"encoding": "pcm_s16le", "sample_rate": 8000});
    // `WebSocketResponse` of Rime's engine: field 4 has the audio, of 16 000 bytes.
    let protobuf = [&[0x22, 0x80, 0x7d][..], &second].concat();
    let usage =
        json!({"characters": 4, "audio_seconds": 2.0, "cost_cents": 0.5, "currency": "EUR"});
    for (dialect, path, offer, messages, audio_ms, billed) in [
        (
            "cartesia",
            "/tts/websocket",
            "",
            vec![seconds(json!({"data": audio, "output_format": pcm}))],
            1_000,
            None,
        ),
        (
            "elevenlabs",
            "/v1/text-to-speech/v/stream-input?output_format=pcm_16000",
            "",
            vec![
                seconds(json!({"audio": audio})),
                seconds(json!({"audio": null})),
            ],
            500,
            None,
        ),
        (
            "deepgram",
            "/v1/speak?model=aura&sample_rate=8000",
            "",
            vec![
                Message::binary(second.clone()),
                Message::binary(second.clone()),
                seconds(json!({"billable_character_count": 4})),
            ],
            2_000,
            Some(4),
        ),
        (
            "rime",
            "/ws3?audioFormat=pcm&samplingRate=8000",
            "",
            vec![seconds(
                json!({"type": "chunk", "data": audio, "contextId": "a"}),
            )],
            1_000,
            None,
        ),
        (
            "rime",
            "/ws?audioFormat=pcm&samplingRate=8000",
            "rime.v1.binary",
            vec![Message::binary(protobuf)],
            1_000,
            None,
        ),
        (
            "kugel",
            "/ws/tts/multi",
            "",
            vec![
                seconds(json!({"audio": audio, "sample_rate": 8000, "context_id": "a"})),
                seconds(json!({"audio": audio, "context_id": "b"})),
                seconds(json!({"usage": usage})),
            ],
            2_000,
            Some(4),
        ),
        (
            "inworld",
            "/tts/v1/voice:streamBidirectional",
            "",
            vec![
                seconds(json!({"create": {"audioConfig":
                    {"audioEncoding": "MULAW", "sampleRateHertz": 16000}}})),
                seconds(json!({"result": {"audioChunk": {"audioContent": audio}}})),
            ],
            1_000,
            None,
        ),
        (
            "smallest",
            "/waves/v1/tts/live",
            "",
            vec![seconds(
                json!({"status": "chunk", "data": {"audio": audio}, "sample_rate": 8000}),
            )],
            1_000,
            None,
        ),
    ] {
        let (header, keys) = credential(dialect);
        let gateway = Program::gateway(upstream)
            .var("VOXGATE_DIALECT", dialect)
            .var("VOXGATE_API_KEYS", keys)
            .var("VOXGATE_METERING", "true")
            .start();
        let mut headers = vec![(header.0, header.1.as_str())];
        headers.extend(Some(("sec-websocket-protocol", offer)).filter(|_| !offer.is_empty()));
        let mut socket = open(&gateway, path, &headers).await;
        for message in messages {
            let heard = say(&mut socket, message.clone()).await;
            assert_eq!(heard, message, "{dialect}");
        }
        socket.close(None).await.unwrap();
        drop(socket);
        let completion = completions(&gateway, 1).await.remove(0);
        assert_eq!(
            completion["audio_ms"], audio_ms,
            "{dialect} {path}: {completion}"
        );
        let charged = completion["characters_billed"].as_u64();
        assert_eq!(charged, billed, "{dialect}: {completion}");
        if dialect == "kugel" {
            let cost = (&completion["cost_micros"], &completion["cost_currency"]);
            assert_eq!(cost, (&json!(5_000), &json!("EUR")));
            assert_eq!(completion["audio_billed_ms"], 2_000);
        }
    }
}
