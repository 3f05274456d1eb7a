//! A writer that is killed.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

const DIRECTORY: &str = "VOXGATE_TEST_AUDIT_DIRECTORY";
const INSTANCE: &str = "VOXGATE_TEST_AUDIT_INSTANCE";

#[test]
fn a_writer_that_is_killed_has_lost_nothing_that_was_synced() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return write_until_killed(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for start in 0..20_u64 {
        let instance = format!("start-{start}");
        let synced = run_and_kill(directory.path(), &instance, start * 7 % 40);
        let code = check(directory.path()).outcome.exit_code();
        assert!(code == 0 || code == 2, "{code}");
        acknowledged.push((instance, synced));
    }
    drop(Log::open(options(directory.path(), "last"), at(0)).unwrap());
    let report = check_with(directory.path(), &with_key());
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    let found = events(directory.path());
    for (instance, synced) in acknowledged {
        let of_this: Vec<_> = found
            .iter()
            .filter(|(name, _)| *name == instance)
            .cloned()
            .collect();
        assert!(of_this.len() as u64 >= synced, "{instance}: {synced}");
        assert_eq!(of_this, numbered(&instance, of_this.len() as u64));
    }
}

/// Runs this test's own program as a writer, kills it after so many acknowledgements, and says
/// how many lines had been acknowledged by then.
fn run_and_kill(directory: &Path, instance: &str, after: u64) -> u64 {
    let name = "tests::crash::a_writer_that_is_killed_has_lost_nothing_that_was_synced";
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(INSTANCE, instance)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut killed = false;
    let mut seen = 0;
    let mut synced = 0;
    for line in output.lines().map(Result::unwrap) {
        let Some(number) = line.strip_prefix("synced ") else {
            continue;
        };
        // What it said before the signal reached it counts, too.
        synced = number.parse().unwrap();
        seen += 1;
        if seen > after && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    assert!(killed, "{instance} ended by itself");
    child.wait().unwrap();
    synced
}

fn write_until_killed(directory: &Path) {
    let mut its = options(directory, &env::var(INSTANCE).unwrap());
    its.signer = Some(signer());
    its.checkpoint_lines = 10;
    let mut writer = Writer::open(its);
    let mut out = std::io::stdout();
    // Longer than anybody waits for.
    for round in 0..100_000 {
        writer.batch(round % 13).unwrap();
        let now = writer.now();
        writer.log.sync(now).unwrap();
        writeln!(out, "\nsynced {}", writer.seq).unwrap();
    }
}
