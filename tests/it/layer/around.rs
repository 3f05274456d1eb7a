//! Tests of the services that the layer can wrap, and of the requests that it accepts.

use std::convert::Infallible;
use std::marker::PhantomPinned;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use tower::{Layer, ServiceExt, service_fn};
use voxgate::audit::Ended;
use voxgate::{AuthFuture, AuthLayer, AuthMethod, Caller, Dialect, PeerAddr, Policy, Verify};

use crate::support::{
    Asking, Down, KEY, Records, SCOPED_KEY, WRONG_KEY, client, request, ring, serve,
};

async fn key_id<B>(request: Request<B>) -> Result<Response<String>, Infallible> {
    let caller = request.extensions().get::<Caller>().expect("a caller");
    Ok(Response::new(caller.key_id().to_owned()))
}

/// A nested router sees a path without its prefix; the layer judges and records the whole one.
#[tokio::test]
async fn a_nested_router_is_judged_by_the_original_uri() {
    let policy = Policy::default().route("GET", "/v1/speak/{voice}", "tts:synthesize");
    for (by_original, status, path) in [(true, 200, "/v1/speak/cove"), (false, 403, "/speak/cove")]
    {
        let records = Records::default();
        let layer = AuthLayer::new(Asking(ring()))
            .with_policy(policy.clone())
            .with_audit_sink(records.clone());
        let layer = match by_original {
            true => layer.with_original_uri(voxgate::extract::original_uri),
            false => layer,
        };
        let seen = get(|uri: http::Uri| async move { uri.to_string() });
        let inner = Router::new().route("/speak/{voice}", seen).layer(layer);
        let app = Router::new().nest("/v1", inner);
        let mut request = request(SCOPED_KEY, Body::empty());
        *request.method_mut() = http::Method::GET;
        *request.uri_mut() = "/v1/speak/cove?a=b".parse().expect("a URI");
        let response = app.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), status);
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        if by_original {
            assert_eq!(body, "/speak/cove?a=b", "the handler sees its own");
            assert_eq!(records.take_exchange().0.path, path);
        } else {
            assert_eq!(records.take_refusal().path, path);
        }
    }
}

async fn service_function<V: Verify>(layer: AuthLayer<V>) {
    let records = Records::default();
    let service = layer
        .with_audit_sink(records.clone())
        .layer(service_fn(key_id));
    let accepted = service.clone().oneshot(request(KEY, ())).await;
    let body = accepted.expect("an answer").into_body().collect().await;
    assert_eq!(body.expect("a whole body").to_bytes(), "ivr");
    let (decided, completed) = records.take_exchange();
    assert_eq!(decided.auth_method, Some(AuthMethod::ApiKey));
    assert_eq!(decided.reason, "ok");
    assert_eq!(decided.status, None);
    assert_eq!(completed.status, Some(200));
    assert_eq!((completed.ended, completed.bytes_sent), (Ended::Ok, 3));

    let refused = service.oneshot(request(WRONG_KEY, ())).await;
    assert_eq!(refused.expect("an answer").status(), 401);
    let decided = records.take_refusal();
    assert_eq!(
        (decided.reason, decided.status),
        ("unknown_credential", Some(401))
    );
    assert_eq!(decided.key_id, None);
}

#[tokio::test]
async fn around_a_service_function() {
    service_function(AuthLayer::new(ring())).await;
    service_function(AuthLayer::new(Asking(ring()))).await;
}

