//! The layer, inside the authentication layer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use voxgate::rate_limit::Quota;
use voxgate::speech::{Reservation, SpeechMeter, TextQuota as _};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Caller, Dialect, Key, KeyRing, Principal, Secret,
};
use voxgate_usage::{UsageBook, UsageLayer, answered_routes};

use super::books::TestClock;

const TOKEN: &str = "a-long-enough-token-for-a-test";
/// No output may have it.
const CANARY: &str = "the canary sings 秘密 at dawn";

/// Characters and milliseconds of audio, as a completion record has them.
type End = (u64, Option<u64>);

/// The ends in the completion records, and all records as text.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<End>>>, Arc<Mutex<String>>);

impl AuditSink for Ends {
    fn record(&self, record: &AuditRecord<'_>) {
        self.1
            .lock()
            .expect("no panic")
            .push_str(&format!("{record:?}"));
        if let AuditRecord::Completion(end) = record
            && let Some(meter) = end.speech
        {
            let end = (meter.characters(), meter.audio_milliseconds());
            self.0.lock().expect("no panic").push(end);
        }
    }
}

struct Gate {
    book: UsageBook,
    ends: Ends,
    dialect: Dialect,
    quotas: Vec<Quota>,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }
}

impl Gate {
    fn new(dialect: Dialect, quotas: &[&str]) -> Self {
        let clock = TestClock::at("2026-11-28T12:00:00Z");
        let quotas = quotas
            .iter()
            .map(|text| Quota::parse(text).expect("a quota"));
        Self {
            book: clock
                .book("UTC")
                .with_all_principals()
                .build()
                .expect("a book"),
            ends: Ends::default(),
            dialect,
            quotas: quotas.collect(),
        }
    }

    /// Sends a request to a server that takes the text from the quota, and answers with a second of
    /// audio, or with the status in the path.
    async fn send(&self, path: &str, text: &str) -> Answer {
        let book = self.book.clone();
        let server = service_fn(move |request: Request<Full<Bytes>>| {
            let book = book.clone();
            async move {
                let meter = request.extensions().get::<SpeechMeter>().cloned();
                let meter = meter.expect("a meter");
                let caller = request.extensions().get::<Caller>().cloned();
                let caller = caller.expect("a caller");
                let path = request.uri().path().to_owned();
                let text = request
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes();
                let text = std::str::from_utf8(&text).expect("UTF-8");
                let characters = text.chars().count() as u64;
                let reserved = match book.reserve(caller.principal(), &meter, characters) {
                    Reservation::Done(reserved) => reserved,
                    Reservation::Pending(reserved) => reserved.await,
                };
                let mut response = Response::new(Full::<Bytes>::from(vec![0; 16_000]));
                if let Err(denial) = reserved {
                    *response.status_mut() = denial.status();
                    response.extensions_mut().insert(denial.kind());
                    return Ok::<_, Infallible>(response);
                }
                meter.add_characters(characters);
                if let Some(status) = path.strip_prefix("/fails/") {
                    *response.status_mut() = status.parse().expect("a status");
                }
                let audio = "audio/L16;rate=8000".parse().expect("a value");
                response.headers_mut().insert(CONTENT_TYPE, audio);
                Ok(response)
            }
        });
        let principal = Principal::new("ivr").with_quotas(self.quotas.clone());
        let secret = Secret::new(TOKEN).expect("visible ASCII");
        let ring = KeyRing::new([Key::from_secret(&secret, principal)]).expect("a ring");
        let auth = AuthLayer::new(ring)
            .with_dialect(self.dialect)
            .with_audit_sink(self.ends.clone())
            .with_speech_meters();
        let auth = answered_routes()
            .into_iter()
            .fold(auth, AuthLayer::with_first_rule);
        let service = ServiceBuilder::new()
            .layer(auth)
            .layer(UsageLayer::new(self.book.clone()).with_answers())
            .service(server);
        let method = if text.is_empty() { "GET" } else { "POST" };
        let header = match self.dialect {
            Dialect::Supertone => ("x-sup-api-key", TOKEN.to_owned()),
            Dialect::ElevenLabs => ("xi-api-key", TOKEN.to_owned()),
            Dialect::Deepgram => (AUTHORIZATION.as_str(), format!("Token {TOKEN}")),
            _ => (AUTHORIZATION.as_str(), format!("Bearer {TOKEN}")),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header.0, header.1);
        let body = Full::from(Bytes::copy_from_slice(text.as_bytes()));
        let request = request.body(body).expect("a request");
        let (head, body) = service
            .oneshot(request)
            .await
            .expect("infallible")
            .into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.expect("a body").to_bytes(),
        }
    }

    fn used(&self) -> [u64; 3] {
        self.book.usage(&Principal::new("ivr"))[0].used[0]
    }
}

