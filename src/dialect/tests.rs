use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, Version};

use super::*;
use crate::request_id::RequestId;

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
fn each_dialect_reads_its_own_carriers() {
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
        // In a query it counts on an upgrade only.
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
fn the_credential_is_removed_from_every_carrier_and_nothing_else_is() {
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
        "what is another's carrier goes, too"
    );
    // A credential location of another dialect is none of ours to read, and none of the upstream's to see.
    assert!(!kugel.headers().contains_key("xi-api-key"));
    assert!(!kugel.headers().contains_key("x-api-key"));
    assert_eq!(
        Dialect::Deepgram.subprotocol(everything().headers()),
        Some("token")
    );
    assert_eq!(Dialect::Kugel.subprotocol(everything().headers()), None);
}

#[test]
fn a_credential_that_is_repeated_elsewhere_is_removed_there_too() {
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
fn what_may_hold_a_credential_is_marked() {
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
fn a_deployment_key_goes_upstream_in_the_vendors_form() {
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
fn a_request_is_in_the_dialect_of_its_path_and_carrier() {
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
        ("/v1/voices", &[], None),
        ("/v1/voices", &[auth, ("xi-api-key", "k")], None),
        ("/v1/models", &[auth], None),
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
fn two_carriers_of_an_upgrade_count_in_http_1_1_only() {
    let mut newer = upgrade("/ws/tts?api_key=k", &[]);
    *newer.version_mut() = Version::HTTP_2;
    assert_eq!(
        read(Dialect::Kugel, &newer),
        Err(DenialKind::MissingCredential)
    );
}

/// Status, content type, challenge and body of every refusal that each dialect has, as a golden
/// file: what a client reads does not change by accident.
#[test]
fn refusals_are_as_they_were_agreed() {
    use std::fmt::Write as _;
    let kinds = [
        DenialKind::AmbiguousPath,
        DenialKind::InvalidHost,
        DenialKind::MethodNotAllowed,
        DenialKind::InvalidScheme,
        DenialKind::InvalidHeader,
        DenialKind::InvalidContentLength,
        DenialKind::UnsupportedTransferCoding,
        DenialKind::UnrecognizedDialect,
        DenialKind::MissingCredential,
        DenialKind::MalformedCredential,
        DenialKind::ConflictingCredentials,
        DenialKind::UnknownCredential,
        DenialKind::MistypedCredential,
        DenialKind::DisabledCredential,
        DenialKind::ExpiredCredential,
        DenialKind::NotYetValidCredential,
        DenialKind::InsufficientScope,
        DenialKind::ContentTooLarge,
        DenialKind::RateLimited,
        DenialKind::Unavailable,
        DenialKind::NoUpstream,
        DenialKind::UpstreamUnreachable,
        DenialKind::UpstreamTimeout,
    ];
    let mut table = String::new();
    for (dialect, path) in Dialect::ALL
        .map(|dialect| (dialect, "/"))
        .into_iter()
        .chain([(Dialect::Inworld, "/tts/v1/voice:stream")])
    {
        writeln!(table, "# {dialect} {path}").expect("text");
        for kind in kinds {
            let response = dialect.refuse(&Denial::new(kind), context(path));
            let header = |name| {
                let value = response.headers().get(name);
                value.map_or("-", |value| value.to_str().expect("text"))
            };
            let body = std::str::from_utf8(response.body()).expect("text");
            let id = RequestId::new(Duration::ZERO).to_string();
            // Only the time in it is fixed.
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
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write("src/dialect/refusals.golden", &table).expect("to write it");
    }
    let golden = include_str!("refusals.golden");
    for (line, expected) in table.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "if this is meant, set UPDATE_GOLDEN=1");
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}

#[test]
fn retry_after_is_rounded_up_to_whole_seconds() {
    for (wait, expected) in [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
        let denial =
            Denial::new(DenialKind::RateLimited).with_retry_after(Duration::from_millis(wait));
        for dialect in Dialect::ALL {
            let response = dialect.refuse(&denial, context("/"));
            assert_eq!(response.headers()["retry-after"], expected, "{dialect}");
        }
    }
}

#[test]
fn a_grpc_call_is_refused_in_grpcs_form_in_every_dialect() {
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
