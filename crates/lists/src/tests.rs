use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{Layer as _, ServiceExt as _, service_fn};
use voxgate::{AuthLayer, Dialect, Key, KeyRing, Principal, Secret};

use crate::{FilterListsLayer, MAX_LIST};

const LIST: &str = r#"{"voices":[{"voice_id":"cove"},{"voice_id":"other"}]}"#;
const MODELS: &str = r#"[{"model_id":"cove"},{"model_id":"other"}]"#;
const OF_COVE: &str = r#"{"voices":[{"voice_id":"cove"}]}"#;

fn ring() -> KeyRing {
    let key = |id: &str, principal: Principal| {
        let secret = Secret::new(&format!("key-{id}-that-is-long-enough")).expect("a secret");
        Key::from_secret(&secret, principal)
    };
    KeyRing::new([
        key("all", Principal::new("all")),
        key("cove", Principal::new("cove").with_voices(["cove"])),
        key("model", Principal::new("model").with_models(["cove"])),
    ])
    .expect("different keys")
}

/// Asks a server that answers in the way that the path of the query says.
async fn ask(filters: bool, id: &str, method: &str, target: &str) -> (u16, String) {
    let server = async |request: Request<()>| {
        let headers = request.headers();
        let is_plain = !headers.contains_key("accept-encoding") && !headers.contains_key("range");
        let response = Response::builder()
            .header("content-length", "9")
            .header("etag", "\"a\"");
        let (response, body) = match request.uri().query().unwrap_or_default() {
            _ if request.uri().path() == "/v1/models" => (response, MODELS.to_owned()),
            "compressed" => (response.header("content-encoding", "gzip"), LIST.to_owned()),
            "partial" => (response.status(206), LIST.to_owned()),
            "missing" => (response.status(404), "no such list".to_owned()),
            "long" => (response, format!("{LIST}{}", " ".repeat(MAX_LIST))),
            "slow" => {
                let never = StreamBody::new(futures_util::stream::pending());
                return Ok(response.body(never.boxed_unsync()).expect("a response"));
            }
            "other" => (response, r#"{"items":["other"]}"#.to_owned()),
            "plain" => (response, format!(r#"{{"plain":{is_plain},"voices":[]}}"#)),
            _ => (response, LIST.to_owned()),
        };
        Ok::<_, Infallible>(
            response
                .body(Full::new(Bytes::from(body)).boxed_unsync())
                .expect("a response"),
        )
    };
    let service = FilterListsLayer::new(filters).layer(service_fn(server));
    let service = AuthLayer::new(ring())
        .with_dialect(Dialect::ElevenLabs)
        .layer(service);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("xi-api-key", format!("key-{id}-that-is-long-enough"))
        .header("accept-encoding", "gzip")
        .header("range", "bytes=0-9")
        .body(())
        .expect("a request");
    let answer = service.oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    if body == OF_COVE {
        assert!(!headers.contains_key("content-length") && !headers.contains_key("etag"));
        assert_eq!(headers["content-type"], "application/json");
    }
    (status, body)
}

#[tokio::test]
async fn a_caller_sees_its_own_voices() {
    let shown = |text: &str| (200, text.to_owned());
    for path in ["/v1/voices", "/v2/voices?page_size=5"] {
        assert_eq!(
            ask(true, "cove", "GET", path).await,
            shown(OF_COVE),
            "{path}"
        );
        assert_eq!(
            ask(true, "all", "GET", path).await,
            shown(LIST),
            "not limited"
        );
        assert_eq!(
            ask(false, "cove", "GET", path).await,
            shown(LIST),
            "switched off"
        );
    }
    assert_eq!(
        ask(true, "model", "GET", "/v1/voices").await,
        shown(LIST),
        "limited to models"
    );
    assert_eq!(
        ask(true, "model", "GET", "/v1/models").await,
        shown(r#"[{"model_id":"cove"}]"#)
    );
    let plain = r#"{"plain":true,"voices":[]}"#;
    assert_eq!(
        ask(true, "cove", "GET", "/v1/voices?plain").await,
        shown(plain)
    );
    assert_eq!(
        ask(true, "cove", "GET", "/v1/models").await,
        shown(MODELS),
        "limited to voices"
    );
}

#[tokio::test]
async fn one_voice_is_for_its_callers() {
    for (path, expected) in [
        ("/v1/voices/cove", 200),
        ("/v1/voices/c%6Fve", 200),
        ("/v1/voices/other", 403),
        ("/v1/voices/%ff", 403),
    ] {
        assert_eq!(ask(true, "cove", "GET", path).await.0, expected, "{path}");
    }
    let (_, refusal) = ask(true, "cove", "GET", "/v1/voices/other").await;
    assert!(
        refusal.contains("missing_permissions"),
        "in the vendor's words: {refusal}"
    );
}

/// The clock jumps when nothing else is left to do.
#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_filtered_is_not_passed_on() {
    for how in ["compressed", "partial", "long", "slow", "other"] {
        let (status, body) = ask(true, "cove", "GET", &format!("/v1/voices?{how}")).await;
        assert_eq!(status, 502, "{how}");
        assert!(!body.contains("other\""), "{how}: {body}");
    }
    let missing = ask(true, "cove", "GET", "/v1/voices?missing").await;
    assert_eq!(missing, (404, "no such list".to_owned()));
}