#[tokio::test]
async fn around_the_routes_that_were_added_before_it() {
    let handler = |caller: Caller| async move { caller.key_id().to_owned() };
    let app = Router::new()
        .route("/inside", get(handler))
        .route("/inside/too", post(handler))
        .layer(AuthLayer::new(ring()))
        .route("/outside", get(handler));
    for (method, path, key, expected) in [
        ("GET", "/inside", KEY, 200),
        ("POST", "/inside/too", KEY, 200),
        ("GET", "/inside", WRONG_KEY, 401),
        // axum's 404 is also behind the layer, so that callers cannot find out which paths exist.
        ("GET", "/unknown", WRONG_KEY, 401),
        ("GET", "/unknown", KEY, 404),
        // Without the layer, a handler that needs a caller must not run.
        ("GET", "/outside", KEY, 500),
        ("GET", "/outside", WRONG_KEY, 500),
    ] {
        let mut request = request(key, Body::empty());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = path.parse().expect("a path");
        let response = app.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_caller_exists_only_behind_the_layer() {
    let app = Router::new().route("/", get(|_: Caller| async { "let in" }));
    let response = app
        .oneshot(request(KEY, Body::empty()))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn in_a_server_on_a_real_socket() {
    let records = Records::default();
    let service = AuthLayer::new(Asking(ring()))
        .with_audit_sink(records.clone())
        .layer(service_fn(key_id::<Incoming>));
    let address = serve(service).await;
    for http2 in [false, true] {
        let client = client(http2);
        for (key, status, body) in [(KEY, 200, "ivr"), (WRONG_KEY, 401, "")] {
            let mut request = request(key, Empty::<Bytes>::new());
            *request.uri_mut() = format!("http://{address}/").parse().expect("an address");
            let response = client.request(request).await.expect("an answer");
            assert_eq!(response.status(), status);
            let bytes = response
                .into_body()
                .collect()
                .await
                .expect("a whole body")
                .to_bytes();
            if status == 200 {
                assert_eq!(bytes, body);
                records.completed(1).await;
                assert_eq!(records.take_exchange().1.ended, Ended::Ok);
            } else {
                records.take_refusal();
            }
        }
    }
}

/// A body type that is neither `Send`, `Sync`, `Unpin` nor `Default`.
struct Odd {
    number: Rc<u8>,
    _pinned: PhantomPinned,
}

async fn odd<V: Verify>(layer: AuthLayer<V>) {
    let service = layer.layer(service_fn(|request: Request<Odd>| async move {
        Ok::<_, Infallible>(Response::new(request.into_body().number.to_string()))
    }));
    let body = Odd {
        number: Rc::new(7),
        _pinned: PhantomPinned,
    };
    let response = service
        .oneshot(request(KEY, body))
        .await
        .expect("an answer");
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a whole body")
        .to_bytes();
    assert_eq!(bytes, "7");
}

#[tokio::test]
async fn any_request_body_type_is_accepted() {
    odd(AuthLayer::new(ring())).await;
    odd(AuthLayer::new(Asking(ring()))).await;
    odd(AuthLayer::preconfigured()).await;
}

#[derive(Debug, PartialEq)]
struct OutOfVoices;

async fn own_error<V: Verify>(layer: AuthLayer<V>) {
    let records = Records::default();
    let service =
        layer
            .with_audit_sink(records.clone())
            .layer(service_fn(|_: Request<()>| async {
                Err::<Response<String>, _>(OutOfVoices)
            }));
    let failed = service.oneshot(request(KEY, ())).await;
    assert_eq!(failed.err(), Some(OutOfVoices));
    let (_, completed) = records.take_exchange();
    assert_eq!(completed.ended, Ended::UpstreamAbort);
    assert_eq!(completed.status, None);
}

#[tokio::test]
async fn errors_of_the_inner_service_are_unchanged() {
    own_error(AuthLayer::new(ring())).await;
    own_error(AuthLayer::new(Asking(ring()))).await;
}

#[tokio::test]
async fn a_preconfigured_layer_does_not_read_the_credential() {
    let long = "k".repeat(8 * 1024);
    let cases: [&[&[u8]]; 8] = [
        &[],
        &[b""],
        &[b"garbage"],
        &[b"Bearer"],
        &[b"Bearer one", b"Bearer two"],
        &[long.as_bytes()],
        &[b"Bearer \xff\xfe\x80"],
        &[b"\t \t"],
    ];
    for dialect in Dialect::ALL {
        let records = Records::default();
        let service = AuthLayer::preconfigured()
            .with_dialect(dialect)
            .with_audit_sink(records.clone())
            .layer(service_fn(key_id));
        for values in cases {
            let mut request = Request::new(());
            for value in values {
                let value = HeaderValue::from_bytes(value).expect("a header value");
                request.headers_mut().append("authorization", value);
            }
            let response = service.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), 200, "{dialect} {values:?}");
            assert_eq!(
                response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes(),
                "deployment"
            );
            let (decided, _) = records.take_exchange();
            assert_eq!(decided.auth_method, Some(AuthMethod::DeploymentKey));
        }
    }
}

/// Counts its calls.
fn counting(
    calls: &Arc<AtomicUsize>,
) -> impl tower::Service<
    Request<()>,
    Response = Response<String>,
    Error = Infallible,
    Future: Future<Output = Result<Response<String>, Infallible>>,
> + Clone {
    let calls = Arc::clone(calls);
    service_fn(move |_: Request<()>| {
        calls.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(String::new())) }
    })
}

