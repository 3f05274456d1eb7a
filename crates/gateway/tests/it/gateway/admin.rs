//! The admin listener under clients that ask much, or nothing.

use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{KEY, Program, Started, send_raw, serve, wait_until};
use super::lifecycle::admin;

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n";

/// A gateway with so many keys that each has metrics: it was used once, and refused.
async fn with_metrics_of(keys: usize) -> Started {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.toml");
    let keys: Vec<String> = (0..keys).map(|number| format!("{KEY}-{number}")).collect();
    let text: String = keys
        .iter()
        .enumerate()
        .map(|(number, key)| {
            format!("[[key]]\nid = \"caller-with-a-long-name-{number}\"\nsecret = \"{key}\"\n")
        })
        .collect();
    std::fs::write(&file, text).unwrap();
    let gateway = Program::gateway(serve(Router::new()).await)
        .var("VOXGATE_KEYS_FILE", &file)
        .var("VOXGATE_METRICS_KEYS", "50")
        .var("VOXGATE_LOG", "info")
        .start();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    for key in keys {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
    }
    gateway
}

/// An answer to a request with a body.
async fn ask(gateway: &Started, start: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{start} HTTP/1.1\r\nHost: admin\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let reply = send_raw(gateway.admin, request).await;
    (reply.status, reply.body)
}

