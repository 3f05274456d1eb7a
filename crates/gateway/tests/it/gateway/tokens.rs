//! Short-lived tokens in place of keys.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{accept_async, client_async};
use voxgate::token::{Grant, SigningKey, TokenIssuer};
use voxgate::{Digest, Principal};

use super::harness::redis_server::Server as RedisServer;
use super::harness::{Program, Started, send_raw, serve, serve_raw, wait_until};

const ED25519: &str = include_str!("../../../../token/src/tests/ed25519.pem");
const P256: &str = include_str!("../../../../token/src/tests/p256.pem");
const MINUTE: Duration = Duration::from_secs(60);

/// A keys file and a signing key in a directory of their own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("keys.toml", &key(""));
        place.write("signing.pem", ED25519);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let next = self.path("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.path(name)).unwrap();
    }

    fn gateway(&self, upstream: SocketAddr) -> Program {
        Program::gateway(upstream)
            .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
            .var("VOXGATE_DIALECT", "bearer")
            .var("VOXGATE_KEYS_FILE", self.path("keys.toml"))
            .var("VOXGATE_TOKEN_SIGNING_KEY_FILE", self.path("signing.pem"))
    }
}

fn key(more: &str) -> String {
    let digest = Digest::of(b"a-long-enough-key-of-ivr").to_hex();
    format!("[[key]]\nid = \"ivr\"\nsha256 = \"{digest}\"\n{more}")
}

fn issuer(key: &str) -> TokenIssuer {
    TokenIssuer::new("voxgate", "voxgate", SigningKey::parse(key).unwrap(), [])
}

fn grant() -> Grant {
    Grant::new(&Principal::new("ivr"), MINUTE)
}

fn token(key: &str) -> String {
    issuer(key).issue(&grant()).unwrap().token
}

/// Answers with the headers that arrive, unless they are harmless.
async fn upstream() -> SocketAddr {
    let show = |headers: HeaderMap| async move { format!("{headers:?}") };
    serve(Router::new().route("/", get(show))).await
}

async fn ask(gateway: &Started, token: &str) -> (u16, String) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let reply = send_raw(gateway.address, request).await;
    (reply.status, reply.body)
}

fn refusals(gateway: &Started) -> Vec<Value> {
    let records = gateway.records().into_iter();
    records
        .filter(|record| record["outcome"] == "refused")
        .collect()
}