/// Runs a future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    use futures_util::FutureExt as _;
    future.now_or_never().expect("ready")
}

#[test]
fn text_and_audio_are_counted_and_reported() {
    let gate = Gate::new(
        Dialect::Bearer,
        &["100 characters/month", "1h audio/day", "9 requests/day"],
    );
    let answer = now(gate.send("/speak", CANARY));
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 16_000));
    let characters = CANARY.chars().count() as u64;
    assert_eq!(gate.used(), [characters, 1, 1_000]);
    let ends = gate.ends.0.lock().expect("no panic").clone();
    assert_eq!(ends, [(characters, Some(1_000))]);
    assert_eq!(
        answer.header("ratelimit-policy"),
        "\"key_characters_month\";q=100;w=2592000;qu=\"characters\", \
         \"key_audio_day\";q=3600;w=86400;qu=\"audio-seconds\", \"key_requests_day\";q=9;w=86400"
    );
    let left = 100 - characters;
    assert_eq!(
        answer.header("ratelimit"),
        format!(
            "\"key_characters_month\";r={left};t=216000, \"key_audio_day\";r=3600;t=43200, \
             \"key_requests_day\";r=8;t=43200"
        )
    );
    let usage = now(gate.send("/voxgate/v1/usage", ""));
    let shown = format!(
        "{:?}{:?}{}{:?}",
        gate.book,
        usage.headers,
        usage.json(),
        answer.headers
    );
    let records = gate.ends.1.lock().expect("no panic").clone();
    for part in ["canary", "秘密", TOKEN] {
        assert!(!shown.contains(part) && !records.contains(part), "{part}");
    }
}

#[test]
fn an_exhausted_quota_is_refused_in_the_words_of_the_vendor() {
    for (dialect, path, status, says) in [
        (Dialect::Rime, "/v1/rime-tts", 401, "invalid subscription"),
        (
            Dialect::Supertone,
            "/v1/text-to-speech/a",
            402,
            "\"status_code\":402",
        ),
        (
            Dialect::Kugel,
            "/v1/tts/generate",
            402,
            "INSUFFICIENT_CREDITS",
        ),
        (
            Dialect::OpenAi,
            "/v1/audio/speech",
            429,
            "insufficient_quota",
        ),
        (
            Dialect::ElevenLabs,
            "/v1/text-to-speech/a",
            401,
            "quota_exceeded",
        ),
        (Dialect::Deepgram, "/v1/speak", 402, "ASR_PAYMENT_REQUIRED"),
        (Dialect::Cartesia, "/tts/bytes", 402, "quota_exceeded"),
        (Dialect::Bearer, "/speak", 429, "quota_exhausted"),
    ] {
        let gate = Gate::new(dialect, &["1 requests/day"]);
        assert_eq!(
            now(gate.send(path, "one")).status,
            StatusCode::OK,
            "{dialect:?}"
        );
        for _ in 0..2 {
            let refused = now(gate.send(path, "two"));
            assert_eq!(refused.status.as_u16(), status, "{dialect:?}");
            let body = String::from_utf8_lossy(&refused.body).into_owned();
            assert!(body.contains(says), "{dialect:?}: {body}");
            assert_eq!(
                refused.header("ratelimit"),
                "\"key_requests_day\";r=0;t=43200"
            );
            // Only a 429 may be sent again.
            let waits = refused.header(RETRY_AFTER.as_str());
            assert_eq!(!waits.is_empty(), status == 429, "{dialect:?}: {waits}");
        }
        // Refused requests do not count.
        assert_eq!(gate.used()[1], 1, "{dialect:?}");
    }
}

