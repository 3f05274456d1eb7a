//! Passes audit records to the audit queue and to the metrics.

use std::sync::atomic::{AtomicBool, Ordering};

use voxgate::audit::{Ended, Receipt};
use voxgate::{AuditRecord, AuditSink};
use voxgate_request_tracing::RequestLog;

use super::auditing::RecordedAddresses;
use super::metrics::Metrics;
use super::refusal_summary::RefusalSummary;

/// The audit sink of the gateway's authentication layer.
pub(crate) struct Recorder {
    main: Box<dyn AuditSink>,
    metrics: Metrics,
    refusals: RefusalSummary,
    addresses: RecordedAddresses,
    /// Makes spans and the access log.
    requests: RequestLog,
    /// Set when shutdown drops the requests that are still in flight.
    cut: AtomicBool,
}

impl Recorder {
    pub(crate) fn new(
        main: impl AuditSink + 'static,
        metrics: Metrics,
        addresses: RecordedAddresses,
        requests: RequestLog,
    ) -> Self {
        Self {
            main: Box::new(main),
            metrics,
            refusals: RefusalSummary::default(),
            addresses,
            requests,
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
        self.requests.note(record);
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
            AuditRecord::Rejected(rejected) => {
                let mut rejected = rejected.clone();
                rejected.peer = self.addresses.of(rejected.peer);
                rejected.client = rejected.client.map(|client| self.addresses.of_ip(client));
                self.pass(&AuditRecord::Rejected(rejected));
            }
            other => self.pass(other),
        }
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.metrics.record(record);
        let AuditRecord::Decision(decision) = record else {
            return self.main.commit(record);
        };
        self.refusals.note(decision);
        if matches!(self.addresses, RecordedAddresses::Full) {
            self.requests.note(record);
            return self.main.commit(record);
        }
        let mut decision = decision.clone();
        decision.peer = decision.peer.map(|peer| self.addresses.of(peer));
        decision.client = decision.client.map(|client| self.addresses.of_ip(client));
        let record = AuditRecord::Decision(decision);
        self.requests.note(&record);
        self.main.commit(&record)
    }
}
