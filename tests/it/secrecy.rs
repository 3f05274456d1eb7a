//! Logs, `Debug`, errors and answers contain no secret.
//!
//! Each test collects all output, and checks that it collected some and would find a secret. Then
//! it searches for every secret, for parts of it, and for its digest.

use std::convert::Infallible;
use std::fmt::{Debug, Display, Write as _};
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use voxgate::env::{Environment, Settings};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Caller, Dialect, Digest, Key, KeyRing, Principal,
    RawCredential, Secret, TracingSink, Verify, VerifyOutcome,
};

use crate::refusals::{presented, presenting};
use crate::support::{Asking, DISABLED_KEY, Down, KEY, SCOPED_KEY, WRONG_KEY, ring};

const DEPLOYMENT_KEY: &str = "vexed-quartz-lynx-4715";

/// A part of a secret with this length is also a leak, because it makes guessing easier.
const PART: usize = 10;

/// The collected output.
#[derive(Clone, Default)]
struct Evidence(Arc<Mutex<Vec<u8>>>);

impl Evidence {
    fn debug(&self, value: &impl Debug) {
        self.text(&format!("{value:?} {value:#?}"));
    }

    fn display(&self, value: &impl Display) {
        self.text(&format!("{value} {value:#}"));
    }

    fn text(&self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(b"\n");
    }

    fn bytes(&self, bytes: &[u8]) {
        self.0.lock().expect("a sane lock").extend_from_slice(bytes);
    }

    fn read(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("a sane lock")).into_owned()
    }

    /// Runs `work` and collects all events and spans of every level, as text and as JSON.
    fn of_logs(&self, work: impl FnOnce()) {
        let subscriber = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_writer(self.clone()))
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .with_writer(self.clone()),
            );
        tracing::subscriber::with_default(subscriber, work);
    }

    /// `telling` are texts that are present only if collecting works.
    fn holds_no_secret(&self, telling: &[&str]) {
        let evidence = self.read();
        for text in telling {
            assert!(evidence.contains(text), "{text} was not collected");
        }
        if let Some(found) = leak(&evidence) {
            panic!("{found} is in:\n{evidence}");
        }
    }
}

