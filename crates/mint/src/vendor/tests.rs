use std::collections::HashSet;
use std::time::SystemTime;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::{Call, Life};
use crate::problem::ProblemKind;
use crate::wish::{Ends, WantedScopes, Wish};

fn now() -> SystemTime {
    humantime::parse_rfc3339("2027-01-01T00:00:00Z").expect("a time")
}

fn read(dialect: Dialect, path: &str, body: &[u8]) -> Result<Wish, Problem> {
    let (endpoint, segment) = find(dialect, path).expect("an endpoint");
    let call = Call {
        body,
        segment,
        key_id: Some("abc"),
        life: endpoint.life,
        now: now(),
    };
    (endpoint.read)(&call)
}

use crate::problem::Problem;

fn life(wish: &Wish, life: Life) -> u64 {
    match wish.ends {
        Ends::Default => life.default.as_secs(),
        Ends::After(after) => after.as_secs(),
        Ends::At(at) => at.duration_since(now()).expect("later").as_secs(),
    }
}

#[test]
fn each_path_is_of_one_endpoint_and_life_is_within_its_limits() {
    let mut seen = HashSet::new();
    for endpoint in endpoints() {
        assert!(seen.insert(endpoint.path), "{endpoint:?}");
        let Life {
            default,
            shortest,
            longest,
        } = endpoint.life;
        assert!(shortest <= default && default <= longest, "{endpoint:?}");
        assert!(longest.as_secs() <= 7200, "{endpoint:?}");
        let path = endpoint.path.replace("{type}", "x");
        for dialect in Dialect::ALL {
            let found = find(dialect, &path).map(|(found, _)| found.path);
            let expected = endpoint.is_of(dialect).then_some(endpoint.path);
            assert_eq!(found, expected, "{dialect}");
            // The policy of the dialect asks for the scope, too.
            let policy = dialect.policy();
            let rule = policy.find(&http::Method::POST, &path);
            if dialect != Dialect::Auto && endpoint.is_of(dialect) {
                let rule = rule.expect("a rule");
                assert_eq!(rule.scope(), Some(crate::MINT_TOKENS), "{dialect} {path}");
                assert!(rule.is_realtime() && rule.is_explicit());
                let minting = dialect.policy().with_minting();
                let rule = minting.find(&http::Method::POST, &path).expect("a rule");
                assert!(!rule.is_explicit(), "{dialect} {path}");
            }
        }
    }
    assert!(find(Dialect::ElevenLabs, "/v1/single-use-token/").is_none());
    assert!(find(Dialect::ElevenLabs, "/v1/single-use-token/a/b").is_none());
    assert!(find(Dialect::Deepgram, "/v1/auth/grant/").is_none());
}

/// A dialect, a path, a body, and the life and the scopes that the caller asks for.
type Good = (
    Dialect,
    &'static str,
    &'static str,
    u64,
    Option<&'static [&'static str]>,
);

