//! An accepted request, until its end is on record.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::Body;

use crate::admit::Permit;
use crate::audit::{AuditRecord, AuditSink, Completion, Ended};
use crate::denial::DenialKind;
use crate::principal::Principal;
use crate::request_id::RequestId;

use super::arrival::Arrival;

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
    /// How long the answer's header, or else its body, says that it is.
    announced: Option<u64>,
    first_byte: Option<Duration>,
    bytes_sent: u64,
    bytes_received: Option<u64>,
    ended: Ended,
    /// What the inner service said of the end, which is then the truth.
    told: Option<Ended>,
    /// Given up behind the record.
    permit: Permit,
}

impl Exchange {
    pub(super) fn open(
        sink: &Arc<dyn AuditSink>,
        principal: &Principal,
        arrival: Arrival,
        method: &Method,
        permit: Permit,
    ) -> Self {
        Self {
            sink: Arc::clone(sink),
            principal: principal.clone(),
            request_id: arrival.request_id,
            started: arrival.instant,
            bodiless: method == Method::HEAD,
            status: None,
            failure: None,
            announced: None,
            first_byte: None,
            bytes_sent: 0,
            bytes_received: None,
            // Whoever is dropped before its end was given up by the caller.
            ended: Ended::ClientAbort,
            told: None,
            permit,
        }
    }

    pub(super) fn answered<R: Body>(&mut self, response: &mut Response<R>) {
        self.permit.write_fields(response.headers_mut());
        let status = response.status();
        self.status = Some(status);
        self.failure = response.extensions().get::<DenialKind>().copied();
        self.told = response.extensions().get::<Ended>().copied();
        self.announced = content_length(response).or_else(|| response.body().size_hint().exact());
        // RFC 9110 §6.4.1: servers do not send these bodies, and need not read them to their end.
        let no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let empty = response.body().is_end_stream() || self.announced == Some(0);
        if self.bodiless || no_body || empty {
            self.ended = Ended::Ok;
        }
    }

    /// Counts what is sent. A server need not poll past the last byte that was announced, so the
    /// end is noted there.
    pub(super) fn sent(&mut self, bytes: usize) {
        if bytes > 0 && self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
        if self.announced == Some(self.bytes_sent) {
            self.ended = Ended::Ok;
        }
    }

    /// The decision could not be put on record, so that the caller was refused after all.
    pub(super) fn unrecorded(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.failure = Some(DenialKind::Unavailable);
        self.ended = Ended::Ok;
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = ended;
    }
}

/// The length that a server sends by, whatever the body says of itself.
fn content_length<R>(response: &Response<R>) -> Option<u64> {
    let value = response.headers().get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.ended == Ended::ClientAbort && std::thread::panicking() {
            self.ended = Ended::UpstreamAbort;
        }
        self.sink.record(&AuditRecord::Completion(Completion {
            time: SystemTime::now(),
            request_id: self.request_id,
            principal: &self.principal,
            status: self.status,
            failure: self.failure,
            ended: self.told.unwrap_or(self.ended),
            duration: self.started.elapsed(),
            queued: self.permit.queued(),
            first_byte: self.first_byte,
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
/// holder, the record is written when the answer is. Upgrades are those of HTTP/1.1; an extended
/// `CONNECT` of HTTP/2 (RFC 8441) carries none.
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
