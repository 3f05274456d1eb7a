//! Copies of the audit trail, before real servers.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use voxgate::audit::log::{Checkpoints, Signer, VerifyOptions, VerifyOutcome, verify};

use super::harness::{
    Certificate, Collector, KEY, Program, Started, Syslog, record, send_raw, serve, wait_until,
};
use super::lifecycle::admin;

/// Longer than anything takes. Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(300);
const TOKEN: &str = "token-of-the-collector-that-is-secret";

async fn upstream() -> SocketAddr {
    serve(Router::new().fallback(any(|| async { "spoken" }))).await
}

/// In memory where there is some: what waits for a disk is shown elsewhere.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

async fn ask(gateway: &Started, key: &str) -> u16 {
    let request = format!(
        "GET /v1/rime-tts HTTP/1.1\r\nHost: tts\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    send_raw(gateway.address, request).await.status
}

/// Asks until the answer is not that the decision could not be put on record in time, which a
/// processor with too much to do may cause at any time. How often it was asked, and the answer.
async fn ask_patiently(gateway: &Started, key: &str) -> (usize, u16) {
    let deadline = Instant::now() + PATIENCE;
    let mut asked = 1;
    loop {
        match ask(gateway, key).await {
            503 => asked += 1,
            status => return (asked, status),
        }
        assert!(Instant::now() < deadline, "never on record in time");
    }
}

async fn metric(gateway: &Started, name: &str) -> u64 {
    let (_, text) = admin(gateway, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    line.trim().parse().unwrap()
}

/// Waits until a metric is `wanted`.
async fn wait_for_metric(gateway: &Started, name: &str, wanted: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(metric(gateway, name).await) {
        assert!(Instant::now() < deadline, "{name} never is as it should be");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_until_ready(gateway: &Started) {
    let deadline = Instant::now() + PATIENCE;
    while admin(gateway, "/readyz").await.0 != 200 {
        assert!(Instant::now() < deadline, "never ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Serves one request that is let in and one that is not, and ends the gateway.
async fn serve_two(gateway: &mut Started) {
    assert_eq!(ask_patiently(gateway, KEY).await.1, 200);
    assert_eq!(ask_patiently(gateway, "nobodys-key").await.1, 401);
    end(gateway).await;
}

async fn end(gateway: &mut Started) {
    gateway.terminate();
    assert!(gateway.exit_status().await.success());
}

/// The lines of the audit log's files, without their chain and the files' own lines.
fn filed(directory: &Path) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let text: String = files
        .iter()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    let lines = text
        .lines()
        .filter(|line| line.starts_with(r#"{"v":1,"seq":"#));
    let mut records: Vec<Value> = lines.map(record).collect();
    for record in &mut records {
        record.as_object_mut().unwrap().remove("chain");
    }
    records
}

fn numbers(records: &[Value]) -> Vec<u64> {
    let number = |record: &Value| record["seq"].as_u64();
    records.iter().filter_map(number).collect()
}

/// Whether each record is there once, and in its place.
#[track_caller]
fn assert_whole(records: &[Value]) {
    let expected: Vec<u64> = (1..=records.len() as u64).collect();
    assert_eq!(numbers(records), expected);
}

#[tokio::test]
async fn syslog_by_datagrams_has_what_standard_output_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let syslog = Syslog::default();
    syslog.read_datagrams(UnixDatagram::bind(&path).unwrap());
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", format!("unix://{}", path.display()))
        .start();
    serve_two(&mut gateway).await;
    wait_until("stop", || {
        syslog
            .records()
            .iter()
            .find(|it| it["event"] == "stop")
            .cloned()
    })
    .await;
    assert_eq!(syslog.records(), gateway.records());
    assert_whole(&syslog.records());
    let priorities: BTreeSet<(String, String, u8)> = syslog
        .messages()
        .into_iter()
        .map(|it| (it.id, it.record["outcome"].to_string(), it.priority))
        .collect();
    // `log audit` is facility 13; 5 is a notice, 6 is informational.
    for (event, outcome, severity) in [
        ("start", "null", 5),
        ("decision", "\"accepted\"", 6),
        ("decision", "\"refused\"", 5),
        ("complete", "null", 6),
        ("stop", "null", 5),
    ] {
        let expected = (event.to_owned(), outcome.to_owned(), 13 * 8 + severity);
        assert!(priorities.contains(&expected), "{priorities:?}");
    }
}

#[tokio::test]
async fn syslog_on_a_local_stream_gets_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let syslog = Syslog::default();
    syslog.serve_lines(&path);
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", format!("unix://{}", path.display()))
        .start();
    serve_two(&mut gateway).await;
    wait_until("stop", || {
        syslog
            .records()
            .iter()
            .find(|it| it["event"] == "stop")
            .cloned()
    })
    .await;
    assert_eq!(syslog.records(), gateway.records());
}

#[tokio::test]
async fn syslog_by_tcp_goes_on_when_the_server_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let syslog = Syslog::default();
    syslog.serve_counted(listener, 1);
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", format!("tcp://{address}"))
        .start();
    // The server takes one message of a connection, and closes it.
    let closed = async |count| {
        wait_until("closed connection", || {
            (syslog.closed() == count).then_some(())
        })
        .await;
    };
    for count in 1..4 {
        closed(count).await;
        assert_eq!(syslog.messages().len(), count);
        assert_eq!(ask(&gateway, "nobodys-key").await, 401);
    }
    closed(4).await;
    assert_whole(&syslog.records());
    end(&mut gateway).await;
}

#[tokio::test]
async fn syslog_by_tls_is_trusted_only_with_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = |name: &str, certificate: &Certificate| {
        let path = directory.path().join(name);
        fs::write(&path, certificate.pem()).unwrap();
        path
    };
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://localhost:{}", listener.local_addr().unwrap().port());
    let syslog = Syslog::default();
    syslog.serve_tls(listener, &certificate);

    let gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", &url)
        .var("VOXGATE_AUDIT_CA_FILE", ca_file("other.pem", &other))
        .start();
    assert_eq!(ask(&gateway, KEY).await, 200);
    wait_for_metric(
        &gateway,
        r#"voxgate_audit_copy_failing{sink="syslog"}"#,
        |it| it == 1,
    )
    .await;
    gateway.wait_for_log("audit sink failed: records are not delivered; retrying");
    drop(gateway);
    assert_eq!(syslog.messages().len(), 0);

    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", &url)
        .var("VOXGATE_AUDIT_CA_FILE", ca_file("own.pem", &certificate))
        .start();
    serve_two(&mut gateway).await;
    wait_until("stop", || {
        syslog
            .records()
            .iter()
            .find(|it| it["event"] == "stop")
            .cloned()
    })
    .await;
    assert_eq!(syslog.records(), gateway.records());
}

#[tokio::test]
async fn a_server_that_says_nothing_to_a_handshake_is_given_up_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::new();
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, certificate.pem()).unwrap();
    // The kernel accepts for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_SYSLOG", format!("tls://localhost:{port}"))
        .var("VOXGATE_AUDIT_CA_FILE", &ca_file)
        .start();
    gateway.wait_for_log("audit sink failed: records are not delivered; retrying");
    assert_eq!(ask(&gateway, KEY).await, 200);
    let syslog = Syslog::default();
    syslog.serve_tls(listener, &certificate);
    gateway.wait_for_log("audit sink recovered: records are delivered again");
    serve_two(&mut gateway).await;
    wait_until("stop", || {
        syslog
            .records()
            .iter()
            .find(|it| it["event"] == "stop")
            .cloned()
    })
    .await;
    assert_eq!(syslog.records(), gateway.records());
}

#[tokio::test]
async fn a_collector_that_is_in_trouble_gets_the_same_batch_again() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let collector = Collector::new(&[(500, None), (429, Some("1")), (429, Some("0"))]);
    let address = serve(collector.router()).await;
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_HTTP", format!("http://{address}/ingest"))
        .var("VOXGATE_AUDIT_HTTP_TOKEN_FILE", &token)
        .start();
    wait_for_metric(
        &gateway,
        r#"voxgate_audit_copies_delivered_total{sink="http"}"#,
        |it| it > 0,
    )
    .await;
    serve_two(&mut gateway).await;
    let batches = collector.batches();
    let statuses: Vec<u16> = batches.iter().map(|(_, status)| *status).collect();
    assert_eq!(statuses[..4], [500, 429, 429, 204], "{statuses:?}");
    for (batch, _) in &batches {
        assert_eq!(batch.headers["content-type"], "application/x-ndjson");
        assert_eq!(batch.headers["authorization"], format!("Bearer {TOKEN}"));
    }
    assert!(
        batches[1..4]
            .iter()
            .all(|(it, _)| it.body == batches[0].0.body)
    );
    assert_eq!(collector.records(), gateway.records());
    assert_whole(&collector.records());
    assert!(!gateway.printed().contains(TOKEN));
}

#[tokio::test]
async fn a_collector_that_refuses_a_batch_has_lost_it() {
    let collector = Collector::new(&[(400, None)]);
    let address = serve(collector.router()).await;
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_HTTP", format!("http://{address}/ingest"))
        .start();
    wait_for_metric(
        &gateway,
        r#"voxgate_audit_copies_lost_total{sink="http"}"#,
        |it| it == 1,
    )
    .await;
    assert_eq!(
        metric(&gateway, r#"voxgate_audit_copy_failing{sink="http"}"#).await,
        0
    );
    gateway.wait_for_log("refuses audit records");
    serve_two(&mut gateway).await;
    let all = gateway.records();
    assert_eq!(collector.records(), all[1..], "all but the start");
}

#[tokio::test]
async fn a_collector_by_tls_gets_its_batches() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::new();
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, certificate.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = certificate.config();
    // One answer is enough to see that the connection is one.
    let request = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let connection = ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
        let mut request = Vec::new();
        while !request.ends_with(b"}\n") {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&buffer[..read]);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        stream.flush().unwrap();
        String::from_utf8(request).unwrap()
    });
    let gateway = Program::validating(upstream().await)
        .var(
            "VOXGATE_AUDIT_HTTP",
            format!("https://localhost:{port}/ingest"),
        )
        .var("VOXGATE_AUDIT_CA_FILE", &ca_file)
        .start();
    let request = request.await.unwrap();
    assert!(
        request.starts_with("POST /ingest HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains(r#""event":"start""#), "{request}");
    wait_for_metric(
        &gateway,
        r#"voxgate_audit_copies_delivered_total{sink="http"}"#,
        |it| it == 1,
    )
    .await;
}

/// A server of datagrams that does not read them.
fn stuck(directory: &Path) -> (UnixDatagram, String) {
    let path = directory.join("log");
    let url = format!("unix://{}", path.display());
    (UnixDatagram::bind(path).unwrap(), url)
}

#[tokio::test]
async fn a_stuck_syslog_sink_delays_nothing_and_its_losses_are_counted() {
    let directory = scratch();
    let (_socket, url) = stuck(directory.path());
    let files = directory.path().join("audit");
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT", "durable")
        .var("VOXGATE_AUDIT_DIR", &files)
        .var("VOXGATE_AUDIT_STDOUT", "true")
        .var("VOXGATE_AUDIT_SYSLOG", url)
        .start();
    wait_for_metric(
        &gateway,
        r#"voxgate_audit_copy_failing{sink="syslog"}"#,
        |it| it == 0,
    )
    .await;
    let mut asked = 0;
    // What a socket takes unread differs from one system to the next.
    while asked < 50 || metric(&gateway, r#"voxgate_audit_copy_failing{sink="syslog"}"#).await == 0
    {
        let (times, status) = ask_patiently(&gateway, KEY).await;
        assert_eq!(status, 200);
        asked += times;
    }
    assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    assert_eq!(metric(&gateway, "voxgate_audit_failing").await, 0);
    end(&mut gateway).await;
    gateway.wait_for_log("audit records were not delivered to a sink");
    let records = filed(&files);
    assert_whole(&records);
    assert_eq!(records.len(), 2 + 2 * asked);
    assert_eq!(
        gateway.records(),
        records,
        "the primary output has all records"
    );
}

#[tokio::test]
async fn a_stuck_required_syslog_sink_is_503_until_it_reads_again() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, url) = stuck(directory.path());
    bound_to(url, |syslog| syslog.read_datagrams(socket)).await;
}

