//! What is granted.

use std::fmt;

use super::Quota;
use super::question::{Message, Outbox};

/// The slots that a question was granted. They are given back when it is dropped, which does not
/// block.
#[must_use = "its slots are given back when it is dropped"]
pub(crate) struct Lease {
    quotas: Vec<Option<Quota>>,
    held: Option<(u64, Outbox)>,
}

impl Lease {
    /// With the slots that Redis has under this number.
    pub(super) fn of(number: u64, outbox: Outbox, quotas: Vec<Option<Quota>>) -> Self {
        Self {
            quotas,
            held: Some((number, outbox)),
        }
    }

    /// Without a slot: nothing limits how many there are.
    pub(super) fn of_nothing(quotas: Vec<Option<Quota>>) -> Self {
        Self { quotas, held: None }
    }

    /// How the rates stand after this request, one for each demand that has one.
    pub(crate) fn quotas(&self) -> &[Option<Quota>] {
        &self.quotas
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((number, outbox)) = self.held.take() {
            // Without the thread nobody renews it either, and it expires.
            let _ = outbox.send(Message::Release(number));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("number", &self.held.as_ref().map(|(number, _)| number))
            .field("quotas", &self.quotas)
            .finish()
    }
}
