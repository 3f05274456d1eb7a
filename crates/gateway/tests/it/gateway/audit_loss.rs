//! Files of the audit log that are removed, replaced or changed while the gateway runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use voxgate::audit::log::{VerifyOptions, VerifyOutcome, VerifyReport, verify};

use super::audit_log::{
    Callers, Logged, PATIENCE, ask, ask_patiently, segments, until_ready, upstream,
};
use super::harness::{KEY, Program, Started};
use super::lifecycle::admin;

fn check(logged: &Logged) -> VerifyReport {
    verify(&logged.path(), &VerifyOptions::default(), &mut |_| {})
}

/// Every line of the files in a directory that is JSON, in order. A segment that was replaced may
/// contain anything.
fn lines(directory: &Path) -> Vec<Value> {
    let text = segments(directory)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let text: String = text.collect();
    text.lines()
        .filter(|line| line.starts_with("{\"v\":1,"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn decided(lines: &[Value]) -> BTreeMap<String, u64> {
    let decisions = lines.iter().filter(|line| line["event"] == "decision");
    decisions
        .map(|line| {
            let id = line["request_id"].as_str().unwrap().to_owned();
            (id, line["seq"].as_u64().unwrap())
        })
        .collect()
}

async fn lost_segments(gateway: &Started) -> u64 {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("voxgate_audit_segments_lost_total "));
    line.expect("the metric").parse().unwrap()
}

async fn until_lost(gateway: &Started, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while lost_segments(gateway).await < count {
        assert!(Instant::now() < deadline, "it never notices");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The newest segment.
fn current(logged: &Logged) -> std::path::PathBuf {
    segments(&logged.path()).pop().expect("a segment")
}

type Fault = (&'static str, fn(&Logged));

const FAULTS: [Fault; 8] = [
    ("removed", |it| fs::remove_file(current(it)).unwrap()),
    ("removed", |it| {
        let aside = it.path().with_extension("aside");
        fs::rename(current(it), aside).unwrap();
    }),
    ("replaced", |it| {
        let path = current(it);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
    }),
    ("replaced", |it| {
        let path = current(it);
        let aside = it.path().with_extension("linked");
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
    }),
    ("shortened", |it| fs::write(current(it), "").unwrap()),
    ("directory_removed", |it| {
        fs::remove_dir_all(it.path()).unwrap();
    }),
    ("directory_removed", |it| {
        let aside = it.path().with_extension("old");
        fs::rename(it.path(), aside).unwrap();
    }),
    ("directory_replaced", |it| {
        let aside = it.path().with_extension("older");
        fs::rename(it.path(), aside).unwrap();
        fs::create_dir(it.path()).unwrap();
    }),
];

#[tokio::test]
async fn a_file_that_is_gone_is_noticed_with_every_guarantee() {
    let upstream = upstream().await;
    for promise in ["durable", "blocking", "counted"] {
        for (cause, fault) in FAULTS {
            let logged = Logged::new();
            let mut gateway = logged.gateway(upstream, promise).start();
            ask_patiently(&gateway, KEY).await;
            until_ready(&gateway).await;
            // The records of that request are in the file.
            let deadline = Instant::now() + PATIENCE;
            while lines(&logged.path())
                .iter()
                .all(|it| it["event"] != "complete")
            {
                assert!(Instant::now() < deadline, "never written");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fault(&logged);
            let what = format!("{promise} {cause}");
            let mut answered = Vec::new();
            if promise == "durable" {
                // The very next record counts only if it is where it can be found.
                let (_, request_id) = ask_patiently(&gateway, KEY).await;
                assert!(
                    decided(&lines(&logged.path())).contains_key(&request_id),
                    "{what}"
                );
                answered.push(request_id);
            }
            until_lost(&gateway, 1).await;
            gateway.wait_for_log("the audit log lost files");
            gateway.wait_for_log(cause);
            answered.push(ask_patiently(&gateway, KEY).await.1);
            until_ready(&gateway).await;
            gateway.terminate();
            assert_eq!(gateway.exit_status().await.code(), Some(0), "{what}");
            let report = check(&logged);
            let VerifyOutcome::Gap(problem) = &report.outcome else {
                panic!("{what}: {report:#?}");
            };
            assert!(problem.what.contains("the gateway noticed"), "{problem}");
            let all = lines(&logged.path());
            let decided = decided(&all);
            assert!(answered.iter().all(|id| decided.contains_key(id)), "{what}");
            let losses = all.iter().filter(|it| it["event"] == "segments_lost");
            assert_eq!(losses.count(), 1, "{what}");
        }
    }
}

/// The directory is removed, again and again, while requests are answered: each answered request is
/// in a file that is still there, or among those that the log says are lost.
#[tokio::test]
async fn a_directory_removed_under_load_loses_no_answered_request_unsaid() {
    const ROUNDS: usize = 6;
    let logged = Logged::new();
    let upstream = upstream().await;
    let gateway = logged
        .gateway(upstream, "durable")
        .var("VOXGATE_AUDIT_SEGMENT", "8MiB");
    let mut gateway = gateway.start();
    let callers = Callers::start(gateway.address);
    // Links keep what is removed, so that it can be compared.
    let kept = logged.path().with_extension("kept");
    fs::create_dir(&kept).unwrap();
    for round in 1..=ROUNDS {
        let least = callers.answers() + 40;
        let deadline = Instant::now() + PATIENCE;
        while callers.answers() < least {
            assert!(Instant::now() < deadline, "no answers");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for segment in segments(&logged.path()) {
            // What is already linked is a file that this directory had before.
            let _ = fs::hard_link(&segment, kept.join(segment.file_name().unwrap()));
        }
        // A new segment may be made in it meanwhile, and keeps it.
        let _ = fs::remove_dir_all(logged.path());
        until_lost(&gateway, round as u64).await;
    }
    let least = callers.answers() + 40;
    let deadline = Instant::now() + PATIENCE;
    while callers.answers() < least {
        assert!(Instant::now() < deadline, "it never recovers");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let answered: BTreeSet<String> = callers.stop().await.into_iter().collect();
    until_ready(&gateway).await;
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));

    let report = check(&logged);
    assert_eq!(report.outcome.exit_code(), 5, "{report:#?}");
    let here = lines(&logged.path());
    let (on_disk, removed) = (decided(&here), decided(&lines(&kept)));
    // The last directory names what it lost itself, and what earlier ones had on record.
    let losses = here.iter().filter(|it| it["event"] == "segments_lost");
    let lost: Vec<(u64, u64)> = losses
        .map(|it| {
            (
                it["first_seq"].as_u64().unwrap(),
                it["last_seq"].as_u64().unwrap(),
            )
        })
        .collect();
    let is_lost = |seq: &u64| {
        lost.iter()
            .any(|(first, last)| (first..=last).contains(&seq))
    };
    for request_id in &answered {
        let is_said = || removed.get(request_id).is_some_and(is_lost);
        assert!(
            on_disk.contains_key(request_id) || is_said(),
            "{request_id}: neither on disk nor said to be lost: {lost:?}"
        );
    }
    // And every number up to the last is accounted for.
    let seqs: BTreeSet<u64> = here.iter().filter_map(|it| it["seq"].as_u64()).collect();
    let last = *seqs.last().unwrap();
    let unsaid: Vec<u64> = (1..=last)
        .filter(|seq| !seqs.contains(seq) && !is_lost(seq))
        .collect();
    let gaps = here.iter().filter(|it| it["event"] == "gap");
    let gaps: Vec<(u64, u64)> = gaps
        .map(|it| (it["from"].as_u64().unwrap(), it["to"].as_u64().unwrap()))
        .collect();
    let unsaid: Vec<_> = unsaid
        .iter()
        .filter(|seq| !gaps.iter().any(|(from, to)| (from..=to).contains(seq)))
        .collect();
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

/// While nothing can be written where the directory was, each guarantee fails as it says.
#[tokio::test]
async fn a_directory_that_cannot_be_made_again_refuses_requests_until_it_can() {
    let upstream = upstream().await;
    for promise in ["durable", "blocking"] {
        let logged = Logged::new();
        let mut gateway = logged.gateway(upstream, promise).start();
        ask_patiently(&gateway, KEY).await;
        fs::remove_dir_all(logged.path()).unwrap();
        fs::write(logged.path(), "in the way").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while admin(&gateway, "/readyz").await.0 == 200 {
            assert!(Instant::now() < deadline, "{promise}: ready without a log");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if promise == "durable" {
            for _ in 0..3 {
                assert_eq!(ask(&gateway, KEY).await.0, 503);
            }
        }
        gateway.wait_for_log("audit records cannot be written");
        fs::remove_file(logged.path()).unwrap();
        until_ready(&gateway).await;
        let (_, request_id) = ask_patiently(&gateway, KEY).await;
        gateway.terminate();
        assert_eq!(gateway.exit_status().await.code(), Some(0), "{promise}");
        assert_eq!(check(&logged).outcome.exit_code(), 5, "{promise}");
        assert!(decided(&lines(&logged.path())).contains_key(&request_id));
        gateway.wait_for_log("the audit log lost files");
    }
}

/// A file that was renamed and is put back closes the gap: `voxgate audit verify` says so.
#[tokio::test]
async fn the_command_names_the_gap_until_the_file_is_back() {
    let logged = Logged::new();
    let mut gateway = logged.gateway(upstream().await, "durable").start();
    ask_patiently(&gateway, KEY).await;
    let path = current(&logged);
    let aside = logged.path().with_extension("rotated");
    fs::rename(&path, &aside).unwrap();
    ask_patiently(&gateway, KEY).await;
    gateway.terminate();
    assert_eq!(gateway.exit_status().await.code(), Some(0));
    let directory = logged.path().to_str().unwrap().to_owned();
    let verify = || Program::new(&["audit", "verify", &directory]).run();
    let (code, text, _) = verify();
    assert_eq!(code, Some(5), "{text}");
    assert!(
        text.starts_with("incomplete: audit-000000000001.jsonl:1: lines 1 to ")
            && text.contains("the gateway noticed that its file was removed or renamed"),
        "{text}"
    );
    fs::rename(&aside, &path).unwrap();
    let (code, text, _) = verify();
    // Unchanged; without checkpoints from elsewhere, its end is not proven.
    assert_eq!(code, Some(6), "{text}");
}