#[test]
fn bodies_of_the_vendors_clients_are_read() {
    use Dialect as D;
    const ONE_USE: &str = "/auth/v1/tokens";
    const SECRETS: &str = "/v1/realtime/client_secrets";
    const SPEAKS: Option<&[&str]> = Some(&["tts:synthesize"]);
    let good: [Good; 21] = [
        (D::Deepgram, "/v1/auth/grant", "", 30, SPEAKS),
        (D::Deepgram, "/v1/auth/grant", "{}", 30, SPEAKS),
        (
            D::Deepgram,
            "/v1/auth/grant",
            r#"{"ttl_seconds":30.0}"#,
            30,
            SPEAKS,
        ),
        (
            D::Deepgram,
            "/v1/auth/grant",
            r#"{"ttl_seconds":3600}"#,
            3600,
            SPEAKS,
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{"tts":true}}"#,
            60,
            SPEAKS,
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"expires_in":123,"grants":{"tts":true,"stt":true,"agent":false}}"#,
            123,
            Some(&["tts:synthesize", "stt:transcribe"]),
        ),
        (
            D::ElevenLabs,
            "/v1/single-use-token/tts_websocket",
            "",
            900,
            SPEAKS,
        ),
        (
            D::ElevenLabs,
            "/v1/single-use-token/realtime_scribe",
            "",
            900,
            Some(&["stt:transcribe"]),
        ),
        (D::OpenAi, SECRETS, "", 600, Some(&["realtime"])),
        (
            D::OpenAi,
            SECRETS,
            r#"{"expires_after":{"anchor":"created_at","seconds":7200},"session":{"type":"realtime"}}"#,
            7200,
            Some(&["realtime"]),
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"expires_after":{"seconds":10}}"#,
            10,
            Some(&["realtime"]),
        ),
        (D::Azure, "/sts/v1.0/issueToken", "", 600, None),
        (
            D::Bearer,
            "/v1/realtime/synthesis_sessions",
            "{}",
            600,
            SPEAKS,
        ),
        (D::Inworld, ONE_USE, r#"{"single_use":true}"#, 900, None),
        (
            D::Inworld,
            ONE_USE,
            r#"{"singleUse":true,"ttl":"1s"}"#,
            1,
            None,
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"3600.0s"}"#,
            3600,
            None,
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"expire_time":"2027-01-01T00:05:00Z","client_reference_id":"x"}"#,
            300,
            None,
        ),
        (
            D::Inworld,
            "/auth/v1/tokens/token:generate",
            r#"{"key":"abc","resources":["workspaces/x"]}"#,
            3600,
            None,
        ),
        (
            D::Inworld,
            "/v1/sessionTokens/token:generate",
            r#"{"key":"abc"}"#,
            3600,
            None,
        ),
        (D::Rime, "/voxgate/v1/tokens", "", 300, None),
        (
            D::Supertone,
            "/voxgate/v1/tokens",
            r#"{"ttl_seconds":60,"scopes":["tts:synthesize"],"voices":["a*"],"kind":"realtime","single_use":true}"#,
            60,
            SPEAKS,
        ),
    ];
    for (dialect, path, body, seconds, scopes) in good {
        let wish = read(dialect, path, body.as_bytes()).expect(body);
        let (endpoint, _) = find(dialect, path).expect("an endpoint");
        assert_eq!(life(&wish, endpoint.life), seconds, "{path} {body}");
        let wanted: Option<Vec<String>> = match wish.scopes {
            WantedScopes::OfKey => None,
            WantedScopes::Among(scopes) => Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
            WantedScopes::Exactly(scopes) => Some(scopes),
        };
        let scopes = scopes.map(|all| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(wanted, scopes, "{path} {body}");
        assert_eq!(
            wish.single_use,
            endpoint.single_use || body.contains(r#""single_use":true"#),
            "{path} {body}"
        );
        assert_eq!(
            wish.realtime,
            matches!(dialect, D::OpenAi | D::Bearer) || body.contains(r#""kind":"realtime""#)
        );
    }
}

#[test]
fn everything_else_is_a_problem_that_names_its_field() {
    use Dialect as D;
    use ProblemKind as P;
    const ONE_USE: &str = "/auth/v1/tokens";
    const SESSION: &str = "/auth/v1/tokens/token:generate";
    const SECRETS: &str = "/v1/realtime/client_secrets";
    const NEUTRAL: &str = "/voxgate/v1/tokens";
    for (dialect, path, body, kind, field) in [
        (
            D::Deepgram,
            "/v1/auth/grant",
            r#"{"ttl_seconds":0}"#,
            P::TooSmall,
            "ttl_seconds",
        ),
        (
            D::Deepgram,
            "/v1/auth/grant",
            r#"{"ttl_seconds":3601}"#,
            P::TooLarge,
            "ttl_seconds",
        ),
        (
            D::Deepgram,
            "/v1/auth/grant",
            r#"{"ttl":30}"#,
            P::UnknownField,
            "ttl",
        ),
        (D::Deepgram, "/v1/auth/grant", "[]", P::Malformed, ""),
        (D::Cartesia, "/access-token", "", P::Missing, "grants"),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{}}"#,
            P::Missing,
            "grants",
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{"tts":false}}"#,
            P::Missing,
            "grants",
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{"tts":1}}"#,
            P::WrongType,
            "grants.tts",
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{"tts":true,"admin":true}}"#,
            P::UnknownField,
            "grants.admin",
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":[]}"#,
            P::WrongType,
            "grants",
        ),
        (
            D::Cartesia,
            "/access-token",
            r#"{"grants":{"tts":true,"tts":false}}"#,
            P::WrongType,
            "grants",
        ),
        (
            D::ElevenLabs,
            "/v1/single-use-token/admin",
            "",
            P::UnknownPath,
            "token_type",
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"expires_after":{"seconds":9}}"#,
            P::TooSmall,
            "expires_after.seconds",
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"expires_after":{"seconds":7201}}"#,
            P::TooLarge,
            "expires_after.seconds",
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"expires_after":{"anchor":"now"}}"#,
            P::InvalidValue,
            "expires_after.anchor",
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"session":{"type":"admin"}}"#,
            P::InvalidValue,
            "session.type",
        ),
        (
            D::OpenAi,
            SECRETS,
            r#"{"session":[]}"#,
            P::WrongType,
            "session",
        ),
        (D::Inworld, ONE_USE, "{}", P::InvalidValue, "single_use"),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":false}"#,
            P::InvalidValue,
            "single_use",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"60s","expire_time":"2027-01-01T00:05:00Z"}"#,
            P::Conflict,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"expire_time":"2027-01-01T00:05:00Z","expireTime":"2027-01-01T00:05:00Z"}"#,
            P::Conflict,
            "expire_time",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":300}"#,
            P::WrongType,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"300"}"#,
            P::WrongType,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"NaNs"}"#,
            P::WrongType,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"1e1s"}"#,
            P::WrongType,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"-1s"}"#,
            P::TooSmall,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"0s"}"#,
            P::TooSmall,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"3601s"}"#,
            P::TooLarge,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"ttl":"99999999999999999999999s"}"#,
            P::TooLarge,
            "ttl",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"expire_time":"2026-12-31T23:59:59Z"}"#,
            P::TooSmall,
            "expire_time",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"expire_time":"2027-01-01T01:00:01Z"}"#,
            P::TooLarge,
            "expire_time",
        ),
        (
            D::Inworld,
            ONE_USE,
            r#"{"single_use":true,"client_reference_id":"a\nb"}"#,
            P::InvalidValue,
            "client_reference_id",
        ),
        (D::Inworld, SESSION, "{}", P::InvalidValue, "key"),
        (
            D::Inworld,
            SESSION,
            r#"{"key":"other"}"#,
            P::InvalidValue,
            "key",
        ),
        (
            D::Inworld,
            SESSION,
            r#"{"key":"abc","ttl":"1s"}"#,
            P::UnknownField,
            "ttl",
        ),
        (D::Azure, "/sts/v1.0/issueToken", "", P::Malformed, "none"),
        (
            D::Rime,
            NEUTRAL,
            r#"{"scopes":"tts:synthesize"}"#,
            P::WrongType,
            "scopes",
        ),
        (
            D::Rime,
            NEUTRAL,
            r#"{"voices":[""]}"#,
            P::InvalidValue,
            "voices",
        ),
        (
            D::Rime,
            NEUTRAL,
            r#"{"kind":"admin"}"#,
            P::InvalidValue,
            "kind",
        ),
        (
            D::Rime,
            NEUTRAL,
            r#"{"single_use":"yes"}"#,
            P::WrongType,
            "single_use",
        ),
        (
            D::Rime,
            NEUTRAL,
            r#"{"sub":"other"}"#,
            P::UnknownField,
            "sub",
        ),
    ] {
        // Azure's request has nothing that could be wrong.
        if field == "none" {
            assert!(read(dialect, path, body.as_bytes()).is_ok());
            continue;
        }
        let problem = read(dialect, path, body.as_bytes()).expect_err(body);
        assert_eq!(
            (problem.kind, &*problem.field),
            (kind, field),
            "{path} {body}"
        );
        let last = field.rsplit('.').next().unwrap_or_default();
        assert!(
            kind == P::UnknownPath || problem.message.contains(last),
            "{}",
            problem.message
        );
    }
}

