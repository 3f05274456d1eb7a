//! What the authentication layer found out about a request, and answers in its dialect's form.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use voxgate::audit::Ended;
use voxgate::dialect::RefusalContext;
use voxgate::gateway::X_REQUEST_ID;
use voxgate::{Caller, Denial, DenialKind, Dialect, RequestId, TraceContext, TraceId};

/// A request that the authentication layer accepted.
pub(super) struct Accepted {
    pub(super) caller: Caller,
    pub(super) dialect: Dialect,
    /// Its place in a trace, as the upstream is told.
    pub(super) trace: Option<TraceContext>,
    form: RefusalForm,
}

impl Accepted {
    /// `None` when the request did not pass the authentication layer.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let caller = request.extensions().get::<Caller>()?.clone();
        let form = RefusalForm::of(request)?;
        Some(Self {
            caller,
            dialect: form.dialect,
            trace: request.extensions().get().copied(),
            form,
        })
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> RequestId {
        self.form.request_id
    }

    /// The answer to `OPTIONS *`, which asks whether the gateway is there (RFC 9110 §9.3.7). No
    /// upstream is asked.
    pub(super) fn no_content(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let id = self.request_id().to_header_value();
        response.headers_mut().insert(X_REQUEST_ID, id);
        response
    }

    /// An answer that no upstream gave.
    pub(super) fn refuse(&self, kind: DenialKind) -> Response<Full<Bytes>> {
        self.form.refuse(kind)
    }
}

/// What is needed to answer a request in the form of its dialect, also after the request is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusalForm {
    dialect: Dialect,
    context: RefusalContext,
    request_id: RequestId,
    trace_id: Option<TraceId>,
}

impl RefusalForm {
    /// `None` when the request did not pass the authentication layer.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let caller = request.extensions().get::<Caller>()?;
        let (request_id, trace_id) = (caller.request_id(), caller.trace_id());
        Some(Self {
            dialect: *request.extensions().get::<Dialect>()?,
            context: RefusalContext::of(request, request_id),
            request_id,
            trace_id,
        })
    }

    /// The request's id.
    pub(super) fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The trace that the request belongs to.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// The refusal of this kind.
    pub(super) fn refuse(&self, kind: DenialKind) -> Response<Full<Bytes>> {
        let mut response = self.dialect.refuse(&denial(kind), self.context);
        if kind == DenialKind::UpstreamTimeout {
            response.extensions_mut().insert(Ended::Timeout);
        }
        response.map(Full::new)
    }
}

fn denial(kind: DenialKind) -> Denial {
    let denial = Denial::new(kind);
    match kind {
        // The addresses that are out are tried every second.
        DenialKind::UpstreamUnavailable => denial.with_retry_after(Duration::from_secs(1)),
        _ => denial,
    }
}

/// The answer to a client that broke off before it had sent its request. It is only for the audit
/// record: the client does not read it.
pub(super) fn abandoned() -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::BAD_REQUEST);
    response.extensions_mut().insert(Ended::ClientAbort);
    response
}

/// An answer in no dialect, for a request whose dialect is not known.
pub(super) fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
