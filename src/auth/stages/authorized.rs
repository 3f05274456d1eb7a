//! Third stage: the policy allows the request.

use std::future::Future;
use std::pin::Pin;

use crate::dialect::Dialect;
use crate::policy::SharedPolicy;
use crate::principal::{AuthMethod, Principal};
use crate::rate_limit::{self, Permit};

use super::super::pipeline::{Pipeline, Stage};
use super::{Admitted, DecisionContext, Denied, Validated};

/// A request that the policy allows.
pub(in super::super) struct Authorized {
    context: DecisionContext,
    dialect: Option<Dialect>,
    principal: Principal,
    permit: Option<Permit>,
    asked: bool,
}

/// The result of asking the limits.
pub(in super::super) enum Admission {
    Done(Result<Admitted, Box<Denied>>),
    Pending(PendingAdmission),
}

/// An authorized request that waits for a permit.
pub(in super::super) struct PendingAdmission {
    pub(in super::super) permit: Pin<Box<dyn Future<Output = rate_limit::Admitted> + Send>>,
    pub(in super::super) request: Authorized,
}

impl Authorized {
    /// Called by [`Authenticated`](super::Authenticated) alone.
    pub(super) fn new(
        context: DecisionContext,
        dialect: Option<Dialect>,
        principal: Principal,
        permit: Option<Permit>,
        asked: bool,
    ) -> Self {
        Self {
            context,
            dialect,
            principal,
            permit,
            asked,
        }
    }

    /// Takes a permit from the limits, unless the request has one already.
    pub(in super::super) fn admit<V>(mut self, pipeline: &Pipeline<V>) -> Admission {
        let admission = match (self.permit.take(), self.context.method) {
            (Some(permit), _) => rate_limit::Admission::Ready(Ok(permit)),
            (None, AuthMethod::Public) => rate_limit::Admission::Ready(Ok(Permit::default())),
            (None, _) => pipeline.limiter.admit(&self.principal),
        };
        match admission {
            rate_limit::Admission::Ready(admitted) => Admission::Done(self.decided(admitted)),
            rate_limit::Admission::Pending(permit) => {
                let request = self;
                Admission::Pending(PendingAdmission { permit, request })
            }
        }
    }

    /// Continues with what the request waited for. A request that waited for a slot is
    /// authenticated and authorized again, whatever the verifier is: its key may have been revoked
    /// meanwhile. A verifier that takes time is not asked twice for a request that found a slot at
    /// once and only waited for the answer of a shared store, which is bounded by milliseconds.
    pub(in super::super) fn admitted(
        self,
        policy: &SharedPolicy,
        admitted: rate_limit::Admitted,
    ) -> Stage {
        match admitted {
            Ok(permit) if permit.queued().is_some() || !self.asked => Validated::again(
                self.context,
                policy.load(),
                self.dialect,
                permit,
                self.principal,
            )
            .into(),
            admitted => self.decided(admitted).into(),
        }
    }

    fn decided(mut self, admitted: rate_limit::Admitted) -> Result<Admitted, Box<Denied>> {
        match admitted {
            Ok(permit) => Ok(Admitted::new(self.context, self.principal, permit)),
            Err(refused) => {
                self.context.principal = Some(self.principal);
                Err(Denied::by_limit(self.context, *refused))
            }
        }
    }
}
