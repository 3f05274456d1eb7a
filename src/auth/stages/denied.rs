//! A request that a stage denied.

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use voxgate_core::denial::{Denial, DenialKind};

use crate::dialect::RefusalContext;
use crate::rate_limit::{Limit, Refused, SlowDown};
use crate::verify::Verify;

use super::super::pipeline::Pipeline;
use super::{CloseConnection, DecisionContext, Recorded, Refusal};

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
        let (refused, slowed) = match reason {
            DenialReason::Limit(refused) => (refused, None),
            DenialReason::Stage(denial) => match slow_down(pipeline, request, &denial) {
                Some(slowed) => {
                    let denial = denial.with_limit(Limit::PeerFailures);
                    (Refused::new(denial), Some(slowed))
                }
                None => (Refused::new(denial), None),
            },
        };
        let refusal = RefusalContext::of(request, context.start.request_id);
        let dialect = context.dialect.for_refusal(request);
        let mut response = dialect.refuse(&refused.denial, refusal);
        refused.write_fields(context.dialect.concurrency_fields(), response.headers_mut());
        // In HTTP/2, each stream has a frame of its own, and others are not concerned.
        let is_framing = refused.denial.kind().is_framing() && request.version() < Version::HTTP_2;
        // The connection of a proxy has the requests of other clients, too.
        let is_flood =
            matches!(slowed, Some(SlowDown::Close)) && !pipeline.is_proxied(request.extensions());
        if is_framing || is_flood {
            close(request, &mut response);
        }
        let denied = Err((&refused, response.status()));
        let receipt = pipeline.record_decision(request, &context, denied);
        let delay = match slowed {
            Some(SlowDown::Delay(delay)) => Some(delay),
            Some(SlowDown::Close) | None => None,
        };
        Recorded::refused(receipt, Refusal { response, delay }, context.dialect)
    }
}

/// Closes the connection after this response. HTTP/2 has no header for it (RFC 9113 §8.2.2), so the
/// server finds it in the extensions.
fn close<B>(request: &Request<B>, response: &mut Response<Bytes>) {
    if request.version() < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response.extensions_mut().insert(CloseConnection);
}

/// What happens to the refusal of an address after too many failed authentications.
fn slow_down<V, B>(
    pipeline: &Pipeline<V>,
    request: &Request<B>,
    denial: &Denial,
) -> Option<SlowDown> {
    // A preflight never has a credential (Fetch §3.2), so that it is no attempt to guess one.
    let is_preflight =
        request.method() == Method::OPTIONS && denial.kind() == DenialKind::MissingCredential;
    if !denial.kind().is_failed_authentication() || is_preflight {
        return None;
    }
    pipeline
        .limiter
        .slow_down(pipeline.client(request.extensions())?)
}
