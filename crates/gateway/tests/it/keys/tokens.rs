//! The layer accepts a token in the form that the vendor's clients send.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use tower::{Layer as _, ServiceExt as _, service_fn};
use voxgate::keys::KeysFile;
use voxgate::{AuthLayer, Caller, Dialect, Policy};

use super::Place;

/// The header in which a vendor's client sends its key.
fn header(dialect: Dialect, key: &str) -> (&'static str, String) {
    match dialect {
        Dialect::Supertone => ("x-sup-api-key", key.to_owned()),
        Dialect::Inworld => ("authorization", format!("Basic {key}")),
        Dialect::ElevenLabs => ("xi-api-key", key.to_owned()),
        Dialect::Deepgram => ("authorization", format!("Token {key}")),
        Dialect::Azure => ("ocp-apim-subscription-key", key.to_owned()),
        _ => ("authorization", format!("Bearer {key}")),
    }
}

async fn answer(place: &Place, dialect: Dialect, key: &str) -> (StatusCode, String) {
    // This test does not cover plain secrets.
    let ring = KeysFile::load(place.path(), Dialect::Auto)
        .unwrap()
        .into_ring()
        .unwrap();
    let layer = AuthLayer::new(ring)
        .with_dialect(dialect)
        .with_policy(Policy::default());
    let inner = service_fn(async |request: Request<Empty<Bytes>>| {
        let caller = request.extensions().get::<Caller>().unwrap();
        let answer = Response::new(Empty::<Bytes>::new());
        let (mut parts, body) = answer.into_parts();
        parts
            .headers
            .insert("key-id", caller.key_id().parse().unwrap());
        Ok::<_, Infallible>(Response::from_parts(parts, body))
    });
    let (name, value) = header(dialect, key);
    let request = Request::post("/v1/rime-tts").header(name, value);
    let request = request.body(Empty::new()).unwrap();
    let answer = layer.layer(inner).oneshot(request).await.unwrap();
    let id = answer
        .headers()
        .get("key-id")
        .map(|id| id.to_str().unwrap().to_owned());
    (answer.status(), id.unwrap_or_default())
}

#[tokio::test]
async fn each_vendors_client_is_accepted_with_the_printed_token() {
    for dialect in Dialect::ALL {
        let place = Place::new();
        let flag = format!("--dialect={dialect}");
        let token = place.run(&["new", "--id=ivr/prod:1", &flag]).token();
        let let_in = |id: &str| (StatusCode::OK, id.to_owned());
        assert_eq!(
            answer(&place, dialect, &token).await,
            let_in("ivr/prod:1"),
            "{dialect}"
        );
        // The variable has the same effect as the flag.
        let mut command = place.command(&["rotate", "ivr/prod:1"]);
        command.env("VOXGATE_DIALECT", dialect.as_str());
        let next = super::Ran::new(command.output().unwrap()).token();
        assert_eq!(
            answer(&place, dialect, &next).await,
            let_in("ivr/prod:1-2"),
            "{dialect}"
        );
        assert_eq!(
            answer(&place, dialect, &token).await,
            let_in("ivr/prod:1"),
            "{dialect}"
        );
        place.run(&["revoke", "ivr/prod:1"]).done();
        assert!(
            !answer(&place, dialect, &token).await.0.is_success(),
            "{dialect}"
        );
        let ran = place.run_with(&next, &["verify", &flag]).done();
        assert_eq!(ran.out, "ivr/prod:1-2: active\n");
        if dialect == Dialect::Kugel {
            let regional = format!("eu-{next}");
            assert_eq!(
                answer(&place, dialect, &regional).await,
                let_in("ivr/prod:1-2")
            );
            place.run_with(&regional, &["verify", &flag]).done();
        }
    }
}

/// With `auto`, one file may contain keys for several vendors.
#[tokio::test]
async fn an_auto_gateway_accepts_a_key_of_inworlds_clients() {
    let place = Place::with("[[key]]\nid = \"a\"\nsecret = \"0b8e6d1f4a7c2935e0d8b6a4f1c39e72\"\n");
    let new = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("VOXGATE_DIALECT", "auto");
        super::Ran::new(command.output().unwrap()).done()
    };
    assert!(new(&["new", "--id=b"]).error.contains("--dialect inworld"));
    let ran = new(&["new", "--id=c", "--dialect=inworld"]);
    assert!(!ran.error.contains("--dialect inworld"), "{}", ran.error);
    let (status, id) = answer(&place, Dialect::Inworld, &ran.token()).await;
    assert_eq!((status, id.as_str()), (StatusCode::OK, "c"));
}