impl io::Write for Evidence {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Evidence {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Returns the first secret, part of a secret or digest of a secret in `text`.
fn leak(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    for secret in [KEY, SCOPED_KEY, DISABLED_KEY, WRONG_KEY, DEPLOYMENT_KEY] {
        let sha256 = hex(&Sha256::digest(secret));
        let bytes = format!("{:?}", Sha256::digest(secret).as_slice());
        let parts = secret.as_bytes().windows(PART);
        let parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
        let bytes_of_digest = bytes.trim_matches(['[', ']']).to_owned();
        for form in parts.chain([sha256[..32].to_owned(), bytes_of_digest]) {
            if lower.contains(&form) {
                return Some(form);
            }
        }
    }
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs a future on this thread, on which the test's subscriber is active.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn a_planted_secret_is_found() {
    for secret in [KEY, SCOPED_KEY, DISABLED_KEY, WRONG_KEY, DEPLOYMENT_KEY] {
        let plain = secret.to_owned();
        let upper = secret.to_uppercase();
        let part = secret[secret.len() - PART..].to_owned();
        let digest = hex(&Sha256::digest(secret));
        let bytes = format!("{:?}", Sha256::digest(secret));
        for planted in [plain, upper, part, digest.to_uppercase(), digest, bytes] {
            let evidence = Evidence::default();
            evidence.of_logs(|| tracing::trace!(planted, "an unwary line"));
            assert!(leak(&evidence.read()).is_some(), "{planted}");
            let evidence = Evidence::default();
            evidence.of_logs(|| {
                let span = tracing::trace_span!("an unwary span", planted);
                span.in_scope(|| tracing::trace!("a line"));
            });
            assert!(leak(&evidence.read()).is_some(), "{planted}");
        }
    }
    assert_eq!(leak("decision accepted ok"), None);
}

/// Collects the records and the output of [`TracingSink`].
struct Showing(Evidence);

impl AuditSink for Showing {
    fn record(&self, record: &AuditRecord<'_>) {
        self.0.debug(record);
        if let AuditRecord::Decision(decision) = record {
            decision.denial.inspect(|denial| self.0.display(denial));
        }
        TracingSink.record(record);
    }
}

/// Sends every form of credential and collects all output.
async fn converse<V: Verify>(layer: AuthLayer<V>, evidence: &Evidence) {
    let handler = |request: Request<()>| async move {
        // Log the request, as a careless handler might do.
        tracing::trace!(headers = ?request.headers(), "called");
        let caller = request.extensions().get::<Caller>().cloned();
        tracing::trace!(?caller, "let in");
        Ok::<_, Infallible>(Response::new("spoken".to_owned()))
    };
    let layer = layer.with_audit_sink(Showing(evidence.clone()));
    evidence.debug(&layer);
    let mut service = layer.layer(service_fn(handler));
    evidence.debug(&service);
    let mut forms: Vec<_> = presented().into_iter().map(|(_, values)| values).collect();
    forms.push(vec![format!("Bearer {SCOPED_KEY}").into_bytes()]);
    for values in forms {
        let mut request = presenting(&values);
        *request.uri_mut() = format!("/v1/rime-tts?api_key={KEY}")
            .parse()
            .expect("a path");
        let ready = service.ready().await.expect("a ready service");
        let answer = ready.call(request);
        evidence.debug(&answer);
        let response = answer.await.expect("an answer");
        evidence.debug(&response);
        evidence.debug(&response.headers());
        evidence.debug(response.body());
        let body = response.into_body().collect().await.expect("a whole body");
        evidence.bytes(&body.to_bytes());
    }
}

#[test]
fn requests_leave_no_secret() {
    for dialect in [Dialect::Bearer, Dialect::Rime] {
        let evidence = Evidence::default();
        evidence.of_logs(|| {
            block_on(async {
                converse(AuthLayer::new(ring()).with_dialect(dialect), &evidence).await;
                converse(
                    AuthLayer::new(Asking(ring())).with_dialect(dialect),
                    &evidence,
                )
                .await;
                for at_once in [true, false] {
                    let down = AuthLayer::new(Down { at_once });
                    converse(down.with_dialect(dialect), &evidence).await;
                }
                converse(AuthLayer::preconfigured().with_dialect(dialect), &evidence).await;
            });
        });
        evidence.holds_no_secret(&[
            "voxgate::audit",
            "\"event\":\"decision\"",
            "\"event\":\"complete\"",
            "accepted",
            "missing_credential",
            "malformed_credential",
            "conflicting_credentials",
            "unknown_credential",
            "disabled_credential",
            "no_rule",
            "unavailable",
            "deployment_key",
            "AuthFuture",
            "AuthBody",
            "\"authorization\": Sensitive",
        ]);
    }
}

#[test]
fn values_show_no_secret() {
    let evidence = Evidence::default();
    let secret = Secret::new(KEY).expect("a valid secret");
    let key = Key::from_secret(&secret, Principal::new("ivr").with_label("IVR"));
    evidence.debug(&secret);
    evidence.debug(&secret.digest());
    evidence.debug(&Digest::of(KEY.as_bytes()));
    evidence.debug(&RawCredential::new(KEY.as_bytes()));
    evidence.debug(&RawCredential::new(KEY.as_bytes()).digest());
    evidence.debug(&key);
    evidence.debug(&ring());
    evidence.debug(&ring().verify(RawCredential::new(KEY.as_bytes())));
    evidence.debug(&ring().verify(RawCredential::new(WRONG_KEY.as_bytes())));
    let denial = match ring().verify(RawCredential::new(DISABLED_KEY.as_bytes())) {
        VerifyOutcome::Ready(Err(denial)) => denial,
        other => panic!("a disabled key is refused at once: {other:?}"),
    };
    evidence.debug(&denial);
    evidence.display(&denial);
    let mut headers = http::HeaderMap::new();
    for dialect in Dialect::ALL {
        let key = Secret::new(DEPLOYMENT_KEY).expect("a valid secret");
        dialect.add_deployment_key(&key, &mut headers);
        evidence.debug(&headers);
    }
    for bad in [format!("{KEY} {KEY}"), KEY.repeat(1000), format!("{KEY}\n")] {
        let error = Secret::new(&bad).expect_err("an invalid secret");
        evidence.debug(&error);
        evidence.display(&error);
    }
    let twice = KeyRing::new([
        key.clone(),
        Key::from_secret(&secret, Principal::new("too")),
    ]);
    let error = twice.expect_err("one secret twice");
    evidence.debug(&error);
    evidence.display(&error);
    let unknown = KEY.parse::<Dialect>().expect_err("no dialect");
    evidence.debug(&unknown);
    evidence.display(&unknown);
    evidence.holds_no_secret(&[
        "Secret(..)",
        "Digest(..)",
        "RawCredential(..)",
        "same secret",
        "ivr",
    ]);
}

/// Reads settings like `AuthLayer::from_env` and collects all output.
fn configure(evidence: &Evidence, environment: &Environment) -> bool {
    evidence.debug(environment);
    match Settings::from_environment(environment) {
        Ok(settings) => {
            evidence.debug(&settings);
            for notice in settings.notices() {
                evidence.debug(notice);
                evidence.display(notice);
            }
            evidence.debug(&settings.deployment_key());
            evidence.debug(&settings.into_layer());
            true
        }
        Err(error) => {
            evidence.debug(&error);
            evidence.display(&error);
            for problem in error.problems() {
                evidence.debug(problem);
            }
            false
        }
    }
}

#[test]
fn settings_show_no_secret() {
    let evidence = Evidence::default();
    let short = &KEY[..PART];
    let two = format!("{KEY},{WRONG_KEY}");
    let same = format!("{KEY},{KEY}");
    let spaced = format!("{KEY} {KEY}");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &two).expect("to write it");
    let path = file.path().display().to_string();
    let good: [&[(&str, &str)]; 6] = [
        &[("VOXGATE_API_KEYS", &two)],
        &[("VOXGATE_API_KEYS", short)],
        &[("RIME_API_KEY", DEPLOYMENT_KEY)],
        &[("RIME_API_KEY", DEPLOYMENT_KEY), ("SUPERTONE_API_KEY", KEY)],
        &[
            ("VOXGATE_API_KEYS", KEY),
            ("RIME_API_KEY", DEPLOYMENT_KEY),
            ("VOXGATE_MODE", "validate"),
        ],
        &[
            ("VOXGATE_API_KEYS", KEY),
            ("RIME_API_KEY", DEPLOYMENT_KEY),
            ("VOXGATE_MODE", "preconfigured"),
        ],
    ];
    for vars in good {
        let environment = Environment::new(vars.iter().copied(), &[]);
        assert!(configure(&evidence, &environment), "{vars:?}");
    }
    let bad: [&[(&str, &str)]; 15] = [
        &[("VOXGATE_API_KEYS", &same)],
        &[("VOXGATE_API_KEYS", &spaced)],
        &[("VOXGATE_API_KEYS", &spaced), ("RIME_API_KEY", &spaced)],
        &[("RIME_API_KEY", &spaced)],
        &[("RIME_API_KEY", KEY), ("RIME_API_KEY_FILE", &path)],
        &[("RIME_API_KEY_FILE", KEY)],
        &[("VOXGATE_API_KEYS_FILE", KEY)],
        // Two keys on one line.
        &[("VOXGATE_API_KEYS_FILE", &path)],
        // A list of keys is not a keys file.
        &[("VOXGATE_KEYS_FILE", &path)],
        &[("VOXGATE_API_KEYS", KEY), ("VOXGATE_MODE", WRONG_KEY)],
        &[("VOXGATE_API_KEYS", KEY), ("VOXGATE_DIALECT", WRONG_KEY)],
        &[("VOXGATE_API_KEYS", KEY), ("RIME_API_KEY", DEPLOYMENT_KEY)],
        &[("VOXGATE_API_KEY", KEY), ("VOXGATE_KEY", KEY)],
        &[("SUPERTONE_API_KEY", DEPLOYMENT_KEY)],
        &[
            ("RIME_API_KEY", DEPLOYMENT_KEY),
            ("VOXGATE_DIALECT", "bearer"),
            ("VOXGATE_MODE", "preconfigured"),
        ],
    ];
    for vars in bad {
        let environment = Environment::new(vars.iter().copied(), &[]);
        assert!(!configure(&evidence, &environment), "{vars:?}");
    }
    evidence.holds_no_secret(&[
        "VOXGATE_API_KEYS",
        "env-1",
        "can be guessed",
        "is not a setting",
    ]);
}

#[test]
fn a_key_in_the_place_of_a_path_is_not_shown() {
    let evidence = Evidence::default();
    let environment = Environment::new([("VOXGATE_KEYS_FILE", KEY)], &[]);
    assert!(!configure(&evidence, &environment));
    evidence.holds_no_secret(&["VOXGATE_KEYS_FILE", "cannot be read"]);
}

#[cfg(unix)]
#[test]
fn settings_that_are_not_utf_8_show_no_secret() {
    use std::os::unix::ffi::OsStringExt as _;
    let evidence = Evidence::default();
    for name in ["VOXGATE_API_KEYS", "RIME_API_KEY", "VOXGATE_MODE"] {
        let mut value = KEY.as_bytes().to_vec();
        value.push(0xff);
        let value = std::ffi::OsString::from_vec(value);
        assert!(!configure(
            &evidence,
            &Environment::new([(name, value)], &[])
        ));
    }
    evidence.holds_no_secret(&["is not UTF-8 text"]);
}

#[test]
fn errors_of_a_keys_file_show_no_secret() {
    let digest = hex(&Sha256::digest(WRONG_KEY));
    let good = format!(
        "# the keys\n[[key]]\nid = \"ivr\"\nsecret = \"{KEY}\"\nscopes = [\"tts:synthesize\"]\n\n\
         [[key]]\nid = \"old\"\nsha256 = \"{digest}\"\nlabel = \"gone\"\ndisabled = true\n"
    );
    let mut slips: Vec<String> = Vec::new();
    for at in 0..good.len() {
        slips.push(good[..at].to_owned());
        slips.push([&good[..at], &good[at + 1..]].concat());
        for slip in [
            "\"", "'", "=", "[", "]", "{", ".", ",", "\\", "\n", "#", " ", "\u{e9}",
        ] {
            slips.push([&good[..at], slip, &good[at..]].concat());
        }
    }
    for line in [
        format!("{KEY}\n"),
        format!("{KEY} = 1\n"),
        format!("[{KEY}]\n"),
        format!("[[{KEY}]]\n"),
        format!("[[key]]\nid = \"a\"\n{KEY} = \"x\"\n"),
        format!("[[key]]\nid = \"a\"\nsecret = {KEY}\n"),
        format!("[[key]]\nid = \"a\"\nsecret = \"{KEY}\"\nsecret = \"{KEY}\"\n"),
        format!("[[key]]\nid = \"a\"\nsecret = \"{KEY}\\q\"\n"),
        format!("[[key]]\nid = \"a\"\nsecret = \"\"\"{KEY}\n"),
        format!("[[key]]\nid = \"a\"\nsecret = [\"{KEY}\"]\n"),
        format!("[[key]]\nid = \"a b {KEY}\"\nsecret = \"{KEY}\"\n"),
        format!("[[key]]\nid = \"a\"\nsha256 = \"{KEY}\"\n"),
        format!("[[key]]\nid = \"a\"\nsecret = \"{digest}\"\nsha256 = \"{digest}\"\n"),
        format!("[[key]]\nid = \"a\"\nscopes = [\"a {KEY}\"]\nsecret = \"{KEY}\"\n"),
        format!("key = \"{KEY}\"\n"),
        format!("key = [\"{KEY}\"]\n"),
    ] {
        slips.push(line);
    }
    let evidence = Evidence::default();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut refused = 0;
    for slip in &slips {
        std::fs::write(file.path(), slip).expect("to write it");
        match KeyRing::load(file.path(), Dialect::Bearer) {
            Ok(ring) => evidence.debug(&ring),
            Err(error) => {
                refused += 1;
                evidence.debug(&error);
                evidence.display(&error);
                let found = leak(&error.to_string());
                assert_eq!(found, None, "{error} for:\n{slip}");
            }
        }
    }
    assert!(refused > slips.len() / 2, "{refused} of {}", slips.len());
    evidence.holds_no_secret(&["is not TOML", "KeyRing", "unknown field"]);
}
