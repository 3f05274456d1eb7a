use super::*;

use std::convert::Infallible;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};
use voxgate::audit::Receipt;
use voxgate::{AuthLayer, Key, KeyRing, Principal, Scope, Secret};

use crate::issuer::{IssuedToken, NotIssued, TokenRequest};

/// Signs nothing: the token names the rights that it was asked to have.
struct Names {
    works: bool,
}

impl Issuer for Names {
    fn issue(&self, request: &TokenRequest) -> Result<IssuedToken, NotIssued> {
        if !self.works {
            return Err(NotIssued("no key".to_owned()));
        }
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let scopes = request.principal.scopes().map(|scopes| {
            let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
            scopes.join("+")
        });
        let scopes = scopes.unwrap_or_else(|| "all".to_owned());
        let kind = request.principal.kind().as_str();
        Ok(IssuedToken {
            token: format!(
                "{}.{scopes}.{kind}.{}",
                request.principal.id(),
                request.single_use
            ),
            id: "t-1".to_owned(),
            issued,
            expires: issued + request.life,
        })
    }
}

/// What is on record, and whether records can be kept.
#[derive(Default)]
struct Records {
    tokens: Mutex<Vec<(String, String, bool)>>,
    fails: bool,
}

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        if let AuditRecord::Token(token) = record {
            let line = (
                token.principal.id().to_owned(),
                token.token_id.to_owned(),
                token.single_use,
            );
            self.tokens.lock().expect("no panic").push(line);
        }
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.record(record);
        match self.fails {
            true => Receipt::pending(std::future::ready(Err(voxgate::audit::NotRecorded))),
            false => Receipt::recorded(),
        }
    }
}

const SPEAKER: &str = "id:speaker-speaker-speaker";
const MINTER: &str = "id:minter-minter-minter-minter";
const ANYONE: &str = "id:anyone-anyone-anyone-anyone";

fn ring() -> KeyRing {
    let key = |secret: &str, id: &str, scopes: Option<&[&str]>| {
        let principal = Principal::new(id);
        let principal = match scopes {
            Some(scopes) => {
                principal.with_scopes(scopes.iter().filter_map(|name| Scope::new(name)))
            }
            None => principal,
        };
        Key::from_secret(&Secret::new(secret).expect("a secret"), principal)
    };
    KeyRing::new([
        key(SPEAKER, "speaker", Some(&["tts:synthesize"])),
        key(MINTER, "minter", Some(&["tts:synthesize", "tokens:mint"])),
        key(ANYONE, "anyone", None),
    ])
    .expect("a ring")
}

/// The answer to a request, and what is on record. `None` is the minter's absence.
async fn ask(
    dialect: Dialect,
    minting: Option<(bool, bool)>,
    request: Request<Full<Bytes>>,
) -> (u16, Value, HeaderMap, usize) {
    let records = Arc::new(Records {
        fails: minting.is_some_and(|(_, fails)| fails),
        ..Records::default()
    });
    let layer = match minting {
        Some((works, _)) => {
            MintLayer::new(Minting::new(Names { works }, Arc::clone(&records) as _))
        }
        None => MintLayer::default(),
    };
    let behind = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("\"forwarded\"")))
    });
    let policy = dialect.policy();
    let policy = match minting {
        Some(_) => policy.with_minting(),
        None => policy,
    };
    let auth = AuthLayer::new(ring())
        .with_dialect(dialect)
        .with_policy(policy);
    let service = auth.layer(layer.layer(behind));
    let response = service.oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let text = || String::from_utf8_lossy(&body).into();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    let recorded = records.tokens.lock().expect("no panic").len();
    (parts.status.as_u16(), body, parts.headers, recorded)
}

fn post(path: &str, authorization: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "voxgate")
        .header("authorization", authorization)
        .header("content-type", "application/json")
        .body(Full::from(body.to_owned()))
        .expect("a request")
}

fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(key))
}

const WORKS: Option<(bool, bool)> = Some((true, false));

