//! Every reason has its step, its words and its advice, in every dialect.

use std::ffi::OsString;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::{DenialKind, Dialect};

use super::decided::Step;
use super::*;

/// The answer of the command for these arguments and settings.
fn ask(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    match attempt(arguments, settings) {
        Ok(text) => text,
        Err(error) => panic!("{arguments:?}: {error}"),
    }
}

fn attempt(arguments: &[&str], settings: &[(&str, &str)]) -> Result<String, ExplainError> {
    let environment = environment(settings);
    explain(&matches(arguments), &environment, || {
        Settings::from_environment(&environment)
    })
}

fn matches(arguments: &[&str]) -> ArgMatches {
    let line = std::iter::once(&"explain").chain(arguments);
    command().get_matches_from(line)
}

fn environment(settings: &[(&str, &str)]) -> Environment {
    let vars = settings
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let known = ["VOXGATE_AUDIT_DIR", "VOXGATE_CORS_ORIGINS"]
        .map(|variable| voxgate::env::Setting::new("Program", variable, "TEXT", ""));
    let known: &'static [_] = Box::leak(Box::new(known));
    Environment::new(vars, voxgate::env::SETTINGS.iter().chain(known))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

const KEYS: &str = "
    [[key]]\nid = \"all\"\nsecret = \"id:a-key-without-limits-0001\"
    [[key]]\nid = \"reader\"\nsecret = \"id:a-key-with-one-scope-0002\"\nscopes = [\"voices:read\"]
    [[key]]\nid = \"live\"\nsecret = \"id:a-key-for-realtime-00003\"\nkind = \"realtime\"
    [[key]]\nid = \"gone\"\nsecret = \"id:a-key-that-is-gone-00004\"\ndisabled = true
    [[key]]\nid = \"old\"\nsecret = \"id:a-key-that-is-old-000005\"\nexpires = 2020-01-01T00:00:00Z
    [[key]]\nid = \"new\"\nsecret = \"id:a-key-that-is-new-000006\"\nnot_before = 2999-01-01T00:00:00Z
    [[key]]\nid = \"cove\"\nsecret = \"id:a-key-with-one-voice-0007\"\nvoices = [\"cove\"]
    [[key]]\nid = \"mist\"\nsecret = \"id:a-key-with-one-model-0008\"\nmodels = [\"mist\"]
    [[key]]\nid = \"eng\"\nsecret = \"id:a-key-with-a-language-009\"\nlanguages = [\"eng\"]
    [[key]]\nid = \"near\"\nsecret = \"id:a-key-for-one-network-011\"\nallow_from = [\"10.0.0.0/8\"]
    [[key]]\nid = \"fetch\"\nsecret = \"id:a-key-that-may-speak-0010\"\nscopes = [\"tts:synthesize\"]
";

/// The same rules for every vendor.
const POLICY: &str = "
    [[rule]]\nmethod = \"POST\"\npath = \"/explained\"\nscope = \"tts:synthesize\"\nvoice = \"json:/voice\"
    model = \"json:/model\"\nlanguage = \"json:/language\"\nfetch = \"json:/url\"
    [[rule]]\nmethod = \"GET\"\npath = \"/unseen\"\n
    [[rule]]\nmethod = \"POST\"\npath = \"/managed\"\nscope = \"admin:server\"\nexplicit = true
";

/// A request that is refused, and words of its explanation.
struct Case {
    kind: DenialKind,
    start: [&'static str; 2],
    key: Option<&'static str>,
    body: Option<&'static str>,
    says: &'static str,
}

fn case(
    kind: DenialKind,
    start: [&'static str; 2],
    key: &'static str,
    body: &'static str,
    says: &'static str,
) -> Case {
    Case {
        kind,
        start,
        key: Some(key).filter(|key| !key.is_empty()),
        body: Some(body).filter(|body| !body.is_empty()),
        says,
    }
}

fn cases() -> Vec<Case> {
    use DenialKind as Kind;
    const POST: [&str; 2] = ["POST", "/explained"];
    vec![
        case(
            Kind::AmbiguousPath,
            ["GET", "/a/../b"],
            "all",
            "",
            "dot segments",
        ),
        case(
            Kind::MethodNotAllowed,
            ["TRACE", "/explained"],
            "all",
            "",
            "another method",
        ),
        case(
            Kind::DisabledCredential,
            POST,
            "gone",
            "",
            "voxgate key new",
        ),
        case(
            Kind::ExpiredCredential,
            POST,
            "old",
            "",
            "voxgate key rotate old",
        ),
        case(
            Kind::NotYetValidCredential,
            POST,
            "new",
            "",
            "`not_before` of new",
        ),
        case(
            Kind::InsufficientScope,
            POST,
            "reader",
            "",
            "`tts:synthesize` to reader",
        ),
        case(
            Kind::InsufficientScope,
            ["POST", "/managed"],
            "all",
            "",
            "`admin:server` to all",
        ),
        case(
            Kind::NoRule,
            ["GET", "/explained"],
            "reader",
            "",
            "rule for GET /explained",
        ),
        case(Kind::RealtimeOnly, POST, "live", "", "realtime = true"),
        case(
            Kind::VoiceNotAllowed,
            POST,
            "cove",
            "{\"voice\":\"x\"}",
            "may use: cove",
        ),
        case(Kind::VoiceNotSeen, POST, "cove", "{}", "json:/voice"),
        case(
            Kind::VoiceNotSeen,
            ["GET", "/unseen"],
            "cove",
            "",
            "does not say where the voice is",
        ),
        case(
            Kind::ModelNotAllowed,
            POST,
            "mist",
            "{\"model\":\"x\"}",
            "may use: mist",
        ),
        case(Kind::ModelNotSeen, POST, "mist", "{}", "json:/model"),
        case(
            Kind::LanguageNotAllowed,
            POST,
            "eng",
            "{\"language\":\"x\"}",
            "may use: eng",
        ),
        case(Kind::LanguageNotSeen, POST, "eng", "{}", "json:/language"),
        case(
            Kind::FetchNotAllowed,
            POST,
            "fetch",
            "{\"url\":\"http://a\"}",
            "`tts:fetch` to fetch",
        ),
        case(
            Kind::UnreadableBody,
            POST,
            "cove",
            "not JSON",
            "one document",
        ),
    ]
}

/// Refusals depend on the policy alone, so that they are the same for every vendor's clients.
#[test]
fn the_library_refuses_for_each_reason_in_each_dialect() {
    let (keys, policy) = (file(KEYS), file(POLICY));
    let settings = |dialect: Dialect| {
        vec![
            ("VOXGATE_DIALECT", dialect.as_str()),
            ("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text")),
            ("VOXGATE_POLICY_FILE", policy.path().to_str().expect("text")),
        ]
    };
    for dialect in Dialect::ALL
        .into_iter()
        .filter(|dialect| *dialect != Dialect::Auto)
    {
        let settings = settings(dialect);
        for Case {
            kind,
            start,
            key,
            body,
            says,
        } in cases()
        {
            let body = body.map(file);
            let mut arguments = start.to_vec();
            if let Some(key) = key {
                arguments.extend(["--key", key]);
            }
            if let Some(body) = &body {
                arguments.extend(["--body", body.path().to_str().expect("text")]);
            }
            let text = ask(&arguments, &settings);
            let reason = format!("Refused with the reason {}", kind.as_str());
            assert!(
                text.contains(&reason),
                "{dialect} {start:?} {key:?}: {text}"
            );
            assert!(
                text.contains(says),
                "{dialect} {kind:?} should say {says}: {text}"
            );
            let refusals = text.lines().filter(|line| line.contains(" REFUSED "));
            assert_eq!(refusals.count(), 1, "{dialect}: {text}");
            assert!(!text.contains("a-key-"), "a secret: {text}");
            assert!(
                !text.contains("credential-without-a-secret"),
                "the placeholder: {text}"
            );
        }
        let text = ask(&["POST", "/explained"], &settings);
        assert!(
            text.contains("the reason missing_credential"),
            "{dialect}: {text}"
        );
        let text = ask(&["POST", "/explained", "--key", "all"], &settings);
        assert!(
            text.contains("The request is accepted."),
            "{dialect}: {text}"
        );
    }
}

#[test]
fn the_address_of_the_client_decides_for_a_key_with_networks() {
    let keys = file(KEYS);
    let settings = [("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text"))];
    let request = ["POST", "/v1/rime-tts", "--key", "near"];
    let ask_from = |client| ask(&[&request[..], &["--client", client]].concat(), &settings);
    for client in ["10.1.2.3", "::ffff:10.1.2.3"] {
        let text = ask_from(client);
        assert!(text.contains("The request is accepted."), "{text}");
    }
    for text in [ask_from("203.0.113.7"), ask(&request, &settings)] {
        for said in [
            "Refused with the reason address_not_allowed",
            "near may be used from 10.0.0.0/8 only",
            "to `allow_from` of near",
            "VOXGATE_TRUSTED_PROXIES",
        ] {
            assert!(text.contains(said), "no {said}: {text}");
        }
    }
}

#[test]
fn the_origin_of_a_page_decides_about_its_websockets() {
    let keys = file(KEYS);
    let settings = [
        ("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text")),
        ("VOXGATE_CORS_ORIGINS", "https://app.example"),
    ];
    let request = ["GET", "/ws2", "--key", "all", "--websocket", "--header"];
    let ask_from = |origin| ask(&[&request[..], &[origin]].concat(), &settings);
    let text = ask_from("Origin: https://app.example");
    assert!(text.contains("The request is accepted."), "{text}");
    let text = ask_from("Origin: https://evil.example");
    for said in [
        "Refused with the reason origin_not_allowed",
        "to VOXGATE_CORS_ORIGINS",
        "must not send the header Origin",
    ] {
        assert!(text.contains(said), "no {said}: {text}");
    }
}

