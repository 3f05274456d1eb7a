//! Refusals in the form of each vendor.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_core::request_id::{RequestId, X_REQUEST_ID};

use super::{Profile, grpc};
use crate::rate_limit::QuotaFields;
use crate::websocket::asks_for_websocket;

/// The properties of a request that determine the form of its refusal. Create it before the request
/// is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct RefusalContext {
    pub(super) request_id: RequestId,
    grpc: bool,
    /// The path ends in `:stream`. Some vendors wrap the responses of such paths.
    pub(super) streams: bool,
    /// The request opens a WebSocket.
    pub(super) websocket: bool,
}

impl RefusalContext {
    /// Returns the context of `request`.
    #[must_use]
    pub fn of<B>(request: &Request<B>, request_id: RequestId) -> Self {
        Self {
            request_id,
            // gRPC requires HTTP/2, but a client can send the content type over any version.
            grpc: request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers()),
            streams: request.uri().path().ends_with(":stream"),
            websocket: asks_for_websocket(request),
        }
    }
}

/// A response in the vendor's form.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
    pub(super) challenge: Option<&'static str>,
}

impl Refusal {
    /// JSON with the default status of the kind.
    pub(super) fn json(kind: DenialKind, body: String) -> Self {
        Self {
            status: kind.status(),
            content_type: "application/json",
            body: Cow::Owned(body),
            challenge: None,
        }
    }

    /// The vendor's own status, in place of the kind's.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The challenge of a 401 (RFC 9110 §11.6.1).
    pub(super) fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = (self.status == StatusCode::UNAUTHORIZED).then_some(challenge);
        self
    }
}

/// How the vendor's SDK is kept from long waits before it retries a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// The SDK limits its waits, or does not retry.
    Bounded,
    /// The SDK waits for the time in `Retry-After` without a limit, unless
    /// `x-should-retry: false` disables retries (SDKs that Stainless generates).
    Header,
    /// The SDK waits up to a minute for each of several retries, and no header disables retries
    /// (SDKs that Fern generates). The response has the shortest time.
    Shortened,
}

/// The longest `Retry-After` in seconds with which such SDKs may retry.
const LONGEST_RETRY: u64 = 1;
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

impl Retry {
    /// Adds `Retry-After` in whole seconds (RFC 9110 §10.2.3). `RateLimit` also contains the time,
    /// and is not shortened.
    fn write(self, seconds: u64, headers: &mut HeaderMap) {
        let told = match self {
            Self::Shortened => seconds.min(LONGEST_RETRY),
            Self::Bounded | Self::Header => seconds,
        };
        headers.insert(RETRY_AFTER, HeaderValue::from(told));
        if self == Self::Header && seconds > LONGEST_RETRY {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
    }
}

pub(super) fn respond(
    profile: &Profile,
    denial: &Denial,
    context: RefusalContext,
) -> Response<Bytes> {
    let told = denial.kind().as_told();
    let mut response = match context.grpc {
        true => grpc::refuse(told),
        false => http((profile.refuse)(told, context)),
    };
    // A quota that is answered with 401 or 402 is not a reason to retry.
    let may_retry = [
        StatusCode::OK, // gRPC, whose status is in a trailer
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let may_retry = told != DenialKind::QuotaExhausted || may_retry.contains(&response.status());
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, context.request_id.to_header_value());
    if let Some(wait) = denial.retry_after().filter(|_| may_retry) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        profile.retry.write(seconds, headers);
    } else if profile.retry == Retry::Header && denial.kind() == DenialKind::UpstreamTimeout {
        // The SDK would wait for the whole timeout again, twice, and have the text spoken again.
        headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response.extensions_mut().insert(denial.kind());
    if let Some([policy, limit]) = denial.quota_fields().cloned() {
        response
            .extensions_mut()
            .insert(QuotaFields { policy, limit });
    }
    response
}

fn http(refusal: Refusal) -> Response<Bytes> {
    let mut response = Response::new(match refusal.body {
        Cow::Borrowed(body) => Bytes::from_static(body.as_bytes()),
        Cow::Owned(body) => Bytes::from(body),
    });
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(refusal.content_type));
    if let Some(challenge) = refusal.challenge {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// The reason as a sentence. A vendor that documents its own text uses that instead.
pub(super) fn sentence(kind: DenialKind) -> &'static str {
    kind.sentence()
}

/// An error code for programs: `unauthorized`, `forbidden`, `rate_limited`, ….
pub(super) fn word(kind: DenialKind) -> &'static str {
    match kind.status().as_u16() {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        413 => "payload_too_large",
        429 => "rate_limited",
        500 => "internal_server_error",
        501 => "not_implemented",
        502 => "bad_gateway",
        503 => "service_unavailable",
        _ => "gateway_timeout",
    }
}

/// The reason phrase of the status: `Unauthorized`, `Forbidden`, ….
pub(super) fn reason(kind: DenialKind) -> &'static str {
    kind.status().canonical_reason().unwrap_or("Error")
}
