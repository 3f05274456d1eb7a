//! Fourth stage: the request holds its permit.

use http::Request;

use crate::principal::{Caller, Principal};
use crate::rate_limit::Permit;
use crate::speech::SpeechMeter;
use crate::verify::Verify;

use super::super::pipeline::Pipeline;
use super::super::request_guard::RequestGuard;
use super::super::request_start::AskedBy;
use super::{DecisionContext, Recorded};

/// A request that the limits let begin.
pub(in super::super) struct Admitted {
    context: DecisionContext,
    principal: Principal,
    permit: Permit,
}

impl Admitted {
    /// Called by [`Authorized`](super::Authorized) alone.
    pub(super) fn new(context: DecisionContext, principal: Principal, permit: Permit) -> Self {
        Self {
            context,
            principal,
            permit,
        }
    }

    /// Records the decision, and tells the handler who the caller is.
    pub(in super::super) fn record<V: Verify, B>(
        self,
        pipeline: &Pipeline<V>,
        request: &mut Request<B>,
    ) -> Recorded {
        let Self {
            context,
            principal,
            mut permit,
        } = self;
        let start = context.start;
        permit.name_concurrency(context.dialect.concurrency_fields());
        let receipt =
            pipeline.record_decision(request, &context, Ok((&principal, permit.queued())));
        let mut guard =
            RequestGuard::new(&pipeline.sink, &principal, start, request.method(), permit);
        if let Some(asked) = request.extensions().get::<AskedBy>() {
            guard.only_asked(asked.proxy);
        }
        let wants_meter = pipeline.meters || principal.has_quotas();
        let meter = wants_meter.then(SpeechMeter::new);
        #[cfg(feature = "speech")]
        let inspection = pipeline.inspecting.as_ref().and_then(|inspecting| {
            let (policy, dialect) = (&context.policy, context.dialect.as_str());
            inspecting.of(policy, &principal, request, dialect, meter.as_ref())
        });
        #[cfg(feature = "speech")]
        let meter = match inspection {
            // The service that reads bodies puts the meter in its place.
            Some(inspection) => {
                guard.meter(inspection.meter().clone());
                request.extensions_mut().insert(inspection);
                None
            }
            None => meter,
        };
        if let Some(meter) = meter {
            request.extensions_mut().insert(meter.clone());
            guard.meter(meter);
        }
        let caller = Caller::new(principal, context.method, start.request_id, start.trace);
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(context.dialect);
        Recorded::accepted(receipt, guard, context.dialect)
    }
}