/// What the library cannot be brought to decide here is read from the log.
#[test]
fn each_recorded_reason_has_its_step_and_advice_in_each_dialect() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("audit-000000000001.jsonl");
    let mut lines = String::new();
    let mut all = Vec::new();
    for dialect in Dialect::ALL {
        for kind in DenialKind::ALL {
            let id = format!("request-{}", all.len());
            let (outcome, reason) = match Step::of(*kind) {
                Step::Upstream => ("accepted", "ok"),
                _ => ("refused", kind.as_str()),
            };
            lines.push_str(&format!(
                "{{\"v\":1,\"ts\":\"2026-03-14T10:11:12.000000Z\",\"event\":\"decision\",\"outcome\":\"{outcome}\",\
                 \"reason\":\"{reason}\",\"status\":400,\"request_id\":\"{id}\",\"dialect\":\"{dialect}\",\
                 \"key_id\":\"ivr\",\"method\":\"POST\",\"path\":\"/v1/x\"}}\n"
            ));
            if outcome == "accepted" {
                lines.push_str(&format!(
                    "{{\"v\":1,\"ts\":\"2026-03-14T10:11:13.000000Z\",\"event\":\"complete\",\
                     \"request_id\":\"{id}\",\"key_id\":\"ivr\",\"status\":502,\"ended\":\"ok\",\
                     \"failure\":\"{}\"}}\n",
                    kind.as_str()
                ));
            }
            all.push((id, dialect, *kind));
        }
    }
    std::fs::write(&log, lines).expect("written");
    let settings = [(
        "VOXGATE_AUDIT_DIR",
        directory.path().to_str().expect("text"),
    )];
    let environment = environment(&settings);
    for (id, dialect, kind) in &all {
        let lines = voxgate_audit_log::cli::find_request(directory.path(), id).expect("a log");
        let decided = recorded::read(&lines).expect("a decision");
        assert_eq!(decided.denial, Some(*kind), "{dialect}");
        assert_eq!(decided.dialect, dialect.as_str());
        let about = advice::Circumstances {
            decided: &decided,
            dialect: Some(*dialect),
            principal: None,
            rule: None,
        };
        let advice = advice::of(*kind, about);
        let advice =
            advice.unwrap_or_else(|| panic!("no advice for {kind:?}: add it to advice.rs"));
        let ends = |text: &String| text.ends_with('.') && text.len() > 20;
        assert!(
            !advice.is_empty() && advice.iter().all(ends),
            "{kind:?}: {advice:?}"
        );
    }
    // One whole text for each reason.
    for (id, _, kind) in all.iter().take(DenialKind::ALL.len()) {
        let text = recorded::explain(id, &environment, || {
            Settings::from_environment(&environment)
        })
        .expect("an explanation");
        assert!(
            text.contains(&format!("the reason {}", kind.as_str())),
            "{text}"
        );
        assert!(text.contains("To change this:\n- "), "{text}");
    }
    let unknown = recorded::explain("no-such-request", &environment, || {
        Settings::from_environment(&environment)
    });
    let unknown = unknown.expect_err("no such request").to_string();
    assert!(unknown.contains("X-Request-Id"), "{unknown}");
}