#[tokio::test]
async fn a_key_with_the_right_gets_a_token_in_the_vendors_form() {
    let token = format!("Token {MINTER}");
    let (status, body, headers, recorded) = ask(
        Dialect::Deepgram,
        WORKS,
        post("/v1/auth/grant", &token, r#"{"ttl_seconds":60}"#),
    )
    .await;
    let expected =
        json!({"access_token": "minter.tts:synthesize.standard.false", "expires_in": 60});
    assert_eq!((status, body, recorded), (200, expected, 1));
    assert_eq!(headers["cache-control"], "no-store");
    assert!(headers.contains_key("x-request-id"));

    let body_of = r#"{"single_use":true,"ttl":"300s","client_reference_id":"r-1"}"#;
    let (status, body, ..) = ask(
        Dialect::Inworld,
        WORKS,
        post("/auth/v1/tokens", &basic(MINTER), body_of),
    )
    .await;
    let expected = json!({
        "name": "tokens/t-1",
        "accessToken": "minter.tts:synthesize.standard.true",
        "expireTime": "2027-01-15T08:05:00Z",
        "singleUse": true,
        "clientReferenceId": "r-1",
        "createTime": "2027-01-15T08:00:00Z",
        "apiKey": "id",
    });
    assert_eq!((status, body), (200, expected));

    let bearer = format!("Bearer {ANYONE}");
    let body_of = r#"{"session":{"model":"m","audio":{"output":{"voice":"cove"}}}}"#;
    let (status, body, ..) = ask(
        Dialect::OpenAi,
        WORKS,
        post("/v1/realtime/client_secrets", &bearer, body_of),
    )
    .await;
    let session = json!({
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_t-1",
        "model": "m",
        "audio": {"output": {"voice": "cove"}},
    });
    let value = "anyone.realtime.realtime.false";
    let expected = json!({"value": value, "expires_at": 1_800_000_600, "session": session});
    assert_eq!((status, body), (200, expected));

    let (status, body, ..) = ask(
        Dialect::Bearer,
        WORKS,
        post("/voxgate/v1/tokens", &bearer, ""),
    )
    .await;
    let expected = json!({
        "access_token": "anyone.all.standard.false",
        "token_type": "Bearer",
        "expires_in": 300,
        "expires_at": "2027-01-15T08:05:00Z",
        "token_id": "t-1",
        "single_use": false,
    });
    assert_eq!((status, body), (200, expected));
}

#[tokio::test]
async fn a_token_of_azure_is_the_whole_answer() {
    let request = Request::post("/sts/v1.0/issueToken")
        .header("host", "voxgate")
        .header("ocp-apim-subscription-key", MINTER)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::default())
        .expect("a request");
    let (status, body, headers, _) = ask(Dialect::Azure, WORKS, request).await;
    assert_eq!(
        (status, body),
        (200, json!("minter.tts:synthesize.standard.false"))
    );
    assert_eq!(headers["content-type"], "text/plain");
}

