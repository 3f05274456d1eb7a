//! `kill -9` at any moment leaves a complete file.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use voxgate::{Digest, RawCredential, Verify as _, VerifyOutcome};

use super::{DIGEST, Place};
use crate::skip::can_trace;

const ROUNDS: u32 = 150;
const FLAGS: [&str; 4] = [
    "--label=IVR, production",
    "--scope=a",
    "--expires=90d",
    "--set-label=a=b",
];

/// The lines of an entry made with `FLAGS`, without their values.
const FIELDS: [&str; 8] = [
    "[[key]]", "id", "label", "scopes", "labels", "created", "expires", "sha256",
];

/// Checks that each entry has all its lines.
fn check_entries(text: &str) {
    for entry in text.split("\n\n").skip(1) {
        let fields: Vec<&str> = entry
            .lines()
            .map(|line| line.split(" = ").next().unwrap())
            .collect();
        assert_eq!(fields, FIELDS, "{text}");
    }
    assert!(text.ends_with('\n'));
}

/// The token, if it was printed completely.
fn token(output: &Output) -> Option<String> {
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    out.strip_suffix('\n').map(str::to_owned)
}

#[test]
fn a_kill_at_any_moment_leaves_a_complete_file() {
    let first = format!("# ours\n[[key]]\nid = \"first\"\nsha256 = \"{DIGEST}\"\n");
    let place = Place::with(&first);
    let new = |id: &str| {
        let mut command = place.command(&["new", "--id", id]);
        command
            .args(FLAGS)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let since = Instant::now();
    let mut tokens = vec![token(&new("whole").output().unwrap()).unwrap()];
    let usual = since.elapsed();
    let mut ids = BTreeSet::from(["first".to_owned(), "whole".to_owned()]);
    let mut killed = 0;
    for round in 0..ROUNDS {
        let id = format!("key-{round}");
        let mut child = new(&id).spawn().unwrap();
        // Covers every moment of a run, and some after its end.
        thread::sleep(usual * (round * 7919 % ROUNDS) / ROUNDS * 5 / 4);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        killed += u32::from(!output.status.success());
        tokens.extend(token(&output));
        ids.insert(id);

        let text = place.text();
        assert!(text.starts_with(&first), "{text}");
        check_entries(&text);
        let file = place.keys();
        assert!(
            file.keys()
                .iter()
                .all(|key| ids.contains(key.principal().id()))
        );
        let ring = file.into_ring().unwrap();
        for token in &tokens {
            let verdict = ring.verify(RawCredential::new(token.as_bytes()));
            assert!(
                matches!(verdict, VerifyOutcome::Ready(Ok(_))),
                "round {round}: {text}"
            );
        }
    }
    assert!(killed > 0, "no run was killed");
    // Leftover files do not prevent the next run, which removes them.
    assert!(new("last").status().unwrap().success());
    assert_eq!(place.others(), [""; 0]);
}

/// Runs `voxgate key new` until it enters the `count`th call of `call`, and kills it there.
fn killed_at(place: &Place, id: &str, call: &str, count: u32) -> Output {
    let run = place.command(&["new", "--id", id]);
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
        ])
        .arg(format!("inject={call}:signal=KILL:when={count}"))
        .arg(run.get_program())
        .args(run.get_args())
        .args(FLAGS)
        .env("VOXGATE_KEYS_FILE", place.path());
    command.output().unwrap()
}

#[test]
fn a_kill_at_any_system_call_leaves_a_complete_file() {
    if !can_trace() {
        return;
    }
    let first = format!("# ours\n[[key]]\nid = \"first\"\nsha256 = \"{DIGEST}\"\n");
    let mut seen = BTreeSet::new();
    for (call, most) in [
        ("flock", 1),
        ("unlink", 1),
        ("openat", 14),
        ("fchmod", 1),
        ("write", 3),
        ("fsync", 2),
        ("rename", 1),
        ("close", 14),
        ("exit_group", 1),
    ] {
        for count in 1..=most {
            let place = Place::with(&first);
            let output = killed_at(&place, "new", call, count);
            let text = place.text();
            let (was_killed, is_new) = (!output.status.success(), text != first);
            if is_new {
                assert!(text.starts_with(&first), "{call} {count}: {text}");
                check_entries(&text);
            }
            if let Some(token) = token(&output) {
                assert!(
                    text.contains(&Digest::of(token.as_bytes()).to_hex()),
                    "{call} {count}"
                );
            }
            place.keys();
            seen.insert((was_killed, is_new));
            place.run(&["new", "--id=next"]).token();
            assert_eq!(place.others(), [""; 0], "{call} {count}");
        }
    }
    let expected = [(false, true), (true, false), (true, true)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

/// A token is printed only when its key would survive a power failure.
#[test]
fn the_token_is_printed_after_the_file_is_synced() {
    if !can_trace() {
        return;
    }
    let place = Place::with("");
    for call in ["write", "fsync", "rename"] {
        let run = place.command(&["new", "--id=a"]);
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-P"])
            .arg(place.directory())
            .args(["-P"])
            .arg(place.path())
            .args(["-P"])
            .arg(place.directory().join(".keys.toml.voxgate-next"))
            .args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:error=ENOSPC"),
            ])
            .arg(run.get_program())
            .args(run.get_args())
            .env("VOXGATE_KEYS_FILE", place.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{call}: {output:?}");
        assert!(output.stdout.is_empty(), "{call}: {output:?}");
        assert_eq!(fs::read_to_string(place.path()).unwrap(), "", "{call}");
        assert_eq!(place.others(), [""; 0], "{call}");
    }
}
