//! Standard output and standard error that are slow, full, or read by nobody.

use std::fs::File;
use std::io::Read as _;

use super::harness::{KEY, Program, Started, client};
use super::lifecycle::admin;
use http_body_util::{BodyExt as _, Full};

/// Requests that are let in to an upstream that is down: each is a log line and two records.
async fn ask(gateway: &Started, times: usize) {
    let client = client();
    for _ in 0..times {
        let request = hyper::Request::get(format!("http://{}/", gateway.address))
            .header("authorization", format!("Bearer {KEY}"))
            .body(Full::<hyper::body::Bytes>::default())
            .unwrap();
        let reply = client.request(request).await.unwrap();
        // After a few, the upstream's only address is out.
        assert!([502, 503].contains(&reply.status().as_u16()), "{reply:?}");
        reply.into_body().collect().await.unwrap();
    }
}

async fn metric(gateway: &Started, name: &str) -> u64 {
    let (_, text) = admin(gateway, "/metrics").await;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

fn program() -> Program {
    Program::validating("127.0.0.1:1")
}

#[tokio::test]
async fn a_reader_of_the_log_that_stalls_holds_nothing_up() {
    let (mut gateway, log) = program().start_unheard();
    // A pipe holds 64 KiB; each of these leaves a line of about 200 bytes.
    ask(&gateway, 1000).await;
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    drop(log);
}

#[tokio::test]
async fn records_that_cannot_be_written_are_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut gateway = program().start_into(full);
    ask(&gateway, 5).await;
    // A start, and two for each request; the last may still be under way.
    let mut lost = 0;
    while lost < 11 {
        lost = metric(&gateway, "voxgate_audit_records_lost_total").await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let log = gateway.printed();
    // And one more, for the end.
    assert!(
        log.contains("audit records were not written") && log.contains("\"lost\":12"),
        "{log}"
    );
}

#[tokio::test]
async fn no_record_is_lost_to_an_end_that_a_reader_is_slow_to_follow() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut gateway = program().start_into(writer);
    ask(&gateway, 500).await;
    gateway.terminate();
    // Nobody has read a byte, and what is queued is more than a pipe holds.
    let all = tokio::task::spawn_blocking(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        all
    });
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    assert_eq!(all.await.unwrap().lines().count(), 1 + 2 * 500 + 1);
}