fn frame(compressed: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![compressed];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame
}

#[test]
fn one_message_of_grpc_is_read() {
    const PATH: &str = "/ai.inworld.engine.WorldEngine/GenerateToken";
    // key = "abc", resources = ["workspaces/x"]
    let message = b"\x0a\x03abc\x12\x0cworkspaces/x";
    let good = frame(0, 19, message);
    let wish = read(Dialect::Inworld, PATH, &good).expect("a message");
    assert_eq!(wish.echo["workspace"], "x");
    for wrong in [
        &b""[..],
        b"\0\0\0\0",
        &frame(1, 19, message),
        &frame(0, 18, message),
        &frame(0, 20, message),
        &frame(0, 38, &[&message[..], message].concat()),
        &frame(0, 2, b"\x0a\x05"),
        &frame(0, 5, b"\x0a\x03ab\xff"),
        &frame(0, 7, b"\x0a\x05other"),
    ] {
        // Repeated in one message, the last key counts, as in every implementation of protobuf.
        let read = read(Dialect::Inworld, PATH, wrong);
        assert_eq!(read.is_ok(), wrong.len() == 43, "{wrong:?}");
    }
}

async fn body(response: http::Response<crate::AnswerBody>) -> Value {
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into())
}

#[tokio::test]
async fn problems_have_the_form_of_the_vendor() {
    use Dialect as D;
    let id = voxgate::RequestId::new(std::time::Duration::ZERO);
    let of = |kind, field| Problem::new(kind, field, "Change it.");
    let id_text = id.to_string();
    for (dialect, path, problem, status, expected) in [
        (
            D::Deepgram,
            "/v1/auth/grant",
            of(ProblemKind::TooLarge, "ttl_seconds"),
            400,
            json!({"err_code": "Bad Request", "err_msg": "Change it.", "request_id": id_text}),
        ),
        (
            D::Deepgram,
            "/v1/auth/grant",
            of(ProblemKind::ContentType, ""),
            415,
            json!({"err_code": "Unsupported Media Type", "err_msg": "Change it.", "request_id": id_text}),
        ),
        (
            D::Cartesia,
            "/access-token",
            of(ProblemKind::Missing, "grants"),
            400,
            json!({"error_code": "bad_request", "title": "Bad Request", "message": "Change it.", "request_id": id_text}),
        ),
        (
            D::ElevenLabs,
            "/v1/single-use-token/x",
            of(ProblemKind::UnknownPath, "token_type"),
            422,
            json!({"detail": [{"type": "enum", "loc": ["path", "token_type"], "msg": "Change it."}]}),
        ),
        (
            D::OpenAi,
            "/v1/realtime/client_secrets",
            of(ProblemKind::TooSmall, "expires_after.seconds"),
            400,
            json!({"error": {"message": "Change it.", "type": "invalid_request_error", "param": "expires_after.seconds", "code": "integer_below_min_value"}}),
        ),
        (
            D::Azure,
            "/sts/v1.0/issueToken",
            of(ProblemKind::Malformed, ""),
            400,
            json!("Change it."),
        ),
        (
            D::Bearer,
            "/v1/realtime/synthesis_sessions",
            of(ProblemKind::Malformed, ""),
            400,
            json!({"detail": "Change it."}),
        ),
        (
            D::Inworld,
            "/auth/v1/tokens",
            of(ProblemKind::Conflict, "ttl"),
            400,
            json!({"code": 3, "message": "Change it.", "details": []}),
        ),
        (
            D::Smallest,
            "/voxgate/v1/tokens",
            of(ProblemKind::ForbiddenScope, "scopes"),
            403,
            json!({"error": "invalid_scope", "error_description": "Change it."}),
        ),
    ] {
        let (endpoint, _) = find(dialect, path).expect("an endpoint");
        let response = (endpoint.refuse)(&problem, id);
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(body(response).await, expected, "{path}");
    }
    let (grpc, _) = find(D::Inworld, "/ai.inworld.engine.WorldEngine/GenerateToken").expect("it");
    let response = (grpc.refuse)(&of(ProblemKind::InvalidValue, "key"), id);
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["grpc-status"], "3");
    assert_eq!(response.headers()["grpc-message"], "Change it.");
}
