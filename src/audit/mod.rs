//! The audit trail: records of decisions and of the ends of requests.
//!
//! Each request has one [`Decision`]. An accepted request also has a [`Completion`] with the same
//! request id when its response or tunnel has ended. A caller that disconnects while a verifier is
//! pending leaves no record, because nothing was decided and nothing was answered. Records contain
//! key ids and labels, never a credential, and never the text to synthesize.

mod entry;
mod fingerprint;
mod json;
mod line;
mod query;
mod queue;
mod receipt;
mod tracing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_core::principal::{changed_rights, rights};
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::TraceContext;
use voxgate_limits::Limit;

use crate::principal::{AuthMethod, Principal};
use crate::speech::SpeechMeter;

pub use self::fingerprint::{CredentialFingerprint, Pepper};
pub use self::query::QueryNames;
/// The audit log's files: the crate `voxgate-audit-log`.
#[cfg(feature = "audit-log")]
pub use voxgate_audit_log as log;

#[cfg(feature = "audit-log")]
pub use self::queue::LogOutput;
pub use self::queue::{AuditQueue, AuditQueueGuard, DeliveryGuarantee, Output, StreamOutput};
pub use self::receipt::{NotRecorded, Receipt};
pub use self::tracing::{AUDIT_TARGET, TracingSink};

/// Receives audit records.
///
/// The methods are called on the request's thread and must not block.
pub trait AuditSink: Send + Sync {
    /// Receives one record.
    fn record(&self, record: &AuditRecord<'_>);

    /// Receives the record of a decision. The request continues when the receipt resolves. If the
    /// receipt fails, the request is refused with 503. The default implementation is for sinks
    /// without a delivery guarantee.
    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.record(record);
        Receipt::recorded()
    }
}

impl<T: AuditSink + ?Sized> AuditSink for Arc<T> {
    fn record(&self, record: &AuditRecord<'_>) {
        (**self).record(record);
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        (**self).commit(record)
    }
}

/// Several sinks. Each sink receives every record, in this order. A request waits for all of them.
impl<T: AuditSink> AuditSink for Vec<T> {
    fn record(&self, record: &AuditRecord<'_>) {
        for sink in self {
            sink.record(record);
        }
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        Receipt::all(self.iter().map(|sink| sink.commit(record)))
    }
}