async fn until_status(gateway: &Started, token: &str, expected: u16) {
    for _ in 0..3000 {
        if ask(gateway, token).await.0 == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the status does not become {expected}");
}

#[tokio::test]
async fn replicas_and_a_restarted_gateway_accept_a_token_until_its_key_is_revoked() {
    let place = Place::new();
    let upstream = upstream().await;
    let start = || place.gateway(upstream).start();
    let (one, two) = (start(), start());
    let token = token(ED25519);
    for gateway in [&one, &two] {
        let (status, body) = ask(gateway, &token).await;
        assert_eq!(status, 200);
        assert!(!body.contains(&token[..20]), "{body}");
    }
    let record = one.wait_for_record("decision", |record| record["outcome"] == "accepted");
    assert_eq!(record["auth_method"], "jwt");
    assert_eq!(record["key_id"], "ivr");
    assert_eq!(record["token_issuer"], "voxgate");
    assert_eq!(record["token_id"].as_str().map(str::len), Some(36));
    assert!(!one.printed().contains(&token[token.len() - 20..]));
    drop(two);
    let restarted = start();
    assert_eq!(ask(&restarted, &token).await.0, 200);
    // The key behind it is disabled between mint and use, and then is gone.
    place.write("keys.toml", &key("disabled = true\n"));
    until_status(&restarted, &token, 401).await;
    until_status(&one, &token, 401).await;
    let is_refusal = |record: &Value| record["reason"] == "disabled_credential";
    let refused = one.wait_for_record("refusal", is_refusal);
    assert_eq!(refused["key_id"], "ivr");
}

#[tokio::test]
async fn each_refused_token_has_its_reason_on_record_and_not_in_the_answer() {
    let place = Place::new();
    let gateway = place.gateway(upstream().await).start();
    let good = token(ED25519);
    let signature = good.rsplit('.').next().unwrap();
    let payload = good.split('.').nth(1).unwrap();
    // `{"alg":"none"}`
    let none = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let old = issuer(ED25519).issue_at(&grant(), SystemTime::now() - 10 * MINUTE);
    let once = issuer(ED25519)
        .issue(&grant().with_single_use(true))
        .unwrap()
        .token;
    assert_eq!(ask(&gateway, &once).await.0, 200);
    for (token, reason, error) in [
        (none, "invalid_token", "algorithm_none"),
        (
            good.replace(signature, "AAAA"),
            "invalid_token",
            "bad_signature",
        ),
        (token(P256), "invalid_token", "unknown_key"),
        (old.unwrap().token, "expired_credential", "expired"),
        (once, "invalid_token", "already_used"),
    ] {
        let before = refusals(&gateway).len();
        let (status, body) = ask(&gateway, &token).await;
        assert_eq!(status, 401, "{error}");
        assert!(!body.contains(error), "{body}");
        let refused = wait_until("refusal", || refusals(&gateway).get(before).cloned()).await;
        assert_eq!(refused["reason"], reason);
        assert_eq!(refused["token_error"], error);
    }
    // Keys of callers are accepted as before.
    assert_eq!(ask(&gateway, "a-long-enough-key-of-ivr").await.0, 200);
}

#[tokio::test]
async fn a_changed_signing_key_comes_into_force_and_a_broken_one_does_not() {
    let place = Place::new();
    let gateway = place.gateway(upstream().await).start();
    let (old, new) = (token(ED25519), token(P256));
    assert_eq!(ask(&gateway, &new).await.0, 401);
    place.write("signing.pem", "half a key");
    gateway.wait_for_log("the last signing keys stay in force");
    assert_eq!(ask(&gateway, &old).await.0, 200);
    place.write("signing.pem", P256);
    until_status(&gateway, &new, 200).await;
    assert_eq!(ask(&gateway, &old).await.0, 401);
}

#[tokio::test]
async fn a_tunnel_ends_with_its_token_if_the_operator_says_so() {
    let place = Place::new();
    let echo = serve_raw(|stream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gateway = place.gateway(echo).var("VOXGATE_TOKEN_CUT", "on").start();
    // With the minute for clocks that differ, it ends in four seconds.
    let then = SystemTime::now() - Duration::from_secs(116);
    let ending = issuer(ED25519).issue_at(&grant(), then).unwrap().token;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut request = format!("ws://{}/", gateway.address)
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {ending}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("no close frame");
    };
    assert_eq!(frame.code, CloseCode::Policy);
    gateway.wait_for_log("its token has expired");
}

#[test]
fn settings_that_cannot_work_are_reported_together() {
    let place = Place::new();
    place.write("signing.pem", "not a key");
    let (code, _, error) = Program::new(&["check"])
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1")
        .var("VOXGATE_KEYS_FILE", place.path("keys.toml"))
        .var("VOXGATE_TOKEN_SIGNING_KEY_FILE", place.path("signing.pem"))
        .var("VOXGATE_TOKEN_CUT", "yes")
        .var("VOXGATE_TOKEN_SINGLE_USE_MAX", "0")
        .var("VOXGATE_ISSUERS_FILE", place.path("issuers.toml"))
        .run();
    assert_eq!(code, Some(64), "{error}");
    for expected in [
        "VOXGATE_TOKEN_SIGNING_KEY_FILE: ",
        "signing.pem is neither a private key in PEM nor a JWK",
        "VOXGATE_TOKEN_CUT: must be `on` or `off`",
        "VOXGATE_TOKEN_SINGLE_USE_MAX: must be",
        "issuers.toml: cannot be read",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!error.contains("not a key"));
}

#[tokio::test]
async fn the_public_keys_are_published_only_if_the_operator_says_so() {
    let place = Place::new();
    let upstream = upstream().await;
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let gateway = place.gateway(upstream).start();
    assert_eq!(send_raw(gateway.admin, request).await.status, 404);
    let gateway = place
        .gateway(upstream)
        .var("VOXGATE_TOKEN_JWKS", "on")
        .start();
    let reply = send_raw(gateway.admin, request).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(reply.body, issuer(ED25519).jwks());
    let keys: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0]["d"].is_null());
}

/// Asks for a token in the neutral form.
async fn mint(gateway: &Started, key: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST /voxgate/v1/tokens HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    let reply = send_raw(gateway.address, request).await;
    (
        reply.status,
        serde_json::from_str(&reply.body).unwrap_or_default(),
    )
}

const KEY: &str = "a-long-enough-key-of-ivr";

