//! The exact answer to every form of a credential.

use std::convert::Infallible;

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use voxgate::{AuthLayer, Dialect, Verify};

use crate::support::{Asking, DISABLED_KEY, KEY, Records, WRONG_KEY, ring};

/// The forms, as values of `Authorization` headers.
pub(crate) fn presented() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let one = |value: &str| vec![value.as_bytes().to_vec()];
    let mut not_text = format!("Bearer {KEY}").into_bytes();
    not_text.extend(b"\xff\xfe\x80");
    vec![
        ("accepted", one(&format!("Bearer {KEY}"))),
        ("two spaces", one(&format!("Bearer  {KEY}"))),
        (
            "many spaces",
            one(&format!("Bearer {}{KEY}", " ".repeat(100))),
        ),
        ("lower case", one(&format!("bearer {KEY}"))),
        ("upper case", one(&format!("BEARER {KEY}"))),
        ("nothing", vec![]),
        ("empty", one("")),
        ("only the scheme", one("Bearer")),
        ("scheme and space", one("Bearer ")),
        ("bare key", one(KEY)),
        ("another scheme", one(&format!("Basic {KEY}"))),
        ("a longer scheme", one(&format!("Bearers {KEY}"))),
        ("no space", one(&format!("Bearer{KEY}"))),
        ("a tab", one(&format!("Bearer\t{KEY}"))),
        ("a space and a tab", one(&format!("Bearer \t{KEY}"))),
        ("a tab behind", one(&format!("Bearer {KEY}\t"))),
        ("a space behind", one(&format!("Bearer {KEY} "))),
        ("a space in front", one(&format!(" Bearer {KEY}"))),
        ("two keys in one", one(&format!("Bearer {KEY} {KEY}"))),
        (
            "twice the same",
            vec![one(&format!("Bearer {KEY}")).remove(0); 2],
        ),
        (
            "a wrong one and a good one",
            vec![
                one(&format!("Bearer {WRONG_KEY}")).remove(0),
                one(&format!("Bearer {KEY}")).remove(0),
            ],
        ),
        (
            "a good one and an empty one",
            vec![one(&format!("Bearer {KEY}")).remove(0), Vec::new()],
        ),
        ("unknown", one(&format!("Bearer {WRONG_KEY}"))),
        (
            "case changed",
            one(&format!("Bearer {}", KEY.to_uppercase())),
        ),
        (
            "a part of the key",
            one(&format!("Bearer {}", &KEY[..KEY.len() - 1])),
        ),
        ("more than the key", one(&format!("Bearer {KEY}0"))),
        ("a comma", one(&format!("Bearer {KEY},"))),
        ("quotes", one(&format!("Bearer \"{KEY}\""))),
        ("not text", vec![not_text]),
        ("8 KiB", one(&format!("Bearer {}", "k".repeat(8 * 1024)))),
        ("disabled", one(&format!("Bearer {DISABLED_KEY}"))),
    ]
}

struct Expected {
    reason: &'static str,
    status: u16,
    body: &'static str,
    challenge: Option<&'static str>,
}

/// Rime's answers: one for a missing credential, and one for every bad credential.
fn rime(form: &str) -> Option<Expected> {
    let (reason, body) = match form {
        "accepted" | "two spaces" | "many spaces" => return None,
        "nothing" => ("missing_credential", "missing headers"),
        other => (
            reason(other, &["lower case", "upper case"]),
            "invalid api key",
        ),
    };
    Some(Expected {
        reason,
        status: 401,
        body,
        challenge: Some("Bearer"),
    })
}