#[test]
fn auto_recognizes_the_vendor_of_the_path() {
    let keys = file(KEYS);
    let settings = [
        ("VOXGATE_DIALECT", "auto"),
        ("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text")),
    ];
    let text = ask(&["POST", "/v1/rime-tts", "--key", "all"], &settings);
    assert!(text.contains("rime: callers send"), "{text}");
    let text = ask(&["POST", "/no/vendor/has/this", "--key", "all"], &settings);
    assert!(text.contains("the reason unrecognized_dialect"), "{text}");
    // Several vendors have this path.
    let text = ask(&["GET", "/v1/models", "--key", "reader"], &settings);
    assert!(text.contains("This path fits several vendors: "), "{text}");
}

#[test]
fn no_key_is_needed_where_no_key_is_read() {
    let settings = [
        ("VOXGATE_DIALECT", "rime"),
        ("RIME_API_KEY", "the-deployment-key"),
    ];
    let text = ask(&["POST", "/v1/rime-tts"], &settings);
    assert!(
        text.contains("the mode is preconfigured") && text.contains("is accepted"),
        "{text}"
    );
    let keys = file(KEYS);
    let settings = [
        ("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text")),
        ("VOXGATE_PUBLIC", "GET /health"),
    ];
    let text = ask(&["GET", "/health"], &settings);
    assert!(text.contains("is public and needs no key"), "{text}");
}

#[test]
fn a_wrong_argument_is_named_with_its_fix() {
    let keys = file(KEYS);
    let settings = [("VOXGATE_KEYS_FILE", keys.path().to_str().expect("text"))];
    for (arguments, expected) in [
        (
            &["POST", "/x", "--key", "raeder"][..],
            "did you mean `reader`?",
        ),
        (&["POST", "/x", "--key", "zzz"], "voxgate key list"),
        (&["POST", "x"], "begin with /"),
        (&["PO ST", "/x"], "is not a method"),
        (&["POST", "/x", "--header", "no colon"], "is not a header"),
        (
            &["POST", "/x", "--body", "/no/such/file"],
            "cannot read /no/such/file",
        ),
        (&["--request-id", "x"], "VOXGATE_AUDIT_DIR"),
    ] {
        let error = attempt(arguments, &settings)
            .expect_err("wrong")
            .to_string();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
