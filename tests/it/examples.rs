//! Runs the examples as processes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{DEADLINE, KEY, WRONG_KEY};

/// A running example. It is killed when this is dropped.
struct Example {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Read from the start, because a process blocks when its log pipe is full.
    log: JoinHandle<io::Result<String>>,
}

/// `cargo` places the examples next to the directory of the tests.
fn executable(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    let profile = tests.ancestors().nth(2).expect("the profile's directory");
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(file);
    assert!(
        path.is_file(),
        "{} is missing; build it with `cargo build --examples --all-features`, \
         with the profile of the tests",
        path.display()
    );
    path
}

fn start(name: &str, vars: &[(&str, &str)]) -> Example {
    let mut child = Command::new(executable(name))
        // Remove variables of the developer's environment.
        .env_clear()
        .env("PORT", "0")
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("to start the example");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut stderr = child.stderr.take().expect("a pipe");
    let log = tokio::spawn(async move {
        let mut log = String::new();
        stderr.read_to_string(&mut log).await.map(|_| log)
    });
    Example { child, stdout, log }
}

impl Example {
    /// Returns the text after `prefix` on the next line that begins with it.
    async fn line(&mut self, prefix: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = timeout(DEADLINE, self.stdout.read_line(&mut line)).await;
            let length = read.expect("a line in time").expect("a line of text");
            assert!(length > 0, "no line begins with {prefix:?}");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim_end().to_owned();
            }
        }
    }

    async fn address(&mut self) -> SocketAddr {
        let address = self.line("listening on http://").await;
        address.parse().expect("an address")
    }

    /// Stops the example. Returns the rest of its output and all of its log.
    async fn stop(mut self) -> (String, String) {
        self.child.start_kill().expect("to kill the example");
        self.ended().await.1
    }

    /// Waits for the end of the example.
    async fn ended(mut self) -> (ExitStatus, (String, String)) {
        let mut printed = String::new();
        let all = async {
            let read = self.stdout.read_to_string(&mut printed).await;
            read.expect("a text");
            let log = self.log.await.expect("no panic").expect("a text");
            let status = self.child.wait().await.expect("a status");
            (status, log)
        };
        let (status, log) = timeout(DEADLINE, all).await.expect("an end in time");
        (status, (printed, log))
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("a header of text"))
    }
}

async fn ask(
    method: Method,
    address: SocketAddr,
    path: &str,
    key: Option<&str>,
    json: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if !json.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(json.to_owned())))
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let response: Response<_> = client.request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    };
    timeout(DEADLINE, exchange)
        .await
        .expect("an answer in time")
}

/// The samples of a WAV file with one channel of 16-bit PCM, as its header has it.
fn samples(wav: &[u8]) -> Vec<i16> {
    let number = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().expect("four bytes"));
    let short = |at: usize| u16::from_le_bytes(wav[at..at + 2].try_into().expect("two bytes"));
    let length = u32::try_from(wav.len()).expect("a short file");
    assert_eq!(&wav[..4], b"RIFF");
    assert_eq!(number(4), length - 8, "the length of what follows");
    assert_eq!(&wav[8..16], b"WAVEfmt ");
    assert_eq!(number(16), 16, "the length of the format");
    assert_eq!((short(20), short(22)), (1, 1), "PCM, one channel");
    let rate = number(24);
    assert_eq!(number(28), rate * 2, "bytes a second");
    assert_eq!((short(32), short(34)), (2, 16), "bytes and bits a sample");
    assert_eq!(&wav[36..40], b"data");
    assert_eq!(number(40), length - 44, "the length of the samples");
    wav[44..]
        .chunks_exact(2)
        .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
        .collect()
}