/// RFC 6750 §3.1, with the scheme in any case (RFC 9110 §11.1).
fn bearer(form: &str) -> Option<Expected> {
    if [
        "accepted",
        "two spaces",
        "many spaces",
        "lower case",
        "upper case",
    ]
    .contains(&form)
    {
        return None;
    }
    let reason = match form {
        "nothing" => "missing_credential",
        other => reason(other, &[]),
    };
    let (status, body, challenge) = match reason {
        "missing_credential" => (
            401,
            "{\"error\":\"missing_token\",\"error_description\":\"The API key is missing.\"}",
            "Bearer realm=\"voxgate\"",
        ),
        "malformed_credential" | "conflicting_credentials" => (
            400,
            "{\"error\":\"invalid_request\",\"error_description\":\"Send one header `Authorization: Bearer <token>`.\"}",
            "Bearer realm=\"voxgate\", error=\"invalid_request\"",
        ),
        _ => (
            401,
            "{\"error\":\"invalid_token\",\"error_description\":\"The API key is invalid.\"}",
            "Bearer realm=\"voxgate\", error=\"invalid_token\"",
        ),
    };
    Some(Expected {
        reason,
        status,
        body,
        challenge: Some(challenge),
    })
}

/// The reason for which a form is refused. `malformed` are the forms that only this dialect cannot
/// read.
fn reason(form: &str, malformed: &[&str]) -> &'static str {
    match form {
        "twice the same" | "a wrong one and a good one" | "a good one and an empty one" => {
            "conflicting_credentials"
        }
        "disabled" => "disabled_credential",
        "unknown" | "case changed" | "a part of the key" | "more than the key" | "a comma"
        | "quotes" | "not text" | "8 KiB" => "unknown_credential",
        "empty" | "only the scheme" | "scheme and space" | "bare key" | "another scheme"
        | "a longer scheme" | "no space" | "a tab" | "a space and a tab" | "a tab behind"
        | "a space behind" | "a space in front" | "two keys in one" => "malformed_credential",
        other if malformed.contains(&other) => "malformed_credential",
        other => panic!("nothing is said about {other}"),
    }
}

async fn speak(_: Request<()>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("spoken".to_owned()))
}

pub(crate) fn presenting(values: &[Vec<u8>]) -> Request<()> {
    let mut request = Request::new(());
    for value in values {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        request.headers_mut().append("authorization", value);
    }
    request
}

async fn check<V: Verify>(
    layer: AuthLayer<V>,
    dialect: Dialect,
    expect: fn(&str) -> Option<Expected>,
) {
    let records = Records::default();
    let service = layer
        .with_dialect(dialect)
        .with_audit_sink(records.clone())
        .layer(service_fn(speak));
    for (form, values) in presented() {
        let context = format!("{dialect}: {form}");
        let answer = service.clone().oneshot(presenting(&values)).await;
        let (parts, body) = answer.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let Some(expected) = expect(form) else {
            assert_eq!(parts.status, 200, "{context}");
            assert_eq!(body, "spoken", "{context}");
            assert_eq!(records.take_exchange().0.key_id.as_deref(), Some("ivr"));
            continue;
        };
        assert_eq!(parts.status, expected.status, "{context}");
        assert_eq!(body, expected.body, "{context}");
        let header = |name| {
            parts
                .headers
                .get(name)
                .map(|value: &HeaderValue| value.as_bytes())
        };
        let content_type: &[u8] = match dialect {
            Dialect::Rime => b"text/plain",
            _ => b"application/json",
        };
        assert_eq!(header("content-type"), Some(content_type), "{context}");
        let challenge = expected.challenge.map(str::as_bytes);
        assert_eq!(header("www-authenticate"), challenge, "{context}");
        assert_eq!(header("retry-after"), None, "{context}");
        let decided = records.take_refusal();
        assert_eq!(
            header("x-request-id"),
            Some(decided.request_id.as_bytes()),
            "{context}"
        );
        assert_eq!(decided.reason, expected.reason, "{context}");
        assert_eq!(decided.status, Some(expected.status), "{context}");
        // The id of a disabled key is in the record, and nowhere else.
        let known = (expected.reason == "disabled_credential").then_some("old");
        assert_eq!(decided.key_id.as_deref(), known, "{context}");
        assert_eq!(decided.auth_method, None, "{context}");
    }
}

#[tokio::test]
async fn rime_has_one_answer_to_each_form() {
    check(AuthLayer::new(ring()), Dialect::Rime, rime).await;
    check(AuthLayer::new(Asking(ring())), Dialect::Rime, rime).await;
}

#[tokio::test]
async fn bearer_has_one_answer_to_each_form() {
    check(AuthLayer::new(ring()), Dialect::Bearer, bearer).await;
    check(AuthLayer::new(Asking(ring())), Dialect::Bearer, bearer).await;
}

