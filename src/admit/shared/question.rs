//! What the thread is told, and what it tells.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::call::{Call, Refusal};
use super::lease::Lease;
use super::{Hit, Unavailable};

/// What the thread is told. What comes from one place arrives in its order.
pub(super) type Outbox = mpsc::UnboundedSender<Message>;
pub(super) type Answer = Result<Result<Lease, Hit>, Unavailable>;

pub(super) enum Message {
    Ask(Question),
    /// A lease that nobody was asked for.
    Hold(u64, Arc<Call>),
    Release(u64),
    /// That the gateway ends. Dropped when all is told.
    Finish(std::sync::mpsc::Sender<()>),
}

pub(super) struct Question {
    pub(super) call: Arc<Call>,
    pub(super) asked: Instant,
    pub(super) wait: Option<Wait>,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) outbox: Outbox,
    /// Until Redis has answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// Leave to wait for a slot.
pub(crate) struct Wait {
    pub(crate) until: Instant,
    /// Whose it is: those who wait for the same slots take turns.
    pub(crate) lane: Box<str>,
    /// Gives the place to wait in, which is kept meanwhile. It is asked once, when it comes to
    /// that: a question that is answered at once takes nobody's place.
    pub(crate) enter: Enter,
}

pub(crate) type Enter = Box<dyn FnOnce() -> Option<Seat> + Send>;
pub(crate) type Seat = Box<dyn Send>;

/// What the script decided, in force.
pub(super) enum Verdict {
    Granted(Lease),
    Refused(Refusal),
}

/// How to ask.
pub(super) struct Ask {
    /// Whether to take what is asked for, or only to look.
    pub(super) take: bool,
    pub(super) deadline: Instant,
    /// Kept until Redis has answered.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}