/// One entry of the audit trail.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuditRecord<'a> {
    /// The process started to accept requests.
    Start(Start),
    /// A request was accepted or refused.
    Decision(Decision<'a>),
    /// An accepted request ended.
    Completion(Completion<'a>),
    /// The key ring was replaced.
    Keys(Keys<'a>),
    /// A change of one key in a new key ring.
    Key(KeyRecord<'a>),
    /// The policy was replaced.
    PolicyChanged(PolicyChanged<'a>),
    /// A token was made for a caller.
    Token(TokenRecord<'a>),
    /// A server rejected something before it was a request.
    Rejected(Rejected),
    /// The process accepts no more requests, and no request is in flight.
    Stop(Stop),
}

/// The process started to accept requests.
#[derive(Clone, Debug)]
pub struct Start {
    /// The time.
    pub time: SystemTime,
    /// `validate` or `preconfigured`.
    pub mode: &'static str,
    /// The dialect.
    pub dialect: &'static str,
    /// The number of keys.
    pub keys: usize,
    /// The digest of the key ring; empty without keys.
    pub key_ring: String,
    /// The digest of the configuration, without secrets.
    pub config: String,
    /// The SHA-256 of the policy file; empty without one.
    pub policy: String,
    /// The public methods and paths, separated by commas.
    pub public: String,
    /// The address of the data listener, or `unix:` and the path of its socket.
    pub listen: String,
    /// Whether other machines can send requests without a credential: preconfigured mode on an
    /// address that is not a loopback address.
    pub exposed: bool,
    /// The names of the settings that have changed since the last start, separated by spaces. `None`
    /// if the last start is not known.
    pub changed_settings: Option<String>,
}

/// The key ring was replaced. A [`KeyRecord`] for each changed key follows.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    /// The time.
    pub time: SystemTime,
    /// The generation of the key ring.
    pub generation: u64,
    /// The digest of the key ring. It is equal on all replicas with the same keys.
    pub digest: &'a str,
    /// The number of keys.
    pub keys: usize,
    /// The number of keys that were added, removed or changed.
    pub changes: usize,
}

/// A change of one key.
#[derive(Clone, Debug)]
pub struct KeyRecord<'a> {
    /// The time.
    pub time: SystemTime,
    /// The generation of the key ring.
    pub generation: u64,
    /// `added`, `removed`, `secret_changed`, `changed` or `revoked`.
    pub change: &'static str,
    /// The principal of the key. For a removed key, its last state.
    pub principal: &'a Principal,
    /// The key before the change. `None` for an added key, or if it is not known.
    pub before: Option<&'a Principal>,
}

impl KeyRecord<'_> {
    /// The rights before and now, in words. For a changed key, those that differ; otherwise all that
    /// it has.
    fn rights(&self) -> (Option<String>, Option<String>) {
        match self.before {
            None => (None, Some(rights(self.principal))),
            Some(before) if self.change == "removed" => (Some(rights(before)), None),
            Some(before) => {
                let (old, new) = changed_rights(before, self.principal);
                let told = |text: String| Some(text).filter(|text| !text.is_empty());
                (told(old), told(new))
            }
        }
    }
}

/// The policy was replaced: its file has changed.
#[derive(Clone, Debug)]
pub struct PolicyChanged<'a> {
    /// The time.
    pub time: SystemTime,
    /// The number of rules, with those of the dialect.
    pub rules: usize,
    /// Their number before.
    pub rules_before: usize,
    /// The SHA-256 of the policy file, in hexadecimal digits.
    pub policy: Option<&'a str>,
    /// That of the file before.
    pub policy_before: Option<&'a str>,
}

/// A token was made for a caller, with the key of that caller. The token itself is not part of it.
#[derive(Clone, Debug)]
pub struct TokenRecord<'a> {
    /// The time.
    pub time: SystemTime,
    /// The request that asked for the token.
    pub request_id: RequestId,
    /// The key that asked, with the rights of the token.
    pub principal: &'a Principal,
    /// The identifier of the token (RFC 7519 §4.1.7).
    pub token_id: &'a str,
    /// When the token ends.
    pub expires: SystemTime,
    /// Whether the token can be used once only.
    pub single_use: bool,
}

/// A server rejected something before it was a request: bytes that are not HTTP, a header that is too
/// large or too late, or a connection beyond a limit. There is no request id and no content.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The time.
    pub time: SystemTime,
    /// The address of the other end of the connection.
    pub peer: SocketAddr,
    /// The address of the client, if a load balancer named another one.
    pub client: Option<IpAddr>,
    /// The reason, in one word.
    pub reason: &'static str,
    /// The number of bytes that had been received on the connection.
    pub bytes_received: u64,
    /// The number of rejections since the previous record that were too many to record.
    pub omitted: u64,
}

/// The process accepts no more requests, and no request is in flight.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The time.
    pub time: SystemTime,
    /// The reason: the name of a signal, or the failure.
    pub why: &'static str,
}

