//! The access log: one event for each request, when it has ended or was refused.

use tracing::{Level, field, info};

use super::requests::{CompletionFacts, DecisionFacts, microseconds};

/// The target of every event of the access log.
pub const ACCESS_TARGET: &str = "voxgate::access";

/// Whether anyone reads the events.
pub(crate) fn is_on() -> bool {
    tracing::event_enabled!(target: ACCESS_TARGET, Level::INFO)
}

/// Emits the event of a request. Its fields have the names that they have in audit records.
pub(crate) fn write(decision: &DecisionFacts, end: Option<&CompletionFacts>) {
    let principal = decision.principal.as_ref();
    let account = principal.and_then(|principal| principal.account());
    let queued = end.map_or(decision.queued, |end| end.queued);
    info!(
        target: ACCESS_TARGET,
        request_id = %decision.request_id,
        trace_id = decision.trace.map(|trace| field::display(trace.trace_id())),
        outcome = decision.outcome,
        reason = decision.reason,
        limit = decision.limit,
        status = end.map_or(decision.status, |end| end.status),
        dialect = decision.dialect,
        auth_method = decision.auth_method,
        key_id = principal.map(|principal| principal.id()),
        account = account.map(|account| account.id()),
        label = principal.and_then(|principal| principal.label()),
        peer = decision.peer.map(field::display),
        client = decision.client.map(field::display),
        client_request_id = decision.client_request_id.as_deref(),
        host = decision.host.as_deref(),
        method = &*decision.method,
        path = &*decision.path,
        query_names = decision.query_names.as_deref(),
        user_agent = decision.user_agent.as_deref(),
        protocol = decision.protocol,
        failure = end.and_then(|end| end.failure),
        ended = end.map(|end| end.ended),
        duration_us = microseconds(decision.duration(end)),
        queued_us = queued.map(microseconds),
        first_byte_us = end.and_then(|end| end.first_byte).map(microseconds),
        bytes_sent = end.map(|end| end.bytes_sent),
        bytes_received = end.and_then(|end| end.bytes_received),
        characters = end.and_then(|end| end.characters),
        audio_ms = end.and_then(|end| end.audio_ms),
        "request"
    );
}