#[test]
fn what_failed_is_given_back() {
    let gate = Gate::new(Dialect::Bearer, &["10 characters/month", "5 requests/day"]);
    for status in ["500", "502", "404"] {
        let answer = now(gate.send(&format!("/fails/{status}"), "0123456789"));
        assert_eq!(answer.status.as_str(), status);
        assert_eq!(gate.used(), [0, 0, 0]);
    }
    assert_eq!(
        now(gate.send("/speak", "0123456789")).status,
        StatusCode::OK
    );
    // The text is refused inside of the layer: its request is given back.
    assert_eq!(
        now(gate.send("/speak", "x")).status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(gate.used(), [10, 1, 1_000]);
}

#[test]
fn a_key_asks_about_itself_even_when_its_quota_is_exhausted() {
    let gate = Gate::new(Dialect::Supertone, &["1s audio/month", "2 requests/day"]);
    now(gate.send("/v1/text-to-speech/a", "text"));
    let neutral = now(gate.send("/voxgate/v1/usage?x=y", "")).json();
    assert_eq!(neutral["key_id"], "ivr");
    assert_eq!(neutral["usage"][1]["key"]["characters"], 4);
    assert_eq!(neutral["usage"][1]["key"]["audio_seconds"], 1.0);
    assert_eq!(neutral["quotas"][0]["remaining"], 0.0);
    assert_eq!(neutral["quotas"][0]["resets"], "2026-12-01T00:00:00Z");
    let credits = now(gate.send("/v1/credits", "")).json();
    assert_eq!(credits["balance"], 0.0);
    let usage = now(gate.send("/v1/usage", "")).json();
    assert_eq!(usage["data"][0]["results"][0]["api_key"], "ivr");
    assert_eq!(gate.used()[1], 1, "questions are no requests");

    let eleven = Gate::new(Dialect::ElevenLabs, &["100 characters/month"]);
    now(eleven.send("/v1/text-to-speech/a", "text"));
    let subscription = now(eleven.send("/v1/user/subscription", "")).json();
    assert_eq!(subscription["character_count"], 4);
    assert_eq!(subscription["character_limit"], 100);
    assert_eq!(
        subscription["next_character_count_reset_unix"],
        1_796_083_200
    );
    let deepgram = Gate::new(Dialect::Deepgram, &["100 characters/month"]);
    now(deepgram.send("/v1/speak", "text"));
    let balances = now(deepgram.send("/v1/projects/any/balances", "")).json();
    assert_eq!(balances["balances"][0]["amount"], 96.0);
    let other = now(deepgram.send("/v1/projects/any/balances/other", "x"));
    assert_eq!(other.body.len(), 16_000, "not a question: it is forwarded");
}

/// 1 000 random texts: what is counted is what the client sent.
#[test]
fn characters_equal_what_the_client_sent() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    use proptest::test_runner::TestRunner;
    let gate = Gate::new(Dialect::Bearer, &[]);
    let mut runner = TestRunner::deterministic();
    let texts = proptest::collection::vec(proptest::char::any(), 1..80);
    let mut sent = 0;
    for _ in 0..1_000 {
        let text: String = texts
            .new_tree(&mut runner)
            .expect("a text")
            .current()
            .iter()
            .collect();
        sent += text.chars().count() as u64;
        assert_eq!(now(gate.send("/speak", &text)).status, StatusCode::OK);
    }
    assert_eq!(gate.used()[..2], [sent, 1_000]);
    let ends = gate.ends.0.lock().expect("no panic");
    assert_eq!(
        ends.iter().map(|(characters, _)| characters).sum::<u64>(),
        sent
    );
}
