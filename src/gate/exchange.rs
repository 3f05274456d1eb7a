//! An accepted request, until its end is on record.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use http::{Method, Response, StatusCode};

use crate::audit::{AuditRecord, AuditSink, Completion, Ended};
use crate::denial::DenialKind;
use crate::principal::Principal;
use crate::request_id::RequestId;

use super::pipeline::Arrival;

/// An accepted request. Dropping it is its end: the completion record is written then, on every
/// way out, panics included.
pub(super) struct Exchange {
    sink: Arc<dyn AuditSink>,
    principal: Principal,
    request_id: RequestId,
    started: Instant,
    bodiless: bool,
    status: Option<StatusCode>,
    failure: Option<DenialKind>,
    bytes_sent: u64,
    bytes_received: Option<u64>,
    ended: Ended,
}

impl Exchange {
    pub(super) fn open(
        sink: &Arc<dyn AuditSink>,
        principal: &Principal,
        arrival: Arrival,
        method: &Method,
    ) -> Self {
        Self {
            sink: Arc::clone(sink),
            principal: principal.clone(),
            request_id: arrival.request_id,
            started: arrival.instant,
            bodiless: method == Method::HEAD,
            status: None,
            failure: None,
            bytes_sent: 0,
            bytes_received: None,
            // Whoever is dropped before its end was given up by the caller.
            ended: Ended::ClientAbort,
        }
    }

    pub(super) fn answered<R>(&mut self, response: &Response<R>) {
        let status = response.status();
        self.status = Some(status);
        self.failure = response.extensions().get::<DenialKind>().copied();
        // RFC 9110 §6.4.1: servers do not send these bodies, and need not read them to their end.
        let no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if self.bodiless || no_body.contains(&status) {
            self.ended = Ended::Ok;
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.sink.record(&AuditRecord::Completion(Completion {
            time: SystemTime::now(),
            request_id: self.request_id,
            principal: &self.principal,
            status: self.status,
            failure: self.failure,
            ended: self.ended,
            duration: self.started.elapsed(),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        }));
    }
}

/// Keeps the record of an upgraded connection open.
///
/// A request that asks for an upgrade carries one in its extensions. The body of a `101` answer
/// ends at once, but the connection lives on; whoever serves it holds the `Tunnel` for that time,
/// and the completion record is written when the last clone is dropped. Nobody has to: without a
/// holder, the record is written when the answer is.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    exchange: Option<Exchange>,
    bytes_sent: u64,
    bytes_received: u64,
    ended: Option<Ended>,
}

impl Tunnel {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// From here on the tunnel, not the answer's body, decides when the exchange ends.
    pub(super) fn take_over(self, exchange: Exchange) {
        self.held().exchange = Some(exchange);
    }

    /// Says how many bytes went to the caller and came from it, in all. They are part of the
    /// completion record.
    pub fn carried(&self, bytes_sent: u64, bytes_received: u64) {
        let mut held = self.held();
        held.bytes_sent = bytes_sent;
        held.bytes_received = bytes_received;
    }

    /// Says how the tunnel ended. Without it, it ended well.
    pub fn end(&self, ended: Ended) {
        self.held().ended = Some(ended);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in here is left half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.bytes_sent = self.bytes_sent;
            exchange.bytes_received = Some(self.bytes_received);
            exchange.end(self.ended.unwrap_or(Ended::Ok));
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
