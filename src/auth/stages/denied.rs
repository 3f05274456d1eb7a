//! A request that a stage denied.

use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use voxgate_core::denial::Denial;

use crate::dialect::RefusalContext;
use crate::rate_limit::Refused;
use crate::verify::Verify;

use super::super::pipeline::Pipeline;
use super::{DecisionContext, Recorded};

/// A request that is refused, and why.
pub(in super::super) struct Denied {
    context: DecisionContext,
    reason: DenialReason,
}

enum DenialReason {
    /// A stage before the limits denied it.
    Stage(Denial),
    /// A limit was exceeded.
    Limit(Refused),
}

impl Denied {
    /// A request that a stage before the limits denied.
    pub(super) fn new(mut context: DecisionContext, denial: Denial) -> Box<Self> {
        if let Some(principal) = denial.principal() {
            context.principal = Some(principal.clone());
        }
        let reason = DenialReason::Stage(denial);
        Box::new(Self { context, reason })
    }

    /// A request that exceeds a limit.
    pub(super) fn by_limit(context: DecisionContext, refused: Refused) -> Box<Self> {
        let reason = DenialReason::Limit(refused);
        Box::new(Self { context, reason })
    }

    /// Makes the dialect's refusal, and records the decision.
    pub(in super::super) fn record<V: Verify, B>(
        self,
        pipeline: &Pipeline<V>,
        request: &Request<B>,
    ) -> Recorded {
        let Self { context, reason } = self;
        let refused = match reason {
            DenialReason::Limit(refused) => refused,
            DenialReason::Stage(denial) => {
                let slowed = slow_down(pipeline, request, &denial);
                Refused::new(denial, slowed)
            }
        };
        let refusal = RefusalContext::of(request, context.start.request_id);
        let dialect = context.dialect.for_refusal(request);
        let mut response = dialect.refuse(refused.told(), refusal);
        refused.fields.write(response.headers_mut());
        if refused.denial.kind().is_framing() && request.version() < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let denied = Err((&refused, response.status()));
        let receipt = pipeline.record_decision(request, &context, denied);
        Recorded::refused(receipt, response, context.dialect)
    }
}

/// The denial that an address gets instead of `denial` after too many failed authentications.
fn slow_down<V, B>(
    pipeline: &Pipeline<V>,
    request: &Request<B>,
    denial: &Denial,
) -> Option<Denial> {
    if !denial.kind().is_failed_authentication() {
        return None;
    }
    let peer = (pipeline.peer)(request.extensions())?;
    pipeline.limiter.slow_down(peer.ip())
}
