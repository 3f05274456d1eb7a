//! Tests that the machine cannot run.

use std::process::Command;

/// Puts a check on the list of skipped checks, which `make test` prints. In CI, the list is an error
/// unless scripts/skipped.allowed has the check.
pub(crate) fn skip(check: &str, reason: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/skipped.sh");
    let status = Command::new(script).args(["add", check, reason]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "CI must not skip {check}: {reason}"
    );
}

/// Whether strace may trace a process here. If it may not, the test is skipped.
pub(crate) fn can_trace() -> bool {
    let mut tracing = Command::new("strace");
    let tracing = tracing.args(["-qq", "-o", "/dev/null", "true"]).output();
    let can = tracing.is_ok_and(|output| output.status.success());
    if !can {
        skip(
            "tracing system calls",
            "strace is not installed, or it may not trace",
        );
    }
    can
}
