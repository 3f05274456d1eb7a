//! Passes audit records to the audit queue and to the metrics.

use std::sync::atomic::{AtomicBool, Ordering};

use voxgate::audit::{Ended, Receipt};
use voxgate::{AuditRecord, AuditSink};

use super::metrics::Metrics;
use super::refusal_summary::RefusalSummary;

/// The audit sink of the gateway's authentication layer.
pub(crate) struct Recorder {
    main: Box<dyn AuditSink>,
    metrics: Metrics,
    refusals: RefusalSummary,
    /// Set when shutdown drops the requests that are still in flight.
    cut: AtomicBool,
}

impl Recorder {
    pub(crate) fn new(main: impl AuditSink + 'static, metrics: Metrics) -> Self {
        Self {
            main: Box::new(main),
            metrics,
            refusals: RefusalSummary::default(),
            cut: AtomicBool::new(false),
        }
    }

    /// From now on, the gateway ends requests, not their clients.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// The refusals, for the log.
    pub(crate) fn refusals(&self) -> &RefusalSummary {
        &self.refusals
    }

    fn pass(&self, record: &AuditRecord<'_>) {
        self.main.record(record);
        self.metrics.record(record);
    }
}

impl AuditSink for Recorder {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            // A dropped answer looks like a client that disconnected. During shutdown, the gateway
            // dropped it.
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
        if let AuditRecord::Decision(decision) = record {
            self.refusals.note(decision);
        }
        self.main.commit(record)
    }
}
