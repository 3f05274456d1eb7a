use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, Version};
use voxgate_core::request_id::RequestId;

use super::*;
use crate::policy::Rule;
use crate::principal::{KeyKind, Principal, Scope};

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request")
}

/// With the headers of a WebSocket upgrade.
fn upgrade(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = request(uri, headers);
    let own = request.headers_mut();
    own.insert("connection", HeaderValue::from_static("Upgrade"));
    own.insert("upgrade", HeaderValue::from_static("websocket"));
    request
}

fn context(path: &str) -> RefusalContext {
    RefusalContext::of(&request(path, &[]), RequestId::new(Duration::ZERO))
}

fn read(dialect: Dialect, request: &Request<()>) -> Result<String, DenialKind> {
    let credential = dialect.credential(request)?;
    let bytes = credential.presented().expose().to_vec();
    Ok(String::from_utf8(bytes).expect("text"))
}

#[test]
fn every_dialect_is_found_by_its_name() {
    for dialect in Dialect::ALL {
        assert_eq!(dialect.as_str().parse::<Dialect>().ok(), Some(dialect));
    }
    let unknown = "rhyme".parse::<Dialect>().expect_err("no such dialect");
    assert!(
        unknown.to_string().contains("bearer, rime, supertone"),
        "{unknown}"
    );
}

#[test]
fn each_dialect_reads_its_own_credential_locations() {
    use DenialKind::{ConflictingCredentials, MalformedCredential, MissingCredential};
    use Dialect as D;
    let auth = |value| ("authorization", value);
    let key = |value| ("x-api-key", value);
    let k = || Ok("k".to_owned());
    for (dialect, request, expected) in [
        (D::Rime, request("/", &[auth("Bearer k")]), k()),
        (
            D::Rime,
            request("/", &[auth("bearer k")]),
            Err(MalformedCredential),
        ),
        (D::Rime, upgrade("/?api_key=k", &[]), Err(MissingCredential)),
        (D::Rime, request("/", &[auth("api-key k")]), k()),
        (D::Google, request("/", &[("x-goog-api-key", "k")]), k()),
        (D::Google, request("/?a=1&key=k", &[]), k()),
        (D::Google, request("/", &[auth("bearer k")]), k()),
        (
            D::Google,
            request("/?key=k", &[("x-goog-api-key", "l")]),
            Err(ConflictingCredentials),
        ),
        (D::Supertone, request("/", &[("X-Sup-API-Key", "k")]), k()),
        (
            D::Supertone,
            request("/", &[("x-sup-api-key", "k k")]),
            Err(MalformedCredential),
        ),
        (
            D::Supertone,
            request("/", &[("x-sup-api-key", "")]),
            Err(MalformedCredential),
        ),
        (
            D::Supertone,
            request("/", &[auth("Bearer k")]),
            Err(MissingCredential),
        ),
        (D::Smallest, request("/", &[auth("BEARER k")]), k()),
        (D::Kugel, request("/", &[auth("Bearer k")]), k()),
        (D::Kugel, request("/", &[key("k")]), k()),
        (D::Kugel, request("/", &[auth("Bearer k"), key("k")]), k()),
        (
            D::Kugel,
            request("/", &[auth("Bearer eu-k"), key("k")]),
            k(),
        ),
        (
            D::Kugel,
            request("/", &[auth("Bearer k"), key("l")]),
            Err(ConflictingCredentials),
        ),
        (
            D::Kugel,
            request("/", &[auth("Bearer k"), auth("Bearer k")]),
            Err(ConflictingCredentials),
        ),
        (
            D::Kugel,
            request("/", &[auth("k"), key("k")]),
            Err(MalformedCredential),
        ),
        (D::Kugel, upgrade("/ws/tts?a=1&api_key=k", &[]), k()),
        (
            D::Kugel,
            upgrade("/ws/tts?api_key=k&api_key=k", &[]),
            Err(ConflictingCredentials),
        ),
        (
            D::Kugel,
            upgrade("/ws/tts?api_key=l", &[auth("Bearer k")]),
            Err(ConflictingCredentials),
        ),
        // A credential in a query is accepted only on an upgrade.
        (
            D::Kugel,
            request("/ws/tts?api_key=k", &[]),
            Err(MissingCredential),
        ),
        (
            D::Inworld,
            request("/", &[auth("Basic aWQ6c2VjcmV0")]),
            Ok("id:secret".to_owned()),
        ),
        (
            D::Inworld,
            request("/", &[auth("basic aWQ6c2VjcmV0")]),
            Ok("id:secret".to_owned()),
        ),
        (
            D::Inworld,
            request("/", &[auth("Basic aWQ6c2VjcmV0cw")]),
            Err(MalformedCredential),
        ),
        (
            D::Inworld,
            request("/", &[auth("Basic id:secret")]),
            Err(MalformedCredential),
        ),
        (D::Inworld, request("/", &[auth("Bearer k")]), k()),
        (
            D::Inworld,
            upgrade("/", &[("sec-websocket-protocol", "bearer_k")]),
            k(),
        ),
        (D::OpenAi, request("/", &[auth("Bearer k")]), k()),
        (D::ElevenLabs, request("/", &[("xi-api-key", "k")]), k()),
        (D::Deepgram, request("/", &[auth("Token k")]), k()),
        (D::Deepgram, request("/", &[auth("bearer k")]), k()),
        (
            D::Deepgram,
            request("/", &[auth("Basic k")]),
            Err(MalformedCredential),
        ),
        (
            D::Deepgram,
            upgrade("/", &[("sec-websocket-protocol", "token, k")]),
            k(),
        ),
        (
            D::Deepgram,
            request("/", &[("sec-websocket-protocol", "token, k")]),
            Err(MissingCredential),
        ),
        (D::Cartesia, request("/", &[key("k")]), k()),
        (D::Cartesia, upgrade("/?access_token=k", &[]), k()),
        (
            D::Cartesia,
            upgrade("/?access_token=k&api_key=l", &[]),
            Err(ConflictingCredentials),
        ),
        (
            D::Azure,
            request("/", &[("Ocp-Apim-Subscription-Key", "k")]),
            k(),
        ),
    ] {
        assert_eq!(read(dialect, &request), expected, "{dialect} {request:?}");
    }
}

