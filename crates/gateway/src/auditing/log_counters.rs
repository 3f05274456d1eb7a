//! What happened to the files of the audit log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use voxgate::audit::log::{LogEvent, Loss};

/// Counters of the audit log. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogCounters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    segments_lost: AtomicU64,
    time_stamps: AtomicU64,
    time_stamp_failures: AtomicU64,
}

impl LogCounters {
    /// How many files of the audit log were found removed, replaced or changed.
    pub(crate) fn segments_lost(&self) -> u64 {
        self.0.segments_lost.load(Ordering::Relaxed)
    }

    /// How many time stamps an authority has given.
    pub(crate) fn time_stamps(&self) -> u64 {
        self.0.time_stamps.load(Ordering::Relaxed)
    }

    /// How many requests to the authority failed.
    pub(crate) fn time_stamp_failures(&self) -> u64 {
        self.0.time_stamp_failures.load(Ordering::Relaxed)
    }

    pub(super) fn stamped(&self) {
        self.0.time_stamps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stamp_failed(&self) {
        self.0.time_stamp_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts and logs what happens to the files.
    pub(super) fn note(&self, event: &LogEvent) {
        match event {
            LogEvent::Lost(loss) => self.lost(loss),
            LogEvent::Deleted { from, to } => tracing::info!(
                first_segment = from,
                last_segment = to,
                "audit retention deletes old files"
            ),
            LogEvent::RetentionHeld { ahead } => tracing::warn!(
                ahead_seconds = ahead.as_secs(),
                "audit retention waits: the system's clock is ahead of the records and of the time since the start; check the clock, and restart the gateway if it is right"
            ),
            _ => {}
        }
    }

    /// Counts and logs files that were removed, replaced or changed.
    fn lost(&self, loss: &Loss) {
        let segments = loss.to - loss.from + 1;
        self.0.segments_lost.fetch_add(segments, Ordering::Relaxed);
        let (first_seq, last_seq) = loss.seqs.unzip();
        tracing::error!(
            cause = loss.cause.as_str(),
            first_segment = loss.from,
            last_segment = loss.to,
            first_seq,
            last_seq,
            "the audit log lost files: {}; records go to a new file; put the files back, and run `voxgate audit verify`",
            loss.cause
        );
    }
}
