//! Audit records as structured `tracing` events.

use std::fmt;
use std::time::{Duration, SystemTime};

use tracing::field::display;
use tracing::{info, warn};

use super::{AuditRecord, AuditSink, Completion, Decision, Rejected, Start};

/// The target of every event that [`TracingSink`] emits.
pub const AUDIT_TARGET: &str = "voxgate::audit";

const MAX_PATH_BYTES: usize = 512;
const MAX_TOKEN_BYTES: usize = 128;
const MAX_USER_AGENT_BYTES: usize = 256;
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Emits each record as one event on [`AUDIT_TARGET`], with one field per fact, which has its name in the
/// audit log.
///
/// Text that the caller controls is pure printable ASCII (everything else is escaped as in a Rust
/// byte string) and cut: paths at 512 bytes, user agents at 256, with `...` behind them. One
/// record is one line, whatever the caller sends.
///
/// `tracing` gives no delivery guarantee: the subscriber decides what happens to the event.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

impl AuditSink for TracingSink {
    fn record(&self, record: &AuditRecord<'_>) {
        match record {
            AuditRecord::Start(start) => emit_start(start),
            AuditRecord::Decision(decision) => emit_decision(decision),
            AuditRecord::Completion(completion) => emit_completion(completion),
            AuditRecord::Keys(keys) => {
                let (ts, key_ring) = (timestamp(keys.time), keys.digest);
                let (generation, keys, changes) = (keys.generation, keys.keys, keys.changes);
                info!(target: AUDIT_TARGET, event = "keys", ts, generation, keys, changes, key_ring);
            }
            AuditRecord::Token(token) => {
                let (ts, expires) = (timestamp(token.time), timestamp(token.expires));
                let key_id = token.principal.id();
                let (jti, single_use) = (token.token_id, token.single_use);
                info!(target: AUDIT_TARGET, event = "token", ts, request_id = %token.request_id, key_id, jti, expires, single_use);
            }
            AuditRecord::Key(key) => {
                let (ts, key_id) = (timestamp(key.time), key.principal.id());
                let (generation, change) = (key.generation, key.change);
                let note = key.principal.change_note();
                let changed_by = note.and_then(|note| note.by.as_deref());
                let changed_reason = note.and_then(|note| note.reason.as_deref());
                let (rights_before, rights) = key.rights();
                info!(target: AUDIT_TARGET, event = "key", ts, generation, change, key_id, changed_by, changed_reason, rights_before, rights);
            }
            AuditRecord::PolicyChanged(changed) => {
                let ts = timestamp(changed.time);
                let (rules_before, rules) = (changed.rules_before, changed.rules);
                let (policy_before, policy) = (changed.policy_before, changed.policy);
                info!(target: AUDIT_TARGET, event = "policy_changed", ts, rules_before, rules, policy_before, policy);
            }
            AuditRecord::Rejected(rejected) => emit_rejected(rejected),
            AuditRecord::Stop(stop) => {
                let (ts, why) = (timestamp(stop.time), stop.why);
                info!(target: AUDIT_TARGET, event = "stop", ts, why);
            }
        }
    }
}

fn emit_start(start: &Start) {
    let Start {
        time,
        mode,
        dialect,
        keys,
        public,
        listen,
        exposed,
        ..
    } = start;
    let ts = timestamp(*time);
    if *exposed {
        warn!(
            target: AUDIT_TARGET,
            event = "start", ts, mode, dialect, keys, public, %listen, exposed,
            warning = "preconfigured mode on a non-loopback address: every client that can reach it is served without a credential"
        );
    } else {
        info!(target: AUDIT_TARGET, event = "start", ts, mode, dialect, keys, public, %listen, exposed);
    }
}

fn emit_decision(decision: &Decision<'_>) {
    let token = decision.principal.and_then(|principal| principal.token());
    let token_id = token.and_then(|token| token.id());
    info!(
        target: AUDIT_TARGET,
        event = "decision",
        ts = timestamp(decision.time),
        request_id = %decision.request_id,
        trace_id = decision.trace.map(|trace| display(trace.trace_id())),
        outcome = decision.outcome(),
        reason = decision.reason(),
        limit = decision.limit.map(|limit| limit.as_str()),
        status = decision.status.map(|status| status.as_u16()),
        via = decision.via,
        dialect = decision.dialect,
        auth_method = decision.auth_method.map(|method| method.as_str()),
        key_id = decision.principal.map(|principal| principal.id()),
        required_scope = decision.required_scope,
        token_issuer = token.map(|token| untrusted(token.issuer().as_bytes(), MAX_TOKEN_BYTES)),
        token_id = token_id.map(|id| untrusted(id.as_bytes(), MAX_TOKEN_BYTES)),
        token_error = decision.denial.and_then(|denial| denial.token_error()),
        method = %decision.http_method,
        path = untrusted(decision.path.as_bytes(), MAX_PATH_BYTES),
        peer = decision.peer.map(display),
        client = decision.client.map(display),
        client_request_id = decision.client_request_id.map(|bytes| untrusted(bytes, MAX_REQUEST_ID_BYTES)),
        cred_fp = decision.credential.map(display),
        user_agent = decision.user_agent.map(|bytes| untrusted(bytes, MAX_USER_AGENT_BYTES)),
    );
}

fn emit_completion(completion: &Completion<'_>) {
    info!(
        target: AUDIT_TARGET,
        event = "complete",
        ts = timestamp(completion.time),
        request_id = %completion.request_id,
        trace_id = completion.trace.map(|trace| display(trace.trace_id())),
        key_id = completion.principal.id(),
        status = completion.status.map(|status| status.as_u16()),
        failure = completion.failure.map(|kind| kind.as_str()),
        ended = completion.ended.as_str(),
        duration_us = microseconds(completion.duration),
        queued_us = completion.queued.map(microseconds),
        bytes_sent = completion.bytes_sent,
        bytes_received = completion.bytes_received,
    );
}

fn emit_rejected(rejected: &Rejected) {
    let ts = timestamp(rejected.time);
    let Rejected {
        peer,
        client,
        reason,
        bytes_received,
        omitted,
        ..
    } = rejected;
    info!(target: AUDIT_TARGET, event = "rejected", ts, reason, %peer, client = client.map(display), bytes_received, omitted);
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with microseconds.
fn timestamp(time: SystemTime) -> tracing::field::DisplayValue<humantime::Rfc3339Timestamp> {
    display(humantime::format_rfc3339_micros(time))
}

/// Returns a text instead of a `Display` value, because every formatter quotes text. A path
/// therefore cannot look like another field.
fn untrusted(bytes: &[u8], limit: usize) -> String {
    Untrusted(bytes, limit).to_string()
}

/// Bytes from the caller, escaped for one line of a log.
struct Untrusted<'a>(&'a [u8], usize);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, limit) = *self;
        let shown = &bytes[..bytes.len().min(limit)];
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < bytes.len() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_is_one_line_of_printable_ascii() {
        let nasty = b"a\r\n\x1b[31m\"\\\xff\xe2\x80\xa8\0";
        let shown = Untrusted(nasty, 256).to_string();
        assert_eq!(shown, r#"a\r\n\x1b[31m\"\\\xff\xe2\x80\xa8\x00"#);
    }

    #[test]
    fn truncated_text_is_marked() {
        assert_eq!(Untrusted(b"abcdef", 3).to_string(), "abc...");
        assert_eq!(Untrusted(b"abc", 3).to_string(), "abc");
    }
}
