//! Mistakes that a program can make with the layer, and what it is told.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::cors::CorsLayer;
use voxgate::keys::Key;
use voxgate::policy::{InvalidRule, Rule};
use voxgate::principal::Validity;
use voxgate::{
    AuthLayer, Caller, Dialect, KeyRing, Policy, Principal, RawCredential, Secret, Verdict,
    verify_fn,
};

use crate::support::{KEY, Records, SCOPED_KEY, request, ring};

async fn accept<B>(_: Request<B>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

/// A verifier of the program's own that finds every credential, and one principal.
fn finds(principal: &Principal) -> impl Fn(RawCredential<'_>) -> std::future::Ready<Verdict> {
    let principal = principal.clone();
    move |_| std::future::ready(Ok(principal.clone()))
}

#[tokio::test]
async fn a_principal_counts_only_while_it_is_valid() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let validity = |not_before, expires| Validity {
        not_before,
        expires,
    };
    for (validity, expected) in [
        (Validity::default(), (200, "ok")),
        (validity(Some(now - hour), Some(now + hour)), (200, "ok")),
        (
            validity(None, Some(SystemTime::UNIX_EPOCH)),
            (401, "expired_credential"),
        ),
        (
            validity(Some(now + hour), None),
            (401, "not_yet_valid_credential"),
        ),
    ] {
        let principal = Principal::new("ivr").with_validity(validity);
        let records = Records::default();
        let layer = AuthLayer::new(verify_fn(finds(&principal)));
        let service = layer
            .with_audit_sink(records.clone())
            .layer(service_fn(accept));
        let answer = service.oneshot(request(KEY, ())).await;
        let status = answer.expect("an answer").status().as_u16();
        let decided = match status {
            200 => records.take_exchange().0,
            _ => records.take_refusal(),
        };
        assert_eq!((status, decided.reason), expected, "{validity:?}");
        assert_eq!(decided.key_id.as_deref(), Some("ivr"), "{validity:?}");
    }
}

#[test]
fn a_rule_that_no_request_can_match_is_refused() {
    for (method, pattern, expected) in [
        ("POST", "/v1/{voice}", None),
        ("*", "*", None),
        ("post", "/v1", Some(InvalidRule::Method)),
        ("", "/v1", Some(InvalidRule::Method)),
        ("GET POST", "/v1", Some(InvalidRule::Method)),
        ("POST", "v1", Some(InvalidRule::Pattern)),
        ("POST", "/{*rest}", Some(InvalidRule::Pattern)),
        ("POST", "/v1/:voice?x", Some(InvalidRule::Pattern)),
        ("POST", "", Some(InvalidRule::Pattern)),
    ] {
        let error = Rule::try_new(method, pattern).err();
        assert_eq!(error, expected, "{method} {pattern}");
        let panics = std::panic::catch_unwind(|| Policy::default().route(method, pattern, "a"));
        assert_eq!(panics.is_err(), expected.is_some(), "{method} {pattern}");
    }
}

#[test]
fn a_key_needs_an_id() {
    let secret = Secret::new(KEY).expect("a secret");
    let error = KeyRing::new([Key::from_secret(&secret, Principal::new(""))]);
    let error = error.expect_err("no id").to_string();
    assert!(error.contains("has an empty id"), "{error}");
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_policy_that_refuses_every_request_of_a_key_is_a_warning() {
    let warnings = |layer: AuthLayer<KeyRing>| {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            let _ = layer.layer(service_fn(accept::<()>));
        });
        let lines = lines.0.lock().expect("no panic").clone();
        String::from_utf8(lines).expect("text")
    };
    let scoped = ring();
    let said = warnings(AuthLayer::new(scoped).with_policy(Policy::default()));
    assert!(said.contains("the policy has no rule"), "{said}");
    assert!(said.contains("with_policy"), "{said}");
    for harmless in [
        AuthLayer::new(ring()).with_dialect(Dialect::Rime),
        AuthLayer::new(ring()).with_policy(Policy::default().require("tts:synthesize")),
        AuthLayer::new(KeyRing::new([]).expect("no keys")).with_policy(Policy::default()),
    ] {
        assert_eq!(warnings(harmless), "");
    }
}

/// tower-http's CORS layer answers in place of the service, with a body that it makes itself.
#[tokio::test]
async fn cors_is_outside_and_answers_a_preflight() {
    let service = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(AuthLayer::new(ring()))
        .service(service_fn(accept::<Empty<Bytes>>));
    let preflight = Request::options("/v1/say")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .body(Empty::<Bytes>::new());
    let answer = service.oneshot(preflight.expect("a request")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("access-control-allow-origin"));
    let body = answer.into_body().collect().await.expect("a body");
    assert!(body.to_bytes().is_empty());
}

#[tokio::test]
async fn a_caller_can_be_optional() {
    async fn who(caller: Option<Caller>) -> String {
        caller.map_or("anybody".to_owned(), |caller| caller.key_id().to_owned())
    }
    let guarded = Router::new().route("/guarded", get(who));
    let app = guarded
        .layer(AuthLayer::new(ring()))
        .route("/open", get(who));
    for (path, key, expected) in [("/open", "", "anybody"), ("/guarded", KEY, "ivr")] {
        let request = Request::get(path)
            .header("host", "tts.example")
            .header("authorization", format!("Bearer {key}"))
            .body(axum::body::Body::empty());
        let answer = app.clone().oneshot(request.expect("a request")).await;
        let body = answer.expect("an answer").into_body().collect().await;
        assert_eq!(body.expect("a body").to_bytes(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_handler_is_tested_without_the_layer() {
    async fn who(caller: Caller) -> String {
        caller.key_id().to_owned()
    }
    assert_eq!(who(Caller::for_test(Principal::new("ivr"))).await, "ivr");
    // The layer makes the real one.
    let layer = AuthLayer::new(ring()).with_policy(Policy::default().require("tts:synthesize"));
    let service = layer.layer(service_fn(accept));
    let answer = service.oneshot(request(SCOPED_KEY, ())).await;
    assert_eq!(answer.expect("an answer").status(), 200);
}
