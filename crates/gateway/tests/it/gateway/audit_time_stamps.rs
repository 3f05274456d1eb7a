//! Checkpoints of the audit log that a real time-stamp authority confirms: `openssl ts` behind a
//! small HTTP server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use tempfile::TempDir;
use voxgate::audit::log::{Log, LogOptions, Signer, TimeStamp};

use super::audit_log::{Logged, PATIENCE, ask, ask_patiently, segments, until_ready, upstream};
use super::harness::{KEY, Program, Started, serve};
use super::lifecycle::admin;

const CONFIGURATION: &str = "
[ req ]
distinguished_name = name
[ name ]
[ ca ]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[ stamps ]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[ tsa ]
default_tsa = this
[ this ]
serial = ./serial
signer_cert = ./tsa.pem
signer_key = ./tsa.key
certs = ./ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
";

/// A time-stamp authority that can be told to fail.
struct Authority {
    directory: TempDir,
    fails: AtomicBool,
    hangs: AtomicBool,
}

impl Authority {
    /// `None` without openssl.
    fn new() -> Option<Arc<Self>> {
        if Command::new("openssl").arg("version").output().is_err() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
            let added = Command::new(script)
                .args([
                    "add",
                    "time stamps of the gateway",
                    "openssl is not installed",
                ])
                .status();
            assert!(added.unwrap().success());
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("tsa.cnf"), CONFIGURATION).unwrap();
        fs::write(directory.path().join("serial"), "01\n").unwrap();
        let this = Self {
            directory,
            fails: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        };
        for name in ["ca", "tsa"] {
            let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
            let curve = "ec_paramgen_curve:P-256";
            this.openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                curve,
                "-out",
                &key,
            ]);
            let subject = format!("/CN=Test {name}");
            this.openssl(&[
                "req", "-new", "-config", "tsa.cnf", "-subj", &subject, "-key", &key, "-out",
                &request,
            ]);
        }
        let sign = [
            "x509",
            "-req",
            "-days",
            "2",
            "-extfile",
            "tsa.cnf",
            "-extensions",
        ];
        let ca = [
            "ca", "-in", "ca.csr", "-out", "ca.pem", "-signkey", "ca.key",
        ];
        this.openssl(&[&sign[..], &ca].concat());
        let tsa = [
            "stamps",
            "-in",
            "tsa.csr",
            "-out",
            "tsa.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
        ];
        this.openssl(&[&sign[..], &tsa].concat());
        Some(Arc::new(this))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .current_dir(self.directory.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    async fn serve(self: &Arc<Self>) -> String {
        let this = Arc::clone(self);
        let answer = move |headers: HeaderMap, body: Bytes| {
            let this = Arc::clone(&this);
            async move { this.answer(&headers, &body).await }
        };
        let address = serve(Router::new().route("/tsr", post(answer))).await;
        format!("http://{address}/tsr")
    }

    async fn answer(&self, headers: &HeaderMap, query: &[u8]) -> Response {
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.fails.load(Ordering::Relaxed) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        assert_eq!(headers[header::CONTENT_TYPE], "application/timestamp-query");
        fs::write(self.path("query"), query).unwrap();
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "tsa.cnf",
            "-queryfile",
            "query",
            "-out",
            "answer",
        ]);
        let kind = [(header::CONTENT_TYPE, "application/timestamp-reply")];
        (kind, fs::read(self.path("answer")).unwrap()).into_response()
    }
}

/// A signing key, as `voxgate audit keygen` makes it.
fn keys(directory: &Path) -> (PathBuf, String) {
    let path = directory.join("audit.key");
    let (code, public, _) = Program::new(&["audit", "keygen", path.to_str().unwrap()]).run();
    assert_eq!(code, Some(0));
    (path, public.trim().to_owned())
}

fn own_lines(directory: &Path, event: &str) -> Vec<Value> {
    let text = segments(directory)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let lines: Vec<Value> = text
        .collect::<String>()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines
        .into_iter()
        .filter(|line| line["event"] == event)
        .collect()
}

