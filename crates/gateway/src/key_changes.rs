//! Writes audit records of changed keys and of a changed policy, and removes the metrics of removed keys.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use voxgate::audit::{KeyRecord, Keys, PolicyChanged};
use voxgate::keys::{KeyChange, RingChange};
use voxgate::policy::SharedPolicy;
use voxgate::{AuditRecord, AuditSink, SharedKeyRing};

use super::metrics::Metrics;
use super::recorder::Recorder;

/// How many changed keys are recorded before a pause.
const AT_A_TIME: usize = 1000;
const PAUSE: Duration = Duration::from_millis(20);

/// Records the changes of these keys from now on.
pub(crate) fn follow(keys: &SharedKeyRing, sink: Arc<Recorder>, metrics: Metrics) {
    keys.on_replace(move |change| {
        for key in &change.changes {
            if key.change == KeyChange::Removed {
                metrics.forget(&key.principal);
            }
        }
        put_on_record(&sink, change);
    });
}

/// Records the changes of this policy from now on.
pub(crate) fn follow_policy(policy: &SharedPolicy, sink: Arc<Recorder>) {
    policy.on_replace(move |change| {
        sink.record(&AuditRecord::PolicyChanged(PolicyChanged {
            time: SystemTime::now(),
            rules: change.now.rules().len(),
            rules_before: change.before.rules().len(),
            policy: change.now.file_digest(),
            policy_before: change.before.file_digest(),
        }));
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
    for (at, key) in change.changes.iter().enumerate() {
        if at % AT_A_TIME == AT_A_TIME - 1 {
            // Leave room in the queue for the records of requests.
            thread::sleep(PAUSE);
        }
        sink.record(&AuditRecord::Key(KeyRecord {
            time,
            generation,
            change: key.change.as_str(),
            principal: &key.principal,
            before: key.before.as_ref(),
        }));
    }
}
