//! The messages that the connection thread receives.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use voxgate::rate_limit::{AcquireError, Granted, QuotaAnswer, QuotaCommand, WaitPermission};

use crate::command::EncodedCommand;

/// Sends to the connection thread. Messages of one sender arrive in order.
pub(crate) type Outbox = mpsc::UnboundedSender<Message>;

pub(crate) type Answer = Result<Granted, AcquireError>;

pub(crate) enum Message {
    Acquire(Request),
    /// A lease that was taken without asking Redis.
    Hold(u64, Arc<EncodedCommand>),
    Release(u64),
    /// Counters of quotas.
    Quota(QuotaRequest),
    /// The process ends. The thread drops the sender when the gateway is deregistered.
    Shutdown(std::sync::mpsc::Sender<()>),
}

/// A request to be decided.
pub(crate) struct Request {
    pub(crate) command: Arc<EncodedCommand>,
    /// The identifier of the caller's key: requests that wait are queued by it.
    pub(crate) key: Box<str>,
    pub(crate) asked: Instant,
    pub(crate) wait: Option<WaitPermission>,
    pub(crate) answer: oneshot::Sender<Answer>,
    pub(crate) outbox: Outbox,
    /// Held until Redis has answered.
    pub(crate) unanswered: OwnedSemaphorePermit,
}

/// A change of counters of quotas.
pub(crate) struct QuotaRequest {
    pub(crate) command: QuotaCommand,
    pub(crate) asked: Instant,
    /// Dropped if Redis does not answer in time.
    pub(crate) answer: oneshot::Sender<Option<QuotaAnswer>>,
}
