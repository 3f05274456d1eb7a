//! The time of both clocks, from one reading.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// How long the distance between the clocks is believed. A step of the wall clock is noticed after it.
const BELIEVED: Duration = Duration::from_millis(10);

thread_local! {
    /// When both clocks were last read on this thread.
    static READ: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// The monotonic time and the wall-clock time. Under load, one clock is read instead of two: the
/// other one follows from the last time at which both were read.
pub(super) fn now() -> (Instant, SystemTime) {
    let instant = Instant::now();
    let since = |(read, time): (Instant, SystemTime)| {
        let elapsed = instant.saturating_duration_since(read);
        (elapsed < BELIEVED)
            .then(|| time.checked_add(elapsed))
            .flatten()
    };
    let time = READ.get().and_then(since).unwrap_or_else(|| {
        let time = SystemTime::now();
        READ.set(Some((instant, time)));
        time
    });
    (instant, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_followed() {
        for _ in 0..20 {
            let before = SystemTime::now();
            let (_, between) = now();
            let after = SystemTime::now();
            // The distance is as old as `BELIEVED`; the clock may have been adjusted meanwhile.
            assert!(between + BELIEVED >= before && between <= after + BELIEVED);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
