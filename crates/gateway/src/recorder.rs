//! Where the gateway's audit records go.

use std::sync::atomic::{AtomicBool, Ordering};

use voxgate::audit::{Ended, Receipt};
use voxgate::{AuditRecord, AuditSink};

use super::metrics::Metrics;

/// The sinks of the gateway, in the order in which they take a record.
pub(crate) struct Recorder {
    main: Box<dyn AuditSink>,
    metrics: Metrics,
    /// Set when the gateway gives up on what is in flight.
    cut: AtomicBool,
}

impl Recorder {
    pub(crate) fn new(main: impl AuditSink + 'static, metrics: Metrics) -> Self {
        Self {
            main: Box::new(main),
            metrics,
            cut: AtomicBool::new(false),
        }
    }

    /// From here on, what ends before its time was ended by us.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn pass(&self, record: &AuditRecord<'_>) {
        self.main.record(record);
        self.metrics.record(record);
    }
}

impl AuditSink for Recorder {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            // Dropping an answer looks as if the caller had gone; here it was us.
            AuditRecord::Completion(completion)
                if completion.ended == Ended::ClientAbort && self.cut.load(Ordering::Relaxed) =>
            {
                let mut completion = completion.clone();
                completion.ended = Ended::Drained;
                self.pass(&AuditRecord::Completion(completion));
            }
            other => self.pass(other),
        }
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.metrics.record(record);
        self.main.commit(record)
    }
}
