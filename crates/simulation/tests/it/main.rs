//! The simulation, small enough for every test run.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod cluster;
mod network;
mod real_redis;
mod scaling;
mod scenarios;
#[path = "../../../limits-redis/src/tests/server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests of the store use the rest of it"
)]
mod server;

use std::thread;
use std::time::{Duration, Instant};

/// Waits for a condition.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "not in time: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