#[test]
fn only_the_credential_is_removed_from_every_location() {
    let everything = || {
        upgrade(
            "/p?a=%2f&api_key=SECRET&&access_token=SECRET&b",
            &[
                ("authorization", "Bearer SECRET"),
                ("x-api-key", "SECRET"),
                ("x_api.key", "SECRET"),
                ("x-sup-api-key", "SECRET"),
                ("xi-api-key", "SECRET"),
                ("ocp-apim-subscription-key", "SECRET"),
                (
                    "sec-websocket-protocol",
                    "token, SECRET, bearer_SECRET, json",
                ),
                ("x-kept", "kept"),
            ],
        )
    };
    let mut stripped = everything();
    Dialect::Auto.strip_credential(&mut stripped);
    let shown = format!("{stripped:?}");
    assert!(!shown.contains("SECRET"), "{shown}");
    assert_eq!(stripped.uri(), "/p?a=%2f&&b");
    assert_eq!(stripped.headers()["x-kept"], "kept");
    assert_eq!(stripped.headers()[SEC_WEBSOCKET_PROTOCOL], "token, json");

    let mut kugel = everything();
    Dialect::Kugel.strip_credential(&mut kugel);
    assert_eq!(
        kugel.uri(),
        "/p?a=%2f&&b",
        "credential locations of other dialects are removed as well"
    );
    // The credential location of another dialect is not read, and not forwarded.
    assert!(!kugel.headers().contains_key("xi-api-key"));
    assert!(!kugel.headers().contains_key("x-api-key"));
    assert_eq!(
        Dialect::Deepgram.subprotocol(everything().headers()),
        Some("token")
    );
    assert_eq!(Dialect::Kugel.subprotocol(everything().headers()), None);
}