#[tokio::test]
async fn a_stuck_syslog_by_tcp_is_503_as_soon_as_no_more_goes_into_the_connection() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // What is accepted has it from here.
    socket.set_recv_buffer_size(4096).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    bound_to(url, |syslog| syslog.serve_counted(listener, usize::MAX)).await;
}

/// Requires a durable syslog sink whose server reads nothing until it is told to.
async fn bound_to(url: String, read: impl FnOnce(&Syslog)) {
    let directory = scratch();
    let files = directory.path().join("audit");
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT", "durable")
        .var("VOXGATE_AUDIT_DIR", &files)
        .var("VOXGATE_AUDIT_REQUIRED", "file, syslog")
        .var("VOXGATE_AUDIT_SYSLOG", url)
        .start();
    let (_, status) = ask_patiently(&gateway, KEY).await;
    assert_eq!(status, 200, "there is some room");
    let failing = r#"voxgate_audit_copy_failing{sink="syslog"}"#;
    let mut statuses = Vec::new();
    // It is said to fail only a while after nothing goes in any more.
    while metric(&gateway, failing).await == 0 {
        statuses.push(ask(&gateway, KEY).await);
    }
    assert_eq!(statuses[statuses.len() - 2..], [503, 503]);
    assert_eq!(ask(&gateway, KEY).await, 503);
    assert_eq!(admin(&gateway, "/readyz").await.0, 503);

    let syslog = Syslog::default();
    read(&syslog);
    assert_eq!(ask_patiently(&gateway, KEY).await.1, 200);
    wait_until_ready(&gateway).await;
    end(&mut gateway).await;
    let records = filed(&files);
    assert_whole(&records);
    let wanted: BTreeSet<u64> = numbers(&records).into_iter().collect();
    wait_until("the last record", || {
        let copied: BTreeSet<u64> = numbers(&syslog.records()).into_iter().collect();
        (copied == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn checkpoints_are_copied_and_show_that_the_end_of_the_log_was_cut() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let signer = Signer::new("audit", &[7; 32]).unwrap();
    fs::write(&key, signer.expose()).unwrap();
    let collector = Collector::default();
    let address = serve(collector.router()).await;
    let files = directory.path().join("audit");
    let mut gateway = Program::validating(upstream().await)
        .var("VOXGATE_AUDIT_DIR", &files)
        .var("VOXGATE_AUDIT_SIGNING_KEY_FILE", &key)
        .var("VOXGATE_AUDIT_HTTP", format!("http://{address}/ingest"))
        .var("VOXGATE_AUDIT_REQUIRED", "file,http")
        .start();
    serve_two(&mut gateway).await;
    let (batches, mut copied) = (collector.batches(), collector.records());
    let checkpoint = copied.pop().unwrap();
    assert_eq!(checkpoint["event"], "checkpoint");
    assert_eq!(checkpoint["instance"], copied[0]["instance"]);
    copied.retain(|record| record["event"] != "checkpoint");
    assert_eq!(copied, filed(&files));
    // The output of the sink is a file of checkpoints.
    let text: String = batches.into_iter().map(|(batch, _)| batch.body).collect();
    let mut options = VerifyOptions::default();
    options.checkpoints = Some(Checkpoints::parse(&text).unwrap());
    options.keys = vec![signer.verifier()];
    let report = verify(&files, &options, &mut |_| ());
    assert_eq!(report.outcome, VerifyOutcome::Whole);
    assert!(report.compared > 0);
    let file = files.join("audit-000000000001.jsonl");
    let lines = fs::read_to_string(&file).unwrap();
    let cut: String = lines.split_inclusive('\n').take(3).collect();
    fs::write(&file, cut).unwrap();
    let report = verify(&files, &options, &mut |_| ());
    assert!(
        matches!(report.outcome, VerifyOutcome::Cut(_)),
        "{report:?}"
    );
    // The log alone does not tell.
    options.checkpoints = None;
    let report = verify(&files, &options, &mut |_| ());
    assert_eq!(report.outcome, VerifyOutcome::Whole);
}
