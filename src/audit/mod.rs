//! What was decided, about whom, and how it ended.
//!
//! Every request leaves one [`Decision`]; an accepted one leaves a [`Completion`] with the same
//! request id when its answer, or its tunnel, has ended. A caller that leaves while a verifier is
//! still being asked leaves none: nothing was decided, and nothing was answered. Records hold key ids and labels, never a
//! credential, and never the text to be spoken.

mod entry;
mod fingerprint;
mod json;
mod line;
mod query;
mod queue;
mod receipt;
mod tracing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};

use crate::denial::{Denial, DenialKind};
use crate::limit::Limit;
use crate::principal::{AuthMethod, Principal};
use crate::request_id::RequestId;

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

/// Takes audit records.
///
/// It is called on the request's own thread and must not block.
pub trait AuditSink: Send + Sync {
    /// Takes one record.
    fn record(&self, record: &AuditRecord<'_>);

    /// Takes the record of a decision. The request goes on when the receipt has resolved; if that
    /// fails, it is refused with 503. A sink that promises nothing need not write this.
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

/// Several sinks: each of them takes every record, in this order, and a request waits for all.
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
    /// The process began to take requests.
    Start(Start),
    /// A request was accepted or refused.
    Decision(Decision<'a>),
    /// An accepted request ended.
    Completion(Completion<'a>),
    /// Other keys are in force.
    Keys(Keys<'a>),
    /// What became of one key, when others came into force.
    Key(KeyRecord<'a>),
    /// A server turned something away that was no request.
    Rejected(Rejected),
    /// The process takes no more requests, and nothing is in flight.
    Stop(Stop),
}

/// The process began to take requests.
#[derive(Clone, Debug)]
pub struct Start {
    /// When.
    pub time: SystemTime,
    /// `validate` or `preconfigured`.
    pub mode: &'static str,
    /// The dialect that is spoken.
    pub dialect: &'static str,
    /// How many keys are known.
    pub keys: usize,
    /// What tells their set apart; empty without keys.
    pub key_ring: String,
    /// What tells this configuration apart, secrets left out.
    pub config: String,
    /// The methods and paths that are open to everybody, separated by commas.
    pub public: String,
    /// Where requests are taken.
    pub listen: SocketAddr,
    /// Whether strangers can reach a door that asks for no credential: preconfigured mode on an
    /// address that is not a loopback address.
    pub exposed: bool,
}

/// Other keys are in force. A [`KeyRecord`] for each that is not as it was follows.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    /// When.
    pub time: SystemTime,
    /// How many sets of keys there have been.
    pub generation: u64,
    /// The same wherever the same keys are in force.
    pub digest: &'a str,
    /// How many keys there are.
    pub keys: usize,
    /// How many of them, or of those before, are not as they were.
    pub changes: usize,
}

/// What became of one key.
#[derive(Clone, Debug)]
pub struct KeyRecord<'a> {
    /// When.
    pub time: SystemTime,
    /// The number of the set of keys.
    pub generation: u64,
    /// `added`, `removed`, `secret_changed` or `changed`.
    pub change: &'static str,
    /// Whose key it is now; as it was, if it was removed.
    pub principal: &'a Principal,
}

/// A server turned something away before it was a request: bytes that are no HTTP, a header that is
/// too large or too late, or a connection beyond a limit. There is no request id and no content.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// When.
    pub time: SystemTime,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Why, in one word.
    pub reason: &'static str,
    /// How many bytes had been received on the connection.
    pub bytes_received: u64,
    /// How many others were left out since the record before, because there were too many.
    pub omitted: u64,
}

/// The process takes no more requests, and nothing is in flight.
#[derive(Clone, Debug)]
pub struct Stop {
    /// When.
    pub time: SystemTime,
    /// What ended it: the name of a signal, or what failed.
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
    /// The dialect that was spoken.
    pub dialect: &'static str,
    /// How the caller was accepted; `None` when it was refused.
    pub auth_method: Option<AuthMethod>,
    /// Who it was, as far as that came out before the decision.
    pub principal: Option<&'a Principal>,
    /// Why it was refused; `None` when it was accepted.
    pub denial: Option<&'a Denial>,
    /// The limit that was hit, if that is why, or why no more was said.
    pub limit: Option<Limit>,
    /// How long it waited for a slot; `None` if it did not.
    pub queued: Option<Duration>,
    /// The status it was refused with; `None` when it was accepted.
    pub status: Option<StatusCode>,
    /// The request's method.
    pub http_method: &'a Method,
    /// The request's path as received, without its query. Untrusted.
    pub path: &'a str,
    /// The other end of the connection, if the server told.
    pub peer: Option<SocketAddr>,
    /// The request's `User-Agent`. Untrusted, and not necessarily text.
    pub user_agent: Option<&'a [u8]>,
    /// The host that the request names. Untrusted.
    pub host: Option<&'a [u8]>,
    /// What the parameters in the request's query are called. Untrusted.
    pub query: Option<QueryNames<'a>>,
    /// The version of HTTP.
    pub version: Version,
    /// The `traceparent` that the client sent, if it is one (W3C Trace Context §3.2). Untrusted.
    pub trace_parent: Option<&'a str>,
    /// The rule of the policy that was asked, by its method and path; `None` when none was.
    pub rule: Option<(&'a str, &'a str)>,
    /// Tells tries with the same unknown credential, and nothing else about it.
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
    /// When.
    pub time: SystemTime,
    /// The request, as in its [`Decision`].
    pub request_id: RequestId,
    /// Who it was.
    pub principal: &'a Principal,
    /// The status of the answer; `None` when there was none.
    pub status: Option<StatusCode>,
    /// What failed behind the layer, if it said so.
    pub failure: Option<DenialKind>,
    /// How it ended.
    pub ended: Ended,
    /// From the request's arrival to its end.
    pub duration: Duration,
    /// How long it waited for a slot; `None` if it did not. Part of `duration`.
    pub queued: Option<Duration>,
    /// From the request's arrival until the first byte of the answer's body was sent; `None` when
    /// there was none.
    pub first_byte: Option<Duration>,
    /// Bytes sent to the caller: the answer's body, or what a tunnel carried.
    pub bytes_sent: u64,
    /// Bytes received from the caller through a tunnel; `None` when nobody counted.
    pub bytes_received: Option<u64>,
}

/// How an accepted request ended.
///
/// A service that knows better than its answer's body shows, such as a proxy whose caller broke
/// off, puts one into the answer's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The answer, or the tunnel, came to its own end.
    Ok,
    /// The caller went away before the end.
    ClientAbort,
    /// What produces the answer broke off, or panicked.
    UpstreamAbort,
    /// What produces the answer did not go on in time.
    Timeout,
    /// The process stopped before the end.
    Drained,
    /// The caller's key was revoked, disabled or expired before the end.
    Revoked,
}

impl Ended {
    /// The name that stands in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientAbort => "client_abort",
            Self::UpstreamAbort => "upstream_abort",
            Self::Timeout => "timeout",
            Self::Drained => "drained",
            Self::Revoked => "revoked",
        }
    }
}
