//! The audit record of a decision.

use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode};

use crate::audit::{
    AuditRecord, AuditSink as _, CredentialFingerprint, Decision, QueryNames, Receipt,
};
use crate::denial::{Denial, DenialKind};
use crate::rate_limit::Refused;

use super::pipeline::Pipeline;
use super::request_start::PeerAddr;
use super::stages::DecisionContext;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

impl<V> Pipeline<V> {
    /// Commits the decision to the audit sink. `decided` is the time that an accepted request
    /// waited for its permit, or the reason of a refusal.
    pub(super) fn record_decision<B>(
        &self,
        request: &Request<B>,
        context: &DecisionContext,
        decided: Result<Option<Duration>, (&Refused, StatusCode)>,
    ) -> Receipt {
        let refused = decided.err();
        let (uri, headers) = (request.uri(), request.headers());
        let bytes = |name| headers.get(name).map(HeaderValue::as_bytes);
        let principal = context.principal.as_ref();
        let limited = principal.filter(|principal| !principal.is_unlimited());
        let rule = limited.and_then(|_| self.policy.find(request.method(), uri.path()));
        self.sink.commit(&AuditRecord::Decision(Decision {
            time: context.start.time,
            request_id: context.start.request_id,
            dialect: context.dialect.as_str(),
            auth_method: refused.is_none().then_some(context.method),
            principal,
            denial: refused.map(|(refused, _)| &refused.denial),
            limit: refused.and_then(|(refused, _)| refused.told().limit()),
            queued: decided.unwrap_or_else(|(refused, _)| refused.queued),
            status: refused.map(|(_, status)| status),
            http_method: request.method(),
            path: uri.path(),
            peer: (self.peer)(request.extensions()).map(|peer| PeerAddr(peer).canonical()),
            user_agent: bytes(USER_AGENT),
            host: bytes(HOST).or_else(|| uri.authority().map(|host| host.as_str().as_bytes())),
            query: uri.query().map(QueryNames::of),
            version: request.version(),
            trace_parent: bytes(TRACE_PARENT).and_then(trace_parent),
            rule: rule.map(|rule| (rule.method(), rule.pattern())),
            credential: refused
                .and_then(|(refused, _)| self.fingerprint(request, context, &refused.denial)),
        }))
    }

    /// The fingerprint of an unknown credential, which links attempts with the same one.
    fn fingerprint<B>(
        &self,
        request: &Request<B>,
        context: &DecisionContext,
        denial: &Denial,
    ) -> Option<CredentialFingerprint> {
        use DenialKind::{MistypedCredential, UnknownCredential};
        if ![MistypedCredential, UnknownCredential].contains(&denial.kind()) {
            return None;
        }
        let credential = context.dialect.credential(request).ok()?;
        let pepper = self.pepper.as_ref()?;
        Some(pepper.fingerprint(credential.presented()))
    }
}

/// A `traceparent` in the form of W3C Trace Context §3.2: a version and three hexadecimal numbers.
fn trace_parent(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let lengths = text.split('-').map(str::len);
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    (lengths.eq([2, 32, 16, 2]) && text.bytes().all(digits) && !text.starts_with("ff"))
        .then_some(text)
}