#[tokio::test]
async fn a_key_without_the_right_gets_none() {
    let token = format!("Token {SPEAKER}");
    let (status, body, _, recorded) =
        ask(Dialect::Deepgram, WORKS, post("/v1/auth/grant", &token, "")).await;
    assert_eq!((status, recorded), (403, 0));
    assert_eq!(body["err_code"], "INSUFFICIENT_PERMISSIONS");
    // An operator's rule that allows every path to speakers does not allow them to mint.
    let policy = voxgate::Policy::default().require("tts:synthesize");
    let records: Arc<Records> = Arc::default();
    let layer = MintLayer::new(Minting::new(
        Names { works: true },
        Arc::clone(&records) as _,
    ));
    let behind = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let auth = AuthLayer::new(ring())
        .with_dialect(Dialect::Deepgram)
        .with_policy(policy);
    let service = auth.layer(layer.layer(behind));
    let response = service
        .oneshot(post("/v1/auth/grant", &token, ""))
        .await
        .expect("an answer");
    assert_eq!(response.status().as_u16(), 403);
    assert!(records.tokens.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_public_route_is_not_a_way_to_a_token() {
    let records: Arc<Records> = Arc::default();
    let layer = MintLayer::new(Minting::new(
        Names { works: true },
        Arc::clone(&records) as _,
    ));
    let behind = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let policy = Dialect::Deepgram.policy().public("POST", "/v1/auth/grant");
    let auth = AuthLayer::new(ring())
        .with_dialect(Dialect::Deepgram)
        .with_policy(policy);
    let anyone = format!("Token {ANYONE}");
    let service = auth.layer(layer.layer(behind));
    let response = service
        .oneshot(post("/v1/auth/grant", &anyone, ""))
        .await
        .expect("an answer");
    assert_eq!(response.status().as_u16(), 401);
    // Neither is a gateway that reads no keys.
    let layer = MintLayer::new(Minting::new(
        Names { works: true },
        Arc::clone(&records) as _,
    ));
    let auth = AuthLayer::preconfigured().with_dialect(Dialect::Deepgram);
    let service = auth.layer(layer.layer(service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    })));
    let response = service
        .oneshot(post("/v1/auth/grant", &anyone, ""))
        .await
        .expect("an answer");
    assert_eq!(response.status().as_u16(), 403);
    assert!(records.tokens.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn inworlds_tokens_are_not_made_for_bearer_callers() {
    let bearer = format!("Bearer {MINTER}");
    for path in ["/auth/v1/tokens", "/auth/v1/tokens/token:generate"] {
        let body = r#"{"single_use":true}"#;
        let (status, body, _, recorded) =
            ask(Dialect::Inworld, WORKS, post(path, &bearer, body)).await;
        assert_eq!((status, recorded), (403, 0), "{body}");
        assert_eq!(body["code"], 7);
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_of_their_type() {
    let token = format!("Token {MINTER}");
    let long = format!("{{\"ttl_seconds\":{}60}}", " ".repeat(5000));
    let (status, ..) = ask(
        Dialect::Deepgram,
        WORKS,
        post("/v1/auth/grant", &token, &long),
    )
    .await;
    assert_eq!(status, 413);
    let mut form = post("/v1/auth/grant", &token, "ttl_seconds=60");
    form.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let (status, body, ..) = ask(Dialect::Deepgram, WORKS, form).await;
    assert_eq!(status, 415);
    assert_eq!(
        body["err_msg"],
        "The content type must be application/json."
    );
}

#[tokio::test]
async fn a_token_that_is_not_signed_or_not_on_record_is_not_given_out() {
    let token = format!("Token {MINTER}");
    for minting in [(false, false), (true, true)] {
        let request = post("/v1/auth/grant", &token, "");
        let (status, body, headers, _) = ask(Dialect::Deepgram, Some(minting), request).await;
        assert_eq!(status, 503);
        assert!(!body.to_string().contains("minter."), "{body}");
        assert!(headers.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn other_requests_are_passed_on() {
    let token = format!("Token {ANYONE}");
    let mut get = post("/v1/auth/grant", &token, "");
    *get.method_mut() = Method::GET;
    for (minting, request) in [
        (WORKS, post("/v1/speak", &token, "{}")),
        (WORKS, post("/v1/auth/grant/", &token, "{}")),
        (WORKS, post("/access-token", &token, "{}")),
        (WORKS, get),
    ] {
        let (status, body, _, recorded) = ask(Dialect::Deepgram, minting, request).await;
        assert_eq!((status, body, recorded), (200, json!("forwarded"), 0));
    }
}

#[tokio::test]
async fn where_no_tokens_are_made_a_request_for_one_needs_its_scope() {
    for (key, status) in [(MINTER, 200), (SPEAKER, 403), (ANYONE, 403)] {
        let request = post("/v1/auth/grant", &format!("Token {key}"), "{}");
        let (answered, _, _, recorded) = ask(Dialect::Deepgram, None, request).await;
        assert_eq!((answered, recorded), (status, 0), "{key}");
    }
}