/// A request was accepted or refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decision<'a> {
    /// When the request arrived.
    pub time: SystemTime,
    /// The request.
    pub request_id: RequestId,
    /// Its place in a trace, if the server supplies it.
    pub trace: Option<TraceContext>,
    /// The proxy that asked for the decision and forwards the request itself. `None` for a request that
    /// continues to the inner service.
    pub via: Option<&'static str>,
    /// The dialect of the request.
    pub dialect: &'static str,
    /// How the caller was accepted. `None` if it was refused.
    pub auth_method: Option<AuthMethod>,
    /// The principal, if it was known before the decision.
    pub principal: Option<&'a Principal>,
    /// The reason for the refusal. `None` if the request was accepted.
    pub denial: Option<&'a Denial>,
    /// The limit that was exceeded, if it is the reason or replaced the response of another reason.
    pub limit: Option<Limit>,
    /// How long the request waited for a slot. `None` if it did not wait.
    pub queued: Option<Duration>,
    /// The status of the refusal. `None` if the request was accepted.
    pub status: Option<StatusCode>,
    /// The request's method.
    pub http_method: &'a Method,
    /// The request's path as received, without its query. Untrusted.
    pub path: &'a str,
    /// The address of the other end of the connection, if the server supplies it.
    pub peer: Option<SocketAddr>,
    /// The address of the client, if the server supplies it: behind a trusted proxy, not the peer's.
    pub client: Option<IpAddr>,
    /// The identifier that a trusted proxy gave the request. Untrusted.
    pub client_request_id: Option<&'a [u8]>,
    /// The request's `User-Agent`. Untrusted, and not always UTF-8.
    pub user_agent: Option<&'a [u8]>,
    /// The host that the request names. Untrusted.
    pub host: Option<&'a [u8]>,
    /// The names of the query's parameters. Untrusted.
    pub query: Option<QueryNames<'a>>,
    /// The version of HTTP.
    pub version: Version,
    /// The client's `traceparent`, if it is valid (W3C Trace Context §3.2). Untrusted.
    pub trace_parent: Option<&'a str>,
    /// The method and path of the policy rule that decided. `None` if no rule was checked.
    pub rule: Option<(&'a str, &'a str)>,
    /// The scope that the rule requires, if the principal lacks it.
    pub required_scope: Option<&'a str>,
    /// The fingerprint of an unknown credential.
    pub credential: Option<CredentialFingerprint>,
}

impl Decision<'_> {
    /// `accepted` or `refused`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.denial {
            None => "accepted",
            Some(_) => "refused",
        }
    }

    /// `ok`, or the kind of the denial.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.denial.map_or("ok", |denial| denial.kind().as_str())
    }
}

/// An accepted request ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Completion<'a> {
    /// The time.
    pub time: SystemTime,
    /// The request, as in its [`Decision`].
    pub request_id: RequestId,
    /// Its place in a trace, if the server supplies it.
    pub trace: Option<TraceContext>,
    /// The proxy that asked for the decision, as in the [`Decision`].
    pub via: Option<&'static str>,
    /// The principal.
    pub principal: &'a Principal,
    /// The status of the response. `None` if there was none.
    pub status: Option<StatusCode>,
    /// The failure of the inner service, if it reported one.
    pub failure: Option<DenialKind>,
    /// How the request ended.
    pub ended: Ended,
    /// The time from the request's arrival to its end.
    pub duration: Duration,
    /// How long the request waited for a slot, as a part of `duration`. `None` if it did not wait.
    pub queued: Option<Duration>,
    /// The time from the request's arrival until the first byte of the response body was sent.
    /// `None` if no byte was sent.
    pub first_byte: Option<Duration>,
    /// Bytes sent to the caller, in the response body or through a tunnel.
    pub bytes_sent: u64,
    /// Bytes received from the caller through a tunnel. `None` if they were not counted.
    pub bytes_received: Option<u64>,
    /// What the request spoke. `None` if the layer makes no meters.
    pub speech: Option<&'a SpeechMeter>,
}

/// How an accepted request ended.
///
/// A service that knows more than its response body shows inserts an `Ended` into the extensions of
/// the response. An example is a proxy whose caller disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The response or the tunnel was complete.
    Ok,
    /// The caller disconnected before the end.
    ClientAbort,
    /// The source of the response failed or panicked.
    UpstreamAbort,
    /// The source of the response timed out.
    Timeout,
    /// The process stopped before the end.
    Drained,
    /// The caller's key was revoked, disabled or expired before the end.
    Revoked,
    /// The tunnel was closed because the caller sent a message that it may not send.
    Refused,
}

impl Ended {
    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientAbort => "client_abort",
            Self::UpstreamAbort => "upstream_abort",
            Self::Timeout => "timeout",
            Self::Drained => "drained",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
        }
    }
}
