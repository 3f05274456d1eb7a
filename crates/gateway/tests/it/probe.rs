//! Runs `voxgate probe` against a real gateway, like `helm test` and health checks.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header::LOCATION};
use axum::routing::{any, get};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_blocking;
use voxgate::Dialect;

use crate::gateway::harness::{KEY, Program, Started, nowhere, serve, serve_raw};

/// A key in a form that every dialect accepts: Inworld's clients need two parts.
const TWO_PARTS: &str = "caller:key-that-is-long-enough";

/// The result of a probe. Its output is searched for both keys.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

/// Runs `voxgate probe` with an empty environment and `input` on its standard input.
async fn probe(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxgate"));
    command.arg("probe").args(arguments).env_clear();
    let input = input.to_owned();
    let output = spawn_blocking(move || {
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = streams.stderr(Stdio::piped()).spawn().unwrap();
        // A probe that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran {
        code: output.status.code(),
        out: text(output.stdout),
        error: text(output.stderr),
    };
    for secret in [KEY, TWO_PARTS, "hunter2"] {
        let shown = format!("{ran:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
    ran
}

/// Checks that a probe exits with `code` after one line that contains `said`.
async fn says(code: i32, said: &str, arguments: &[&str], input: &str) {
    let ran = probe(arguments, input).await;
    assert_eq!((ran.code, ran.error.as_str()), (Some(code), ""), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    assert!(ran.out.contains(said), "{said:?} expected: {ran:?}");
}

fn url(gateway: &Started, path: &str) -> String {
    format!("http://{}{path}", gateway.address)
}

/// A TTS server that answers every path with 404.
async fn empty() -> SocketAddr {
    serve(Router::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_presented_in_the_form_of_each_dialect() {
    let upstream = empty().await;
    for dialect in Dialect::ALL {
        let gateway = Program::gateway(upstream)
            .var("VOXGATE_DIALECT", dialect.as_str())
            .var("VOXGATE_API_KEYS", TWO_PARTS)
            .start();
        let url = url(&gateway, "/");
        let named = ["--url", &url, "--dialect", dialect.as_str(), "--expect"];
        let asked = |expect| [&named[..], &[expect]].concat();
        says(0, "401 Unauthorized, as expected (401)", &asked("401"), "").await;
        let with_key = [&asked("success")[..], &["--key-file", "-"]].concat();
        let let_in = "404 Not Found, as expected (success)";
        says(0, let_in, &with_key, TWO_PARTS).await;
        says(1, "instead of success", &with_key, "nobodys:key-4711").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_form_of_another_dialect_fails() {
    let upstream = empty().await;
    let gateway = Program::validating(upstream)
        .var("VOXGATE_DIALECT", "bearer")
        .start();
    let url = url(&gateway, "/");
    let asked = ["--url", &url, "--expect", "success", "--key-file", "-"];
    for (dialect, code, said) in [
        ("bearer", 0, "404 Not Found, as expected"),
        ("deepgram", 1, "400 Bad Request instead of success"),
        ("azure", 1, "401 Unauthorized instead of success"),
    ] {
        says(
            code,
            said,
            &[&asked[..], &["--dialect", dialect]].concat(),
            KEY,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_succeeds_on_a_route_of_its_policy() {
    let seen: Arc<Mutex<Vec<(Method, Uri, HeaderMap)>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let upstream = Router::new().fallback(any(move |method, uri, headers| async move {
        keep.lock().unwrap().push((method, uri, headers));
        StatusCode::UNPROCESSABLE_ENTITY
    }));
    let mut keys = NamedTempFile::with_suffix(".toml").unwrap();
    write!(
        keys,
        "[[key]]\nid = \"helm-test\"\nsecret = \"{KEY}\"\nscopes = [\"tts:synthesize\"]\n"
    )
    .unwrap();
    let gateway = Program::gateway(serve(upstream).await)
        .var("VOXGATE_KEYS_FILE", keys.path())
        .start();
    let mut key = NamedTempFile::new().unwrap();
    writeln!(key, "{KEY}").unwrap();
    let asked = |url: &str, method: &str| {
        [
            "--url",
            url,
            "--method",
            method,
            "--expect",
            "success",
            "--key-file",
        ]
        .map(str::to_owned)
        .to_vec()
    };
    for (path, method, code, said) in [
        (
            "/elsewhere",
            "GET",
            1,
            "403 Forbidden instead of success: the key",
        ),
        (
            "/v1/rime-tts?speaker=cove",
            "POST",
            0,
            "422 Unprocessable Entity, as expected",
        ),
    ] {
        let mut arguments = asked(&url(&gateway, path), method);
        arguments.push(key.path().to_str().unwrap().to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        says(code, said, &arguments, "").await;
    }
    let seen = seen.lock().unwrap();
    let [(method, uri, headers)] = seen.as_slice() else {
        panic!("one request expected: {seen:?}");
    };
    assert_eq!(
        (method, uri.to_string().as_str()),
        (&Method::POST, "/v1/rime-tts?speaker=cove")
    );
    assert_eq!(headers.get("content-length").unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_error_fails_and_a_redirect_is_not_followed() {
    let moved = || async { (StatusCode::FOUND, [(LOCATION, "http://127.0.0.1:1/")]) };
    let upstream = serve(Router::new().route("/", get(moved))).await;
    let gateway = Program::validating(upstream).start();
    let stdin = ["--expect", "success", "--key-file", "-", "--url"];
    let url = url(&gateway, "/");
    says(
        0,
        "302 Found, as expected",
        &[&stdin[..], &[&url]].concat(),
        KEY,
    )
    .await;

    let (_socket, address) = nowhere();
    let gateway = Program::validating(address).start();
    let url = format!("http://{}/", gateway.address);
    let said = "502 Bad Gateway instead of success: the server could not serve the request";
    says(1, said, &[&stdin[..], &[&url]].concat(), KEY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_checks_readiness() {
    let gateway = Program::validating(empty().await).start();
    let url = format!("http://{}/readyz", gateway.admin);
    let said = format!("GET {url} without a key: 200 OK, as expected (200)");
    says(0, &said, &["--url", &url, "--expect", "200"], "").await;
    let said = "200 OK instead of 503";
    says(1, said, &["--url", &url, "--expect", "503"], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_retries_until_the_server_listens() {
    // Closes the first two connections, as the address of a starting pod may do.
    let connections = Arc::new(Mutex::new(0));
    let count = Arc::clone(&connections);
    let server = serve_raw(move |mut stream| {
        let number = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count
        };
        async move {
            let mut request = [0; 1024];
            if number > 2 && stream.read(&mut request).await.is_ok() {
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let url = format!("http://{server}/");
    let asked = ["--url", &url, "--expect", "204", "--wait"];
    says(1, "no answer: ", &[&asked[..], &["0"]].concat(), "").await;
    assert_eq!(*connections.lock().unwrap(), 1);
    says(
        0,
        "204 No Content, as expected",
        &[&asked[..], &["60"]].concat(),
        "",
    )
    .await;
    assert_eq!(*connections.lock().unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_limits_the_wait_for_an_answer() {
    let silent = serve_raw(|mut stream| async move {
        let mut sink = tokio::io::sink();
        let _ = tokio::io::copy(&mut stream, &mut sink).await;
    })
    .await;
    let url = format!("http://{silent}/");
    let asked = ["--url", &url, "--expect", "success", "--timeout", "1"];
    says(1, "no answer: no answer before the timeout", &asked, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_64_and_shows_no_value() {
    let key = ["--key-file", "-"];
    let good = ["--url", "http://127.0.0.1:1/", "--expect", "success"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    for (arguments, input, named) in [
        (vec!["--url", "http://127.0.0.1:1/"], "", "--expect"),
        (vec!["--expect", "401"], "", "--url"),
        (
            vec!["--url", "http://127.0.0.1:1/", "--expect", "ok"],
            "",
            "`success`",
        ),
        (
            with(&["--ca-file", "/nonexistent"]),
            "",
            "--ca-file has no effect without an https:// URL",
        ),
        (
            with(&["--server-name", "voxgate"]),
            "",
            "--server-name has no effect",
        ),
        (
            vec![
                "--url",
                "https://voxgate/",
                "--expect",
                "401",
                "--ca-file",
                "/nonexistent/ca.crt",
            ],
            "",
            "--ca-file: /nonexistent/ca.crt: cannot be read",
        ),
        (
            vec!["--url", "http://hunter2@voxgate/", "--expect", "401"],
            "",
            "--key-file",
        ),
        (
            vec!["--url", "hunter2", "--expect", "401"],
            "",
            "must be a URL",
        ),
        (
            vec!["--url", "http:///", "--expect", "401"],
            "",
            "must be a URL",
        ),
        (
            vec!["--url", "http://voxgate/a/../b", "--expect", "401"],
            "",
            "not plain",
        ),
        (with(&["--method", "BREW"]), "", "POST"),
        (with(&["--timeout", "0"]), "", "--timeout"),
        (
            with(&["--key-file", "/nonexistent/token"]),
            "",
            "--key-file: cannot read /nonexistent/token",
        ),
        (
            with(&["--key-file", "hunter2"]),
            "",
            "--key-file cannot be read",
        ),
        (with(&key), "", "is empty or blank"),
        (with(&key), "hunter2 hunter2", "contains a space"),
        (
            with(&[key[0], key[1], "--dialect", "auto-tune"]),
            KEY,
            "--dialect is not a known",
        ),
    ] {
        let ran = probe(&arguments, input).await;
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(64), ""),
            "{arguments:?}: {ran:?}"
        );
        assert!(ran.error.contains(named), "{named:?} expected: {ran:?}");
    }
}