#[tokio::test]
async fn the_log_level_is_changed_and_the_settings_are_shown_without_secrets() {
    let gateway = Program::validating("127.0.0.1:9")
        .var("VOXGATE_LOG", "info")
        .start();
    assert_eq!(
        ask(&gateway, "GET /log-level", "").await,
        (200, "info\n".to_owned())
    );
    let (status, said) = ask(&gateway, "PUT /log-level", "inof").await;
    assert!(
        status == 400 && said.contains("did you mean `info`?"),
        "{said}"
    );
    assert!(!gateway.printed().contains("\"level\":\"DEBUG\""));
    assert_eq!(
        ask(&gateway, "PUT /log-level", "debug\n").await,
        (200, "debug\n".to_owned())
    );
    gateway.wait_for_log("the level of the log was changed");
    // A client that breaks its connection is worth a line at the level `debug`.
    TcpStream::connect(gateway.address)
        .await
        .unwrap()
        .write_all(b"\r\0")
        .await
        .unwrap();
    gateway.wait_for_log("\"level\":\"DEBUG\"");
    let (status, shown) = ask(&gateway, "GET /config", "").await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let setting = |name: &str| {
        shown["settings"][name]["value"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(status, 200);
    assert_eq!(setting("VOXGATE_API_KEYS"), "(redacted)");
    assert_eq!(setting("VOXGATE_UPSTREAM"), "http://127.0.0.1:9");
    assert_eq!(setting("VOXGATE_LOG"), "debug");
    assert_eq!(setting("VOXGATE_DRAIN_SECONDS"), "30");
    let start = gateway.wait_for_record("start", |record| record["event"] == "start");
    assert_eq!(shown["config"], start["config"]);
}

#[tokio::test]
async fn records_have_as_much_of_an_address_as_the_settings_say() {
    let mut pseudonyms = Vec::new();
    for mode in ["prefix", "hash", "hash"] {
        let pepper = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(pepper.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
        let gateway = Program::validating("127.0.0.1:9")
            .var("VOXGATE_AUDIT_ADDRESSES", mode)
            .var("VOXGATE_AUDIT_PEPPER_FILE", pepper.path())
            .start();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(send_raw(gateway.address, request).await.status, 401);
        send_raw(gateway.address, "no request at all\r\n\r\n").await;
        let of = |event: &str| {
            let record = gateway.wait_for_record(event, |record| record["event"] == event);
            record["peer"].as_str().unwrap().to_owned()
        };
        let peer = of("decision");
        assert_eq!(of("rejected"), peer);
        match mode {
            "prefix" => assert_eq!(peer, "127.0.0.0:0"),
            _ => pseudonyms.push(peer),
        }
    }
    assert!(
        pseudonyms[0].starts_with("[100::") && pseudonyms[0] == pseudonyms[1],
        "{pseudonyms:?}"
    );
}

#[tokio::test]
async fn a_start_record_names_the_settings_that_changed() {
    let log = tempfile::tempdir().unwrap();
    let mut changed = Vec::new();
    for level in ["info", "info", "warn,voxgate=info"] {
        let mut gateway = Program::validating("127.0.0.1:9")
            .var("VOXGATE_AUDIT_DIR", log.path())
            .var("VOXGATE_AUDIT_STDOUT", "true")
            .var("VOXGATE_LOG", level)
            .start();
        let start = gateway.wait_for_record("start", |record| record["event"] == "start");
        changed.push(start["changed_settings"].clone());
        gateway.terminate();
        assert!(gateway.exit_status().await.success());
    }
    assert_eq!(
        changed,
        [serde_json::Value::Null, "".into(), "VOXGATE_LOG".into()]
    );
    let (code, _, error) = Program::new(&["audit", "verify"])
        .var("VOXGATE_AUDIT_DIR", log.path())
        .run();
    assert_eq!(code, Some(6), "unchanged, its end not proven: {error}");
}

#[tokio::test]
async fn keys_beyond_the_limit_have_no_metrics_of_their_own() {
    let gateway = with_metrics_of(80).await;
    let (_, metrics) = admin(&gateway, "/metrics").await;
    let decisions = metrics
        .lines()
        .filter(|line| line.starts_with("voxgate_decisions_total{"));
    let (others, own): (Vec<&str>, Vec<&str>) =
        decisions.partition(|line| line.contains("key_id=\"(other)\""));
    assert_eq!(own.len(), 50, "{metrics}");
    assert_eq!(others.len(), 1, "{metrics}");
    assert!(others[0].ends_with(" 30"), "{others:?}");
}

/// A probe is answered, whatever the others do: connections on which nothing is asked, requests that
/// never end, and answers that are not read.
#[tokio::test]
async fn slow_clients_do_not_delay_a_probe() {
    let gateway = with_metrics_of(60).await;
    let mut open = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
        let sent: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /livez HTTP/1.1\r\nHost",
            _ => SCRAPE,
        };
        stream.write_all(sent).await.unwrap();
        open.push(stream);
    }
    // Five seconds is the time limit of a header: far less than it takes for 300 of them in turn.
    for path in ["/livez", "/readyz", "/metrics"] {
        let probe = tokio::time::timeout(Duration::from_secs(5), admin(&gateway, path));
        assert_eq!(probe.await.expect("in time").0, 200, "{path}");
    }
    drop(open);
}

/// As `nc -N` does, whether its end arrives with the request or after it.
#[tokio::test]
async fn a_client_that_closes_its_side_is_answered() {
    let gateway = Program::validating("127.0.0.1:9").start();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
        stream.write_all(SCRAPE).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// The text of the metrics is not kept for each client that does not read it.
#[tokio::test]
async fn unread_metrics_take_no_memory_and_are_given_up() {
    let gateway = with_metrics_of(60).await;
    let files = || gateway.open_files();
    let before = (gateway.memory_kib("VmRSS"), files());
    let scrapes = (0..30).map(async |_| {
        let mut stream = TcpStream::connect(gateway.admin).await.unwrap();
        // Many requests on one connection, whose answers fill the buffers of the system.
        for _ in 0..500 {
            let sent = stream.write_all(SCRAPE);
            if tokio::time::timeout(Duration::from_millis(200), sent)
                .await
                .is_err()
            {
                break;
            }
        }
        stream
    });
    let open = join_all(scrapes).await;
    assert_eq!(admin(&gateway, "/livez").await.0, 200);
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before.0);
    assert!(grown < 32 * 1024, "{grown} KiB for unread metrics");
    // The connections are closed although their clients stay.
    wait_until("end of the unread scrapes", || {
        (files() <= before.1).then_some(())
    })
    .await;
    drop(open);
}

#[tokio::test]
async fn readiness_says_why_not_check_by_check() {
    let gateway = Program::validating(serve(Router::new()).await)
        .var("VOXGATE_DRAIN_SECONDS", "86400")
        .start();
    let passed = "[+]serving ok\n[+]audit ok\nreadyz check passed\n";
    let verbose = admin(&gateway, "/readyz?verbose").await;
    assert_eq!(verbose, (200, passed.to_owned()));
    let request = "GET /readyz?other=verbose HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(send_raw(gateway.admin, request).await.body, "ready\n");
}