#[tokio::test]
async fn a_token_that_a_gateway_makes_is_accepted_by_its_replicas() {
    let place = Place::new();
    let upstream = upstream().await;
    let start = || {
        place
            .gateway(upstream)
            .var("VOXGATE_TOKEN_MINT", "on")
            .var("VOXGATE_TOKEN_ISSUER", "speech.example")
            .var("VOXGATE_TOKEN_AUDIENCE", "speech")
            .start()
    };
    let (one, other) = (start(), start());
    let (status, made) = mint(&one, KEY, r#"{"scopes":["voices:read"]}"#).await;
    assert_eq!(status, 200, "{made}");
    let token = made["access_token"].as_str().unwrap();
    // No rule opens this route to a token with a scope, so that each gateway knows the token and refuses
    // the request.
    assert_eq!(ask(&other, token).await.0, 403);
    let known = other.wait_for_record("refusal", |record| record["outcome"] == "refused");
    assert_eq!(known["reason"], "no_rule");
    assert_eq!(known["key_id"], "ivr");
    assert_eq!(known["token_issuer"], "speech.example");
    assert_eq!(known["token_id"], made["token_id"]);
    // A token for everything that the key may do, once.
    let (_, once) = mint(&other, KEY, r#"{"single_use":true}"#).await;
    let once = once["access_token"].as_str().unwrap();
    assert_eq!(ask(&other, once).await.0, 200);
    assert_eq!(ask(&other, once).await.0, 401);
    // A token makes no tokens.
    let (_, another) = mint(&one, KEY, "{}").await;
    let another = another["access_token"].as_str().unwrap();
    assert_eq!(ask(&one, another).await.0, 200);
    assert_eq!(mint(&one, another, "{}").await.0, 403);
    // Tokens of another issuer with the same key are not accepted.
    assert_eq!(ask(&one, &self::token(ED25519)).await.0, 401);
    // The key is disabled between mint and use.
    place.write("keys.toml", &key("disabled = true\n"));
    until_status(&one, another, 401).await;
    until_status(&other, another, 401).await;
}

/// A request that is signed in Inworld's form, for a token of a session.
fn signed(nonce: &str) -> String {
    const METHOD: &str = "ai.inworld.engine.WorldEngine/GenerateToken";
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let time: String = time.chars().filter(char::is_ascii_digit).collect();
    let mut key = b"IW1test-secret-test-secret".to_vec();
    for part in [&time, "speech.example", METHOD, nonce, "iw1_request"] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    let signature: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "POST /auth/v1/tokens/token:generate HTTP/1.1\r\nHost: a\r\nAuthorization: IW1-HMAC-SHA256 \
         ApiKey=abc,DateTime={time},Nonce={nonce},Signature={signature}\r\n\
         Content-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{{\"key\":\"abc\"}}"
    )
}

/// The replicas share in Redis which tokens and signed requests were used.
#[tokio::test]
async fn two_gateways_accept_a_nonce_and_a_single_use_token_once() {
    let Some(mut redis) = RedisServer::start(&[]) else {
        return;
    };
    let place = Place::new();
    place.write("abc", "abc:test-secret-test-secret");
    let digest = Digest::of(b"abc:test-secret-test-secret").to_hex();
    let signing = place.path("abc").display().to_string();
    let more = format!(
        "[[key]]\nid = \"signs\"\nsha256 = \"{digest}\"\nsigning_secret_file = {signing:?}\n"
    );
    place.write("keys.toml", &key(&more));
    let upstream = upstream().await;
    let start = |dialect: &str| {
        place
            .gateway(upstream)
            .var("VOXGATE_DIALECT", dialect)
            .var("VOXGATE_TOKEN_MINT", "on")
            .var("VOXGATE_TOKEN_SIGNED_HOSTS", "speech.example")
            .var("VOXGATE_REDIS_URL", redis.url())
            .start()
    };
    let gateways = [start("inworld"), start("inworld")];
    const REQUESTS: usize = 8;
    for number in 0..REQUESTS {
        let request = signed(&format!("0123456789a{number}"));
        // Both at the same time.
        let asked = gateways
            .each_ref()
            .map(|gateway| send_raw(gateway.address, request.clone()));
        let mut statuses: Vec<u16> = join_all(asked).await.iter().map(|it| it.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200, "{statuses:?}");
        assert_ne!(statuses[1], 200, "{statuses:?}");
    }
    let used: Vec<String> = redis.run("KEYS *token*");
    assert_eq!(used.len(), REQUESTS);
    let neutral = [start("bearer"), start("bearer")];
    let (_, once) = mint(&neutral[0], KEY, r#"{"single_use":true}"#).await;
    let once = once["access_token"].as_str().unwrap();
    assert_eq!(ask(&neutral[0], once).await.0, 200);
    for gateway in &neutral {
        assert_eq!(ask(gateway, once).await.0, 401);
    }
    // Without Redis, none is accepted.
    let (_, once) = mint(&neutral[0], KEY, r#"{"single_use":true}"#).await;
    redis.kill();
    let once = once["access_token"].as_str().unwrap();
    assert_eq!(ask(&neutral[1], once).await.0, 503);
    let reply = send_raw(gateways[0].address, signed("0123456789z")).await;
    assert_eq!(reply.status, 503, "{}", reply.body);
}

#[tokio::test]
async fn without_a_signing_key_replicas_and_a_restarted_gateway_refuse_a_token_with_a_warning() {
    let place = Place::new();
    let upstream = upstream().await;
    let start = || {
        Program::gateway(upstream)
            .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
            .var("VOXGATE_DIALECT", "bearer")
            .var("VOXGATE_KEYS_FILE", place.path("keys.toml"))
            .var("VOXGATE_TOKEN_MINT", "on")
            .start()
    };
    let (one, other) = (start(), start());
    one.wait_for_log("signed with a key that exists only in this process");
    let (_, made) = mint(&one, KEY, "{}").await;
    let token = made["access_token"].as_str().unwrap();
    assert_eq!(ask(&one, token).await.0, 200);
    assert_eq!(ask(&other, token).await.0, 401);
    drop(one);
    let restarted = start();
    assert_eq!(ask(&restarted, token).await.0, 401);
    for gateway in [&other, &restarted] {
        let refused = gateway.wait_for_record("refusal", |record| record["outcome"] == "refused");
        assert_eq!(refused["token_error"], "unknown_key");
    }
}

#[tokio::test]
async fn tokens_are_made_with_the_signing_key_of_now() {
    let place = Place::new();
    let upstream = upstream().await;
    let gateway = place
        .gateway(upstream)
        .var("VOXGATE_TOKEN_MINT", "on")
        .var("VOXGATE_TOKEN_SECOND_KEY_FILE", place.path("second.pem"));
    place.write("second.pem", P256);
    let gateway = gateway.start();
    let (_, before) = mint(&gateway, KEY, "{}").await;
    let before = before["access_token"].as_str().unwrap().to_owned();
    // The two are exchanged: tokens of both are accepted.
    place.write("second.pem", ED25519);
    place.write("signing.pem", P256);
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    let mut after = before.clone();
    for _ in 0..3000 {
        let (status, made) = mint(&gateway, KEY, "{}").await;
        assert_eq!(status, 200, "{made}");
        after = made["access_token"].as_str().unwrap().to_owned();
        if head(&after) != head(&before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(head(&after), head(&before), "another algorithm");
    for token in [&before, &after] {
        assert_eq!(ask(&gateway, token).await.0, 200);
    }
}

#[tokio::test]
async fn a_request_for_a_token_needs_its_scope_where_none_are_made() {
    let place = Place::new();
    let made = || async { "made by the server" };
    let router = Router::new().route("/voxgate/v1/tokens", axum::routing::post(made));
    let gateway = place.gateway(serve(router).await).start();
    assert_eq!(mint(&gateway, KEY, "{}").await.0, 403);
    let refused = gateway.wait_for_record("refusal", |record| record["outcome"] == "refused");
    assert_eq!(refused["reason"], "insufficient_scope");
    assert_eq!(refused["rule"], "POST /voxgate/v1/tokens");
    place.write("keys.toml", &key("scopes = [\"tokens:mint\"]\n"));
    for _ in 0..3000 {
        match mint(&gateway, KEY, "{}").await.0 {
            200 => return,
            status => assert_eq!(status, 403),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the scope does not count");
}

#[test]
fn a_gateway_without_a_signing_key_says_who_accepts_its_tokens() {
    let place = Place::new();
    let check = |mint: &str| {
        Program::new(&["check"])
            .var("VOXGATE_UPSTREAM", "http://127.0.0.1:1")
            .var("VOXGATE_KEYS_FILE", place.path("keys.toml"))
            .var("VOXGATE_TOKEN_MINT", mint)
            .run()
    };
    let (code, told, error) = check("on");
    assert_eq!(code, Some(0), "{error}");
    for expected in ["makes short-lived tokens", "exists only in this process"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let (_, told, _) = check("off");
    assert!(!told.contains("token"), "{told}");
}