#[tokio::test]
async fn the_request_id_of_a_caller_is_not_used() {
    let records = Records::default();
    let service = AuthLayer::new(ring())
        .with_audit_sink(records.clone())
        .layer(service_fn(speak));
    let mut request = presenting(&[]);
    let own = HeaderValue::from_static("01890a5d-ac96-774b-bcce-b302099a8057");
    request.headers_mut().insert("x-request-id", own.clone());
    let response = service.oneshot(request).await.expect("an answer");
    assert_ne!(response.headers()["x-request-id"], own);
    assert_ne!(records.take_refusal().request_id.as_bytes(), own.as_bytes());
}

#[tokio::test]
async fn an_ambiguous_path_is_refused_before_the_credential_is_read() {
    for (dialect, body) in [
        (Dialect::Rime, "bad request: the path is ambiguous"),
        (
            Dialect::Bearer,
            "{\"error\":\"ambiguous_path\",\"error_description\":\"The path is ambiguous.\"}",
        ),
    ] {
        for layer in [AuthLayer::new(ring().into()), AuthLayer::preconfigured()] {
            let records = Records::default();
            let service = layer
                .with_dialect(dialect)
                .with_audit_sink(records.clone())
                .layer(service_fn(speak));
            let mut request = presenting(&[format!("Bearer {KEY}").into_bytes()]);
            *request.uri_mut() = "/v1/%2e%2e/admin".parse().expect("a path");
            let response = service.oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), 400);
            assert!(!response.headers().contains_key("www-authenticate"));
            let bytes = response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            assert_eq!(bytes, body);
            assert_eq!(records.take_refusal().reason, "ambiguous_path");
        }
    }
}

/// A model of the header that Rime's clients must send.
fn is_exactly_bearer_and_key(value: &[u8]) -> bool {
    let Some(rest) = value.strip_prefix(b"Bearer ") else {
        return false;
    };
    let Some(start) = rest.iter().position(|byte| *byte != b' ') else {
        return false;
    };
    &rest[start..] == KEY.as_bytes()
}

/// Values that are nearly valid. Random bytes never are.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let scheme = prop_oneof![
        Just("Bearer"),
        Just("bearer"),
        Just("Bear"),
        Just("Bearer Bearer"),
        Just("")
    ];
    let space = prop_oneof![
        3 => Just(" ".to_owned()),
        2 => " {2,5}",
        1 => "[ \t]{0,3}",
    ];
    let key = prop_oneof![
        3 => Just(KEY.as_bytes().to_vec()),
        1 => (0..KEY.len(), any::<u8>()).prop_map(|(at, byte)| {
            let mut key = KEY.as_bytes().to_vec();
            key[at] = byte;
            key
        }),
        1 => (0..KEY.len()).prop_map(|length| KEY.as_bytes()[..length].to_vec()),
    ];
    let behind = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    (scheme, space, key, behind).prop_map(|(scheme, space, key, behind)| {
        [scheme.as_bytes(), space.as_bytes(), &key, &behind].concat()
    })
}

proptest! {
    #[test]
    fn rime_accepts_exactly_bearer_spaces_and_key(
        value in prop_oneof![nearly(), prop::collection::vec(any::<u8>(), 0..64)]
    ) {
        // An invalid header value never reaches the layer.
        let Ok(header) = HeaderValue::from_bytes(&value) else {
            return Ok(());
        };
        let records = Records::default();
        let service = AuthLayer::new(ring())
            .with_dialect(Dialect::Rime)
            .with_audit_sink(records.clone())
            .layer(service_fn(speak));
        let mut request = Request::new(());
        request.headers_mut().insert("authorization", header);
        let answer = futures_util::future::FutureExt::now_or_never(service.oneshot(request));
        let response = answer.expect("nothing to wait for").expect("an answer");
        let expected = if is_exactly_bearer_and_key(&value) { 200 } else { 401 };
        prop_assert_eq!(response.status().as_u16(), expected);
        drop(response);
        prop_assert_eq!(records.decisions().len(), 1);
    }
}