#[tokio::test]
async fn axum_tts_serves_callers_with_a_key() {
    let mut example = start("axum_tts", &[("VOXGATE_API_KEYS", KEY)]);
    let address = example.address().await;
    let speak = |key, json| ask(Method::POST, address, "/v1/rime-tts", key, json);

    let one = speak(Some(KEY), r#"{"text": "hello"}"#).await;
    assert_eq!(
        (one.status, one.header("content-type")),
        (200, Some("audio/wav"))
    );
    let one = samples(&one.body);
    let loudest = one.iter().map(|sample| sample.unsigned_abs()).max();
    assert!(loudest > Some(5000), "{loudest:?} is not audible");
    let three = speak(Some(KEY), r#"{"text": "hello hello world"}"#).await;
    let three = samples(&three.body);
    assert_eq!(three.len(), one.len() * 3, "one tone a word");
    assert_eq!(three[..one.len()], one, "the same word is the same tone");
    assert_ne!(three[one.len() * 2..], one, "another word is another");

    let missing = speak(None, r#"{"text": "hello"}"#).await;
    assert_eq!((missing.status, missing.text()), (401, "missing headers"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    let wrong = speak(Some(WRONG_KEY), r#"{"text": "hello"}"#).await;
    assert_eq!((wrong.status, wrong.text()), (401, "invalid api key"));

    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(501));
    let huge = format!(r#"{{"text": "{}"}}"#, "x".repeat(17 * 1024));
    for (json, word) in [
        (r#"{"text": ""}"#, "500 characters"),
        (r#"{"text": "  "}"#, "500 characters"),
        (&long, "500 characters"),
        (&huge, "length limit"),
        (r#"{"txt": "hello"}"#, "text"),
        ("hello", "JSON"),
        ("", "application/json"),
    ] {
        let answer = speak(Some(KEY), json).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }

    let healthy = ask(Method::GET, address, "/healthz", None, "").await;
    assert_eq!((healthy.status, healthy.text()), (200, "ok"));

    let (_, log) = example.stop().await;
    for told in [
        "decision",
        "event=\"complete\"",
        "env-1",
        "synthesizing",
        "127.0.0.1",
        "/healthz",
    ] {
        assert!(log.contains(told), "{told} is not in the log:\n{log}");
    }
    for secret in [KEY, WRONG_KEY, "hello"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn axum_tts_reports_all_problems_of_its_settings() {
    let vars = [
        ("PORT", "x"),
        ("VOXGATE_MODE", "maybe"),
        ("VOXGATE_API_KEYS", "two words"),
    ];
    let (status, (_, told)) = start("axum_tts", &vars).ended().await;
    assert_eq!(status.code(), Some(64));
    for place in ["PORT: ", "VOXGATE_MODE: ", "VOXGATE_API_KEYS, key 1: "] {
        assert_eq!(
            told.lines().filter(|line| line.starts_with(place)).count(),
            1,
            "{told}"
        );
    }
    assert!(!told.contains("two words"), "{told}");
}

#[tokio::test]
async fn hyper_service_serves_callers_with_its_key() {
    let mut example = start("hyper_service", &[]);
    let key = example.line("key ").await;
    let address = example.address().await;
    let get = |path, key| ask(Method::GET, address, path, key, "");

    let accepted = get("/", Some(key.as_str())).await;
    assert_eq!((accepted.status, accepted.text()), (200, "hello, demo\n"));
    let missing = get("/", None).await;
    assert_eq!(missing.status, 401);
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"voxgate\"")
    );
    assert_eq!(get("/", Some(WRONG_KEY)).await.status, 401);
    assert_eq!(get("/other", Some(&key)).await.status, 403);

    let (rest, log) = example.stop().await;
    assert!(!rest.contains(&key), "the key is printed once");
    assert!(!log.contains(&key), "the key is in the log:\n{log}");
    assert!(
        log.contains("127.0.0.1"),
        "the other end is not in the log:\n{log}"
    );
}

const STORED_KEY: &str = "ivr.a-secret-for-trying-out";

#[tokio::test]
async fn custom_store_accepts_callers_that_the_store_knows() {
    let mut example = start("custom_store", &[]);
    let address = example.address().await;
    // On a busy machine, even this store can time out. Then ask again.
    let get = async |key| {
        let answered = async {
            loop {
                let answer = ask(Method::GET, address, "/", key, "").await;
                if answer.status != 503 {
                    return answer;
                }
            }
        };
        timeout(DEADLINE, answered).await.expect("a store in time")
    };
    let accepted = get(Some(STORED_KEY)).await;
    assert_eq!((accepted.status, accepted.text()), (200, "hello, ivr\n"));
    for key in [
        "ivr.a-guess",
        "ivr.",
        "ivr",
        "nobody.a-secret-for-trying-out",
        ".a-secret-for-trying-out",
        "ivr;ivr.a-secret-for-trying-out",
    ] {
        assert_eq!(get(Some(key)).await.status, 401, "{key}");
    }
    assert_eq!(get(None).await.status, 401);
    let (_, log) = example.stop().await;
    assert!(log.contains("decision"), "{log}");
    assert!(!log.contains("a-secret-for-trying-out"), "{log}");
}

#[tokio::test]
async fn custom_store_refuses_all_callers_when_the_store_is_down() {
    // No process listens on the port of TCPMUX.
    let down = "127.0.0.1:1".to_owned();
    // The system accepts connections to this port, but no process answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let slow = silent.local_addr().expect("its address").to_string();
    for (store, reason) in [(down, "cannot be asked"), (slow, "in time")] {
        let mut example = start("custom_store", &[("STORE_ADDR", &store)]);
        let address = example.address().await;
        for key in [STORED_KEY, "ivr.a-guess"] {
            let answer = ask(Method::GET, address, "/", Some(key), "").await;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), Some("2"));
        }
        // A text that cannot be a key is refused without the store.
        let refused = ask(Method::GET, address, "/", Some("nonsense"), "").await;
        assert_eq!(refused.status, 401);
        let (_, log) = example.stop().await;
        assert!(log.contains(reason), "{log}");
    }
}

#[tokio::test]
async fn custom_store_treats_a_broken_answer_as_unavailable() {
    let broken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = broken.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = broken.accept().await?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"ivr\n").await?;
        }
        #[allow(unreachable_code, reason = "it names the type of the error")]
        io::Result::Ok(())
    });
    let mut example = start("custom_store", &[("STORE_ADDR", &address)]);
    let address = example.address().await;
    let answer = ask(Method::GET, address, "/", Some(STORED_KEY), "").await;
    assert_eq!(answer.status, 503);
    example.stop().await;
}

#[tokio::test]
async fn vendor_door_refuses_in_the_configured_dialect() {
    for (dialect, limited, unknown) in [
        ("rime", "too many requests", "invalid api key"),
        ("bearer", "rate_limited", "invalid_token"),
    ] {
        let vars = [("VOXGATE_DIALECT", dialect), ("VOXGATE_API_KEYS", KEY)];
        let mut example = start("vendor_door", &vars);
        let address = example.address().await;
        let get = |key| ask(Method::GET, address, "/any/path", Some(key), "");

        let accepted = get(KEY).await;
        assert_eq!((accepted.status, accepted.text()), (200, "hello, door-1\n"));
        let refused = get("limited-to-nothing").await;
        assert_eq!(refused.status, 429, "{dialect}");
        assert_eq!(refused.header("retry-after"), Some("1"), "{dialect}");
        assert!(refused.text().contains(limited), "{}", refused.text());
        let refused = get(WRONG_KEY).await;
        assert_eq!(refused.status, 401, "{dialect}");
        assert!(refused.text().contains(unknown), "{}", refused.text());

        let (_, log) = example.stop().await;
        for secret in [KEY, WRONG_KEY, "limited-to-nothing"] {
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        }
    }
    let (status, (_, told)) = start("vendor_door", &[("VOXGATE_DIALECT", "klingon")])
        .ended()
        .await;
    assert_eq!(status.code(), Some(1));
    assert!(told.contains("rime"), "{told}");
}
