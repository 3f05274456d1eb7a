//! An accepted request, from its decision to its completion record.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::Body;
use voxgate_core::denial::DenialKind;
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::TraceContext;

use crate::audit::{AuditRecord, AuditSink, Completion, Ended};
use crate::principal::Principal;
use crate::rate_limit::{Permit, QuotaFields};
use crate::speech::SpeechMeter;

use super::clock;
use super::request_start::RequestStart;

/// An accepted request. Dropping the guard writes the completion record and gives the permit back,
/// on every way out, panics included.
pub(super) struct RequestGuard {
    sink: Arc<dyn AuditSink>,
    principal: Principal,
    request_id: RequestId,
    trace: Option<TraceContext>,
    /// The proxy that asked, and that forwards the request itself.
    via: Option<&'static str>,
    started: Instant,
    bodiless: bool,
    status: Option<StatusCode>,
    failure: Option<DenialKind>,
    /// Length of the response body in bytes, as its header or else the body announces it.
    announced: Option<u64>,
    first_byte: Option<Duration>,
    bytes_sent: u64,
    bytes_received: Option<u64>,
    ended: Ended,
    /// How the request ended according to the inner service. It has precedence.
    reported_end: Option<Ended>,
    speech: Option<SpeechMeter>,
    /// Dropped after the record is written.
    permit: Permit,
}

impl RequestGuard {
    pub(super) fn new(
        sink: &Arc<dyn AuditSink>,
        principal: &Principal,
        start: RequestStart,
        method: &Method,
        permit: Permit,
    ) -> Self {
        Self {
            sink: Arc::clone(sink),
            principal: principal.clone(),
            request_id: start.request_id,
            trace: start.trace,
            via: None,
            started: start.instant,
            bodiless: method == Method::HEAD,
            status: None,
            failure: None,
            announced: None,
            first_byte: None,
            bytes_sent: 0,
            bytes_received: None,
            // A guard that is dropped early belongs to a request that its caller abandoned.
            ended: Ended::ClientAbort,
            reported_end: None,
            speech: None,
            permit,
        }
    }

    /// Sets the meter that the completion record shows.
    pub(super) fn meter(&mut self, meter: SpeechMeter) {
        self.speech = Some(meter);
    }

    /// A proxy only asked about the request, so that its end is not seen.
    pub(super) fn only_asked(&mut self, proxy: &'static str) {
        self.via = Some(proxy);
    }

    pub(super) fn answered<R: Body>(&mut self, response: &mut Response<R>) {
        let quotas = response.extensions_mut().remove::<QuotaFields>();
        let has_limits = self.permit.write_fields(response.headers_mut());
        if let Some(quotas) = quotas {
            quotas.add(response.headers_mut(), has_limits);
        }
        let status = response.status();
        self.status = Some(status);
        self.failure = response.extensions().get::<DenialKind>().copied();
        self.reported_end = response.extensions().get::<Ended>().copied();
        self.announced = content_length(response).or_else(|| response.body().size_hint().exact());
        // RFC 9110 §6.4.1: servers do not send these bodies, and need not read them to their end.
        let no_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let empty = response.body().is_end_stream() || self.announced == Some(0);
        if self.bodiless || no_body || empty {
            self.ended = Ended::Ok;
        }
    }

    /// Counts bytes sent. A server does not have to poll past the last announced byte, so the request
    /// counts as complete there.
    pub(super) fn sent(&mut self, bytes: usize) {
        if bytes > 0 && self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
        if self.announced == Some(self.bytes_sent) {
            self.ended = Ended::Ok;
        }
    }

    /// The decision could not be recorded, so the caller is refused.
    pub(super) fn unrecorded(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.failure = Some(DenialKind::Unavailable);
        self.ended = Ended::Ok;
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = ended;
    }
}

/// The value of `Content-Length`, by which a server frames the response.
fn content_length<R>(response: &Response<R>) -> Option<u64> {
    let value = response.headers().get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.ended == Ended::ClientAbort && std::thread::panicking() {
            self.ended = Ended::UpstreamAbort;
        }
        let failure = self.failure.or_else(|| self.speech.as_ref()?.denied());
        if self.via.is_some() && failure.is_none() {
            return;
        }
        let (now, time) = clock::now();
        self.sink.record(&AuditRecord::Completion(Completion {
            time,
            request_id: self.request_id,
            trace: self.trace,
            via: self.via,
            principal: &self.principal,
            status: self.status,
            failure,
            ended: self.reported_end.unwrap_or(self.ended),
            duration: now.saturating_duration_since(self.started),
            queued: self.permit.queued(),
            first_byte: self.first_byte,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            speech: self.speech.as_ref(),
        }));
    }
}

/// Delays the completion record of an upgraded connection until the connection closes.
///
/// A request for an upgrade has a `Tunnel` in its extensions. The body of a `101` response ends at
/// once, but the connection stays open. The task that serves the connection keeps the `Tunnel`, and
/// the completion record is written when the last clone is dropped. If no task keeps it, the record
/// is written with the response. This covers upgrades of HTTP/1.1; an extended `CONNECT` of HTTP/2
/// (RFC 8441) has no `Tunnel`.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<TunnelState>>);

#[derive(Default)]
struct TunnelState {
    guard: Option<RequestGuard>,
    bytes_sent: u64,
    bytes_received: u64,
    ended: Option<Ended>,
}

impl Tunnel {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// From now on the request ends with the tunnel, not with the response body.
    pub(super) fn take_over(self, guard: RequestGuard) {
        self.state().guard = Some(guard);
    }

    /// Sets the total bytes sent to the caller and received from it, for the completion record.
    pub fn carried(&self, bytes_sent: u64, bytes_received: u64) {
        let mut state = self.state();
        state.bytes_sent = bytes_sent;
        state.bytes_received = bytes_received;
    }

    /// Sets how the tunnel ended. The default is [`Ended::Ok`].
    pub fn end(&self, ended: Ended) {
        self.state().ended = Some(ended);
    }

    fn state(&self) -> MutexGuard<'_, TunnelState> {
        // A panic leaves no half-changed state behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TunnelState {
    fn drop(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.bytes_sent = self.bytes_sent;
            guard.bytes_received = Some(self.bytes_received);
            guard.end(self.ended.unwrap_or(Ended::Ok));
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
