//! Last stage: the decision is with the audit sink.

use bytes::Bytes;
use http::Response;

use crate::audit::Receipt;
use crate::dialect::Dialect;
use crate::rate_limit::Delay;

use super::super::request_guard::RequestGuard;

/// A decision, and the receipt of its audit record. The request continues when the receipt has
/// resolved.
pub(in super::super) struct Recorded {
    receipt: Receipt,
    decision: Decision,
    dialect: Dialect,
}

/// An accepted request's guard, or its refusal.
pub(in super::super) type Decision = Result<RequestGuard, Refusal>;

/// The response that refuses a request, and its delay.
pub(in super::super) struct Refusal {
    pub(in super::super) response: Response<Bytes>,
    pub(in super::super) delay: Option<Delay>,
}

/// In the extensions of a refusal after which the server must close the connection.
#[derive(Clone, Copy, Debug)]
pub struct CloseConnection;

impl Recorded {
    /// Called by [`Admitted`](super::Admitted) alone.
    pub(super) fn accepted(receipt: Receipt, guard: RequestGuard, dialect: Dialect) -> Self {
        Self {
            receipt,
            decision: Ok(guard),
            dialect,
        }
    }

    /// Called by [`Denied`](super::Denied) alone.
    pub(super) fn refused(receipt: Receipt, refusal: Refusal, dialect: Dialect) -> Self {
        Self {
            receipt,
            decision: Err(refusal),
            dialect,
        }
    }

    /// Resolves when the decision is recorded, or cannot be.
    pub(in super::super) fn receipt(&mut self) -> &mut Receipt {
        &mut self.receipt
    }

    /// Whether there is nothing to wait for.
    pub(in super::super) fn is_ready(&self) -> bool {
        self.receipt.is_recorded()
    }

    /// The decision and the dialect of the request, once the receipt has resolved.
    pub(in super::super) fn into_decision(self) -> (Decision, Dialect) {
        (self.decision, self.dialect)
    }
}