#[test]
fn repeated_copies_of_a_credential_are_removed() {
    let mut twice = upgrade(
        "/?again=K&other=x",
        &[("sec-websocket-protocol", "token, K, K, json")],
    );
    Dialect::Deepgram.strip_credential(&mut twice);
    assert_eq!(twice.uri(), "/?other=x");
    assert_eq!(twice.headers()[SEC_WEBSOCKET_PROTOCOL], "token, json");
    let mut basic = request(
        "/?a=aWQ6c2VjcmV0&b",
        &[("authorization", "Basic aWQ6c2VjcmV0")],
    );
    Dialect::Inworld.strip_credential(&mut basic);
    assert_eq!(basic.uri(), "/?b");
    let mut region = request("/?a=eu-K&K&b", &[("authorization", "Bearer us-K")]);
    Dialect::Kugel.strip_credential(&mut region);
    assert_eq!(region.uri(), "/?b");
    let mut beside = upgrade(
        "/",
        &[
            ("authorization", "Token K"),
            ("sec-websocket-protocol", "K"),
        ],
    );
    Dialect::Deepgram.strip_credential(&mut beside);
    assert!(!beside.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
}

#[test]
fn headers_with_a_credential_are_marked_sensitive() {
    for dialect in [Dialect::Deepgram, Dialect::Auto] {
        let request = request(
            "/",
            &[
                ("authorization", "Token k"),
                ("sec-websocket-protocol", "token, k"),
            ],
        );
        let mut headers = request.headers().clone();
        dialect.mark_sensitive(&mut headers);
        assert!(headers.values().all(HeaderValue::is_sensitive), "{dialect}");
    }
}

#[test]
fn a_deployment_key_is_sent_upstream_in_the_vendors_form() {
    let key = Secret::new("id:deployment").expect("a valid secret");
    for (dialect, variable, header, value) in [
        (
            Dialect::Rime,
            "RIME_API_KEY",
            "authorization",
            "Bearer id:deployment",
        ),
        (
            Dialect::Supertone,
            "SUPERTONE_API_KEY",
            "x-sup-api-key",
            "id:deployment",
        ),
        (
            Dialect::Smallest,
            "SMALLEST_API_KEY",
            "authorization",
            "Bearer id:deployment",
        ),
        (
            Dialect::Kugel,
            "KUGELAUDIO_API_KEY",
            "authorization",
            "Bearer id:deployment",
        ),
        (
            Dialect::Inworld,
            "INWORLD_API_KEY",
            "authorization",
            "Basic aWQ6ZGVwbG95bWVudA==",
        ),
    ] {
        assert_eq!(dialect.deployment_variable(), Some(variable));
        assert!(DEPLOYMENT_VARIABLES.contains(&variable));
        let mut headers = HeaderMap::new();
        dialect.add_deployment_key(&key, &mut headers);
        assert_eq!(headers[header], value, "{dialect}");
        assert!(
            headers[header].is_sensitive() && headers.len() == 1,
            "{dialect}"
        );
    }
    let encoded = Secret::new("aWQ6ZGVwbG95bWVudA==").expect("a valid secret");
    let mut headers = HeaderMap::new();
    Dialect::Inworld.add_deployment_key(&encoded, &mut headers);
    assert_eq!(headers["authorization"], "Basic aWQ6ZGVwbG95bWVudA==");
    assert!(Dialect::Inworld.check_deployment_key(&encoded).is_ok());
    let neither = Secret::new("neither-of-both").expect("a valid secret");
    assert!(Dialect::Inworld.check_deployment_key(&neither).is_err());
    assert!(Dialect::Inworld.digests(&neither).is_err());
}

#[test]
fn auto_recognizes_the_dialect_by_path_and_credential_location() {
    let auth = ("authorization", "Bearer k");
    for (uri, headers, expected) in [
        ("/waves/v1/tts/live", &[][..], Some(Dialect::Smallest)),
        ("/ws/tts", &[], Some(Dialect::Kugel)),
        ("/ws3", &[], Some(Dialect::Rime)),
        (
            "/v1/voices",
            &[("xi-api-key", "k")],
            Some(Dialect::ElevenLabs),
        ),
        (
            "/v1/voices",
            &[("x-sup-api-key", "k")],
            Some(Dialect::Supertone),
        ),
        ("/v1/voices", &[auth], Some(Dialect::Kugel)),
        (
            "/v1/voices",
            &[("x-goog-api-key", "k")],
            Some(Dialect::Google),
        ),
        ("/v1/voices?key=k", &[], Some(Dialect::Google)),
        ("/v1/voices", &[], None),
        ("/v1/voices", &[auth, ("xi-api-key", "k")], None),
        ("/v1/models", &[auth], Some(Dialect::OpenAi)),
        (
            "/v1/models",
            &[auth, ("x-api-key", "k")],
            Some(Dialect::Kugel),
        ),
        (
            "/v1/models",
            &[("authorization", "Token k")],
            Some(Dialect::Deepgram),
        ),
        (
            "/v1/models",
            &[("xi-api-key", "k")],
            Some(Dialect::ElevenLabs),
        ),
        ("/v1/models", &[("authorization", "Digest k")], None),
        ("/voices/v1/voices/a", &[auth], Some(Dialect::Inworld)),
        ("/voices/a", &[auth], Some(Dialect::Cartesia)),
        // A header without a credential does not count.
        (
            "/v1/voices",
            &[auth, ("xi-api-key", "")],
            Some(Dialect::Kugel),
        ),
        (
            "/v1/speak",
            &[("authorization", "Token k")],
            Some(Dialect::Deepgram),
        ),
        ("/unknown", &[auth], None),
    ] {
        let request = request(uri, headers);
        assert_eq!(
            Dialect::Auto.recognize(&request),
            expected,
            "{uri} {headers:?}"
        );
        assert_eq!(Dialect::Azure.recognize(&request), Some(Dialect::Azure));
    }
}

#[test]
fn upgrade_credentials_are_accepted_in_http_1_1_only() {
    let mut newer = upgrade("/ws/tts?api_key=k", &[]);
    *newer.version_mut() = Version::HTTP_2;
    assert_eq!(
        read(Dialect::Kugel, &newer),
        Err(DenialKind::MissingCredential)
    );
}

/// Status, content type, challenge and body of every refusal of each dialect, so that they do not
/// change by accident. `INSTA_UPDATE=always` updates the snapshot `refusals.snap`.
#[test]
fn refusals_match_the_snapshot() {
    use std::fmt::Write as _;
    let mut table = String::new();
    for (dialect, path) in Dialect::ALL
        .map(|dialect| (dialect, "/"))
        .into_iter()
        .chain([(Dialect::Inworld, "/tts/v1/voice:stream")])
    {
        writeln!(table, "# {dialect} {path}").expect("text");
        for kind in DenialKind::ALL.iter().copied() {
            let response = dialect.refuse(&Denial::new(kind), context(path));
            let header = |name| {
                let value = response.headers().get(name);
                value.map_or("-", |value| value.to_str().expect("text"))
            };
            let body = std::str::from_utf8(response.body()).expect("text");
            let id = RequestId::new(Duration::ZERO).to_string();
            // Only the time in the id is fixed.
            let own = header("x-request-id");
            assert!(own.starts_with(&id[..14]), "{own}");
            writeln!(
                table,
                "{:24}{} {:18}{:56}{}",
                kind.as_str(),
                response.status().as_u16(),
                header("content-type"),
                header("www-authenticate"),
                body.replace(own, "<request id>")
            )
            .expect("text");
            if header("content-type") == "application/json" {
                let braces = |brace| body.matches(brace).count();
                assert_eq!(braces('{'), braces('}'), "{body}");
            }
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(".");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("refusals", table));
}

#[test]
fn retry_after_is_rounded_up_to_whole_seconds() {
    for (wait, expected) in [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
        let denial =
            Denial::new(DenialKind::RateLimited).with_retry_after(Duration::from_millis(wait));
        for dialect in Dialect::ALL {
            let response = dialect.refuse(&denial, context("/"));
            let shortened = matches!(
                dialect,
                Dialect::ElevenLabs | Dialect::Deepgram | Dialect::Smallest
            );
            let told = if shortened { "1" } else { expected };
            assert_eq!(response.headers()["retry-after"], told, "{dialect}");
        }
    }
}

/// openai-node and cartesia-js wait for the time in `Retry-After`.
#[test]
fn an_sdk_without_a_bound_is_told_not_to_retry_when_the_wait_is_long() {
    for (wait, is_long) in [(1, false), (1000, false), (1001, true), (3_600_000, true)] {
        let denial =
            Denial::new(DenialKind::RateLimited).with_retry_after(Duration::from_millis(wait));
        for dialect in Dialect::ALL {
            let response = dialect.refuse(&denial, context("/"));
            let unbounded = matches!(dialect, Dialect::OpenAi | Dialect::Cartesia);
            let told = response.headers().get("x-should-retry");
            let expected = (unbounded && is_long).then_some("false");
            assert_eq!(
                told.map(|value| value.to_str().expect("text")),
                expected,
                "{dialect}"
            );
        }
    }
    let refusal = Dialect::OpenAi.refuse(&Denial::unknown_credential(), context("/"));
    assert!(!refusal.headers().contains_key("x-should-retry"));
    for dialect in Dialect::ALL {
        let refusal = dialect.refuse(&Denial::new(DenialKind::UpstreamTimeout), context("/"));
        let unbounded = matches!(dialect, Dialect::OpenAi | Dialect::Cartesia);
        let told = refusal.headers().get("x-should-retry");
        assert_eq!(
            told.is_some_and(|value| value == "false"),
            unbounded,
            "{dialect}"
        );
        let refusal = dialect.refuse(&Denial::new(DenialKind::UpstreamUnreachable), context("/"));
        assert!(
            !refusal.headers().contains_key("x-should-retry"),
            "it may be there again soon"
        );
    }
}

#[test]
fn a_copy_of_a_header_counts_once_in_a_grpc_call_alone() {
    let key = ("authorization", "Bearer one");
    let grpc = ("content-type", "application/grpc");
    let read = |headers: &[(&'static str, &'static str)]| {
        let request = request("/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize", headers);
        let found = Dialect::Bearer.credential(&request);
        found.map(|found| found.presented().digest().matches(&Digest::of(b"one")))
    };
    assert_eq!(read(&[key, grpc]), Ok(true));
    assert_eq!(read(&[key, key, grpc]), Ok(true));
    assert_eq!(read(&[key, key, key, grpc]), Ok(true));
    let conflict = Err(DenialKind::ConflictingCredentials);
    assert_eq!(read(&[key, key]), conflict);
    for other in ["Bearer two", "bearer one", "Bearer one ", ""] {
        assert_eq!(
            read(&[key, ("authorization", other), grpc]),
            conflict,
            "{other}"
        );
        assert_eq!(
            read(&[key, key, ("authorization", other), grpc]),
            conflict,
            "{other}"
        );
    }
}

#[test]
fn a_grpc_call_is_refused_in_the_form_of_grpc_in_every_dialect() {
    let mut call = request("/tts.Speech/Say", &[("content-type", "application/grpc")]);
    let in_http_1 = RefusalContext::of(&call, RequestId::new(Duration::ZERO));
    let refusal = Dialect::Rime.refuse(&Denial::unknown_credential(), in_http_1);
    assert_eq!(refusal.status(), 401);
    *call.version_mut() = Version::HTTP_2;
    let context = RefusalContext::of(&call, RequestId::new(Duration::ZERO));
    for dialect in Dialect::ALL {
        let response = dialect.refuse(&Denial::unknown_credential(), context);
        assert_eq!(response.status(), 200, "{dialect}");
        assert_eq!(response.headers()["grpc-status"], "16", "{dialect}");
        assert!(response.headers().contains_key("x-request-id"), "{dialect}");
    }
}

/// Rime documents its words for WebSockets only.
#[test]
fn rime_speaks_of_websockets_only_to_websockets() {
    let limited = Denial::new(DenialKind::RateLimited);
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    for (headers, expected) in [
        (&[][..], "too many requests: retry later"),
        (&upgrade, "Currently at websocket limit"),
    ] {
        let request = request("/ws", headers);
        let context = RefusalContext::of(&request, RequestId::new(Duration::ZERO));
        let response = Dialect::Rime.refuse(&limited, context);
        assert_eq!(response.body(), expected);
    }
}

#[test]
fn a_signature_counts_where_tokens_are_made_and_is_not_a_key() {
    let parameters = "ApiKey=k,DateTime=20260101000000,Nonce=0123456789a,Signature=ab";
    let signed = format!("IW1-HMAC-SHA256 {parameters}");
    let signed = [("authorization", signed.as_str())];
    for path in [
        "/auth/v1/tokens/token:generate",
        "/v1/sessionTokens/token:generate",
        "/ai.inworld.engine.WorldEngine/GenerateToken",
    ] {
        let request = request(path, &signed);
        let credential = Dialect::Inworld.credential(&request).expect("a credential");
        assert!(credential.presented().is_signature());
        assert_eq!(credential.presented().expose(), parameters.as_bytes());
    }
    for path in [
        "/auth/v1/tokens",
        "/tts/v1/voice",
        "/auth/v1/tokens/token%3Agenerate",
        "/",
    ] {
        let refused = read(Dialect::Inworld, &request(path, &signed));
        assert_eq!(refused, Err(DenialKind::MalformedCredential), "{path}");
    }
    let lower = [("authorization", "iw1-hmac-sha256 ApiKey=k")];
    let refused = read(
        Dialect::Inworld,
        &request("/auth/v1/tokens/token:generate", &lower),
    );
    assert_eq!(refused, Err(DenialKind::MalformedCredential));
    // A key that has the text of a signature is a key.
    let basic = [(
        "authorization",
        "Basic SVcxLUhNQUMtU0hBMjU2IEFwaUtleT1rOng=",
    )];
    let request = request("/auth/v1/tokens/token:generate", &basic);
    let credential = Dialect::Inworld.credential(&request).expect("a credential");
    assert!(!credential.presented().is_signature());
}

#[test]
fn who_may_ask_for_a_token_depends_on_who_makes_it() {
    let may = |policy: &Policy, principal: &Principal, path: &str| {
        let request = Request::post(path).body(()).expect("a request");
        policy
            .authorize(principal, &request, "deepgram", false)
            .is_ok()
    };
    let forwarded = Dialect::Deepgram.policy();
    let made_here = forwarded.clone().with_minting();
    let anyone = Principal::new("a");
    let realtime = anyone.clone().with_kind(KeyKind::Realtime);
    let scoped = |scope| anyone.clone().with_scopes(Scope::new(scope));
    for (principal, if_forwarded, if_made_here) in [
        (&anyone, false, true),
        (&realtime, false, true),
        (&scoped("tokens:mint"), true, true),
        (&scoped("tts:synthesize"), false, false),
    ] {
        for path in ["/v1/auth/grant", "/voxgate/v1/tokens"] {
            let asks = |policy: &Policy| may(policy, principal, path);
            assert_eq!(asks(&forwarded), if_forwarded, "{principal:?} {path}");
            assert_eq!(asks(&made_here), if_made_here, "{principal:?} {path}");
        }
    }
    // An explicit rule of the operator stays one, and the other routes are as before.
    let rule = Rule::new("POST", "/v1/auth/grant").with_explicit_scope("tokens:mint");
    let own = Policy::default().rule(rule).with_minting();
    assert!(!may(&own, &anyone, "/v1/auth/grant"));
    assert!(may(&forwarded, &anyone, "/v1/speak"));
}