async fn scoped<V: Verify>(layer: AuthLayer<V>, dialect: Dialect, refusal: &str) {
    let calls = Arc::new(AtomicUsize::new(0));
    let records = Records::default();
    let policy = Policy::default()
        .route("POST", "/v1/rime-tts", "tts:synthesize")
        .route("GET", "/data/voices/*", "voices:read");
    let service = layer
        .with_dialect(dialect)
        .with_policy(policy)
        .with_audit_sink(records.clone())
        .layer(counting(&calls));
    for (method, path, reason) in [
        ("POST", "/v1/rime-tts", "ok"),
        ("POST", "/v1/rime%2Dtts", "ok"),
        ("GET", "/v1/rime-tts", "no_rule"),
        ("GET", "/data/voices/a", "insufficient_scope"),
        ("GET", "/unnamed", "no_rule"),
    ] {
        let accepted = reason == "ok";
        calls.store(0, Ordering::Relaxed);
        let mut request = request(SCOPED_KEY, ());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = path.parse().expect("a path");
        let response = service.clone().oneshot(request).await.expect("an answer");
        assert_eq!(
            calls.load(Ordering::Relaxed),
            usize::from(accepted),
            "{path}"
        );
        if accepted {
            assert_eq!(response.status(), 200, "{path}");
            drop(response);
            records.take_exchange();
            continue;
        }
        assert_eq!(response.status(), 403, "{path}");
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert_eq!(body, refusal);
        let decided = records.take_refusal();
        assert_eq!(decided.reason, reason);
        assert_eq!(decided.key_id.as_deref(), Some("speaker"));
        assert_eq!(decided.auth_method, None);
    }
}

#[tokio::test]
async fn a_scoped_principal_is_refused_before_the_inner_service_is_called() {
    let rime = "access forbidden";
    scoped(AuthLayer::new(ring()), Dialect::Rime, rime).await;
    scoped(AuthLayer::new(Asking(ring())), Dialect::Rime, rime).await;
    let bearer = "{\"error\":\"insufficient_scope\",\"error_description\":\"The API key does not have access to this resource.\"}";
    scoped(AuthLayer::new(ring()), Dialect::Bearer, bearer).await;
    scoped(AuthLayer::new(Asking(ring())), Dialect::Bearer, bearer).await;
}

#[tokio::test]
async fn without_a_rule_a_scoped_principal_is_refused() {
    // Bearer has no default policy, and an empty policy refuses.
    let service = AuthLayer::new(ring()).layer(service_fn(key_id));
    let response = service
        .oneshot(request(SCOPED_KEY, ()))
        .await
        .expect("an answer");
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn a_verifier_that_cannot_answer_is_refused_with_503() {
    for at_once in [true, false] {
        for dialect in [Dialect::Bearer, Dialect::Rime] {
            let calls = Arc::new(AtomicUsize::new(0));
            let records = Records::default();
            let service = AuthLayer::new(Down { at_once })
                .with_dialect(dialect)
                .with_audit_sink(records.clone())
                .layer(counting(&calls));
            let response = service.oneshot(request(KEY, ())).await.expect("an answer");
            assert_eq!(response.status(), 503);
            // 1.5 seconds, rounded up.
            assert_eq!(response.headers()["retry-after"], "2");
            assert!(!response.headers().contains_key("www-authenticate"));
            assert_eq!(calls.load(Ordering::Relaxed), 0);
            assert_eq!(records.take_refusal().reason, "unavailable");
        }
    }
}

#[tokio::test]
async fn the_address_of_the_peer_is_recorded() {
    let records = Records::default();
    let peer = "192.0.2.1:4711".parse().expect("an address");
    let service = AuthLayer::new(ring())
        .with_audit_sink(records.clone())
        .layer(service_fn(key_id));
    let mut request = request(KEY, ());
    request.extensions_mut().insert(PeerAddr(peer));
    drop(service.oneshot(request).await.expect("an answer"));
    assert_eq!(records.take_exchange().0.peer, Some(peer));
}

#[tokio::test]
async fn the_future_is_send_if_its_parts_are() {
    let layer = AuthLayer::new(Asking(ring()));
    let future: AuthFuture<_, _, String> = tower::Service::call(
        &mut layer.layer(service_fn(key_id)),
        request(KEY, String::new()),
    );
    let answer = tokio::spawn(future).await.expect("no panic");
    assert_eq!(answer.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_policy_applies_in_any_order_of_calls() {
    let policy = || Policy::default().require("admin");
    let dialect_last = AuthLayer::new(ring())
        .with_policy(policy())
        .with_dialect(Dialect::Bearer);
    let dialect_first = AuthLayer::new(ring())
        .with_dialect(Dialect::Bearer)
        .with_policy(policy());
    for layer in [dialect_last, dialect_first] {
        let service = layer
            .with_audit_sink(Records::default())
            .layer(service_fn(key_id));
        let answer = service.oneshot(request(SCOPED_KEY, ())).await;
        let status = answer.expect("an answer").status();
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
}
