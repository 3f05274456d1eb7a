//! Writes audit records of changed keys, and removes the metrics of removed keys.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use voxgate::audit::{KeyRecord, Keys};
use voxgate::keys::{KeyChange, RingChange};
use voxgate::{AuditRecord, AuditSink, SharedKeyRing};

use super::metrics::Metrics;
use super::recorder::Recorder;

/// How many changed keys are recorded before a pause.
const AT_A_TIME: usize = 1000;
const PAUSE: Duration = Duration::from_millis(20);

/// Records the changes of these keys from now on.
pub(crate) fn follow(keys: &SharedKeyRing, sink: Arc<Recorder>, metrics: Metrics) {
    keys.on_replace(move |change| {
        for (what, key) in &change.changes {
            if *what == KeyChange::Removed {
                metrics.forget(key);
            }
        }
        put_on_record(&sink, change);
    });
}

/// Records the key ring in force, and each change.
fn put_on_record(sink: &Recorder, change: &RingChange) {
    let time = SystemTime::now();
    let generation = change.generation;
    sink.record(&AuditRecord::Keys(Keys {
        time,
        generation,
        digest: &change.digest,
        keys: change.keys,
        changes: change.changes.len(),
    }));
    for (at, (change, principal)) in change.changes.iter().enumerate() {
        if at % AT_A_TIME == AT_A_TIME - 1 {
            // Leave room in the queue for the records of requests.
            thread::sleep(PAUSE);
        }
        sink.record(&AuditRecord::Key(KeyRecord {
            time,
            generation,
            change: change.as_str(),
            principal,
        }));
    }
}