async fn until_stamped(directory: &Path, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while own_lines(directory, "time_stamp").len() < count {
        assert!(Instant::now() < deadline, "never stamped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn count(gateway: &Started, metric: &str) -> u64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric));
    line.expect("the metric").trim().parse().unwrap()
}

fn verify(directory: &Path, public: &str, authority: Option<&Authority>) -> (Option<i32>, String) {
    let directory = directory.to_str().unwrap();
    let mut arguments = vec!["audit", "verify", "--pubkey", public, directory];
    let ca = authority.map(|authority| authority.path("ca.pem"));
    if let Some(ca) = &ca {
        arguments.extend(["--tsa-ca", ca.to_str().unwrap()]);
    }
    let (code, text, _) = Program::new(&arguments).run();
    (code, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchored_log_that_is_rewritten_with_the_stolen_key_is_found() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let url = authority.serve().await;
    let logged = Logged::new();
    let (key, public) = keys(logged.path().parent().unwrap());
    let gateway = logged
        .gateway(upstream().await, "durable")
        .var("VOXGATE_AUDIT_SIGNING_KEY_FILE", &key)
        .var("VOXGATE_AUDIT_TSA_URL", &url)
        .var("VOXGATE_AUDIT_TSA_INTERVAL", "1s");
    let mut gateway = gateway.start();
    ask_patiently(&gateway, KEY).await;
    until_stamped(&logged.path(), 1).await;
    assert!(count(&gateway, "voxgate_audit_time_stamps_total").await >= 1);
    assert_eq!(
        count(&gateway, "voxgate_audit_time_stamp_failures_total").await,
        0
    );
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let (code, text) = verify(&logged.path(), &public, Some(&authority));
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.contains("1 time stamps are valid; the last one covers"),
        "{text}"
    );

    // The thief has the key, and the time stamps that are in the log.
    let signer = Signer::parse(fs::read_to_string(&key).unwrap().trim()).unwrap();
    let stamp = own_lines(&logged.path(), "time_stamp").remove(0);
    let token = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        stamp["token"].as_str().unwrap(),
    );
    let origin = own_lines(&logged.path(), "segment_open")[0]["origin"]
        .as_str()
        .unwrap()
        .to_owned();
    for with_token in [true, false] {
        let forged = logged.path().with_extension(format!("forged-{with_token}"));
        let (notes, taken) = std::sync::mpsc::channel();
        let (stamps, arrived) = std::sync::mpsc::channel();
        let mut options = LogOptions::new(&forged, "0123456789abcdef", &origin);
        options.signer = Some(signer.clone());
        options.least_space_bytes = 0;
        options.on_synced_checkpoint =
            Some(Box::new(move |note| notes.send(note.to_owned()).unwrap()));
        options.time_stamps = Some(arrived);
        let now = SystemTime::now();
        let (mut log, _) = Log::open(options, now).unwrap();
        let line = br#"{"v":1,"seq":1,"ts":"2026-11-21T15:02:16.000000Z","instance":"0123456789abcdef","event":"start"}"#;
        log.append(&[line], now).unwrap();
        log.sync(now).unwrap();
        if with_token {
            let note = taken.try_iter().last().unwrap();
            let token = token.clone().unwrap();
            stamps.send(TimeStamp { note, token }).unwrap();
        }
        log.tick(now).unwrap();
        log.close(now).unwrap();
        let (code, text) = verify(&forged, &public, None);
        assert_eq!(code, Some(6), "the key does not tell: {text}");
        let (code, text) = verify(&forged, &public, Some(&authority));
        assert_eq!(code, Some(1), "{with_token}: {text}");
        let why = match with_token {
            true => "the time stamp is not of this checkpoint",
            false => "no time stamp covers this checkpoint",
        };
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_fails_is_asked_again_and_delays_nothing() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let url = authority.serve().await;
    let logged = Logged::new();
    let (key, public) = keys(logged.path().parent().unwrap());
    authority.fails.store(true, Ordering::Relaxed);
    let gateway = logged
        .gateway(upstream().await, "durable")
        .var("VOXGATE_AUDIT_SIGNING_KEY_FILE", &key)
        .var("VOXGATE_AUDIT_TSA_URL", &url);
    let mut gateway = gateway.start();
    ask_patiently(&gateway, KEY).await;
    gateway.wait_for_log("audit checkpoints are not time-stamped");
    assert!(count(&gateway, "voxgate_audit_time_stamp_failures_total").await >= 1);
    // It answers no more at all, and requests go on: their records do not wait for it.
    authority.hangs.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        ask_patiently(&gateway, KEY).await;
    }
    until_ready(&gateway).await;
    assert_eq!(ask(&gateway, "wrong").await.0, 401);
    assert!(own_lines(&logged.path(), "time_stamp").is_empty());
    authority.fails.store(false, Ordering::Relaxed);
    authority.hangs.store(false, Ordering::Relaxed);
    until_stamped(&logged.path(), 1).await;
    gateway.wait_for_log("audit checkpoints are time-stamped again");
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let (code, text) = verify(&logged.path(), &public, Some(&authority));
    assert_eq!(code, Some(6), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_time_stamps_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    for (vars, expected) in [
        (
            vec![
                ("VOXGATE_AUDIT_DIR", "audit"),
                ("VOXGATE_AUDIT_TSA_URL", "tsa.example"),
                ("VOXGATE_AUDIT_TSA_INTERVAL", "0s"),
            ],
            vec![
                "VOXGATE_AUDIT_TSA_URL: has no effect without VOXGATE_AUDIT_SIGNING_KEY_FILE",
                "VOXGATE_AUDIT_TSA_URL: must be a URL such as https://tsa.example/",
                "VOXGATE_AUDIT_TSA_INTERVAL: must be from 1s to 1day",
            ],
        ),
        (
            vec![("VOXGATE_AUDIT_TSA_URL", "http://user@tsa.example")],
            vec![
                "VOXGATE_AUDIT_TSA_URL: has no effect without VOXGATE_AUDIT_DIR",
                "VOXGATE_AUDIT_TSA_URL: must be a URL such as",
            ],
        ),
        (
            vec![("VOXGATE_AUDIT_TSA_INTERVAL", "1m")],
            vec!["VOXGATE_AUDIT_TSA_INTERVAL: has no effect without VOXGATE_AUDIT_TSA_URL"],
        ),
    ] {
        let mut program = Program::validating("127.0.0.1:9");
        for (name, value) in vars {
            program = match name {
                "VOXGATE_AUDIT_DIR" => program.var(name, directory.path().join(value)),
                _ => program.var(name, value),
            };
        }
        let (code, _, error) = program.run();
        assert_eq!(code, Some(64), "{error}");
        for line in expected {
            assert!(error.contains(line), "{line} is missing in:\n{error}");
        }
    }
}
