//! The record of a decision.

use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, StatusCode};

use crate::admit::Refused;
use crate::audit::{
    AuditRecord, AuditSink as _, CredentialFingerprint, Decision, QueryNames, Receipt,
};
use crate::denial::{Denial, DenialKind};
use crate::dialect::Dialect;
use crate::principal::{AuthMethod, Principal};

use super::arrival::Arrival;
use super::pipeline::Gate;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// What was found out about a request, for its record.
pub(super) struct Found<'a> {
    pub(super) arrival: Arrival,
    pub(super) dialect: Dialect,
    pub(super) known: Option<&'a Principal>,
    pub(super) method: AuthMethod,
}

impl<V> Gate<V> {
    /// `decided` is how long an accepted request waited for its permit, or why it was refused.
    pub(super) fn audit<B>(
        &self,
        request: &Request<B>,
        found: &Found<'_>,
        decided: Result<Option<Duration>, (&Refused, StatusCode)>,
    ) -> Receipt {
        let refused = decided.err();
        let (uri, headers) = (request.uri(), request.headers());
        let bytes = |name| headers.get(name).map(HeaderValue::as_bytes);
        let limited = found.known.filter(|known| !known.is_unlimited());
        let rule = limited.and_then(|_| self.policy.find(request.method(), uri.path()));
        self.sink.commit(&AuditRecord::Decision(Decision {
            time: found.arrival.time,
            request_id: found.arrival.request_id,
            dialect: found.dialect.as_str(),
            auth_method: refused.is_none().then_some(found.method),
            principal: found.known,
            denial: refused.map(|(refused, _)| &refused.denial),
            limit: refused.and_then(|(refused, _)| refused.told().limit()),
            queued: decided.unwrap_or_else(|(refused, _)| refused.queued),
            status: refused.map(|(_, status)| status),
            http_method: request.method(),
            path: uri.path(),
            peer: (self.peer)(request.extensions()),
            user_agent: bytes(USER_AGENT),
            host: bytes(HOST).or_else(|| uri.authority().map(|host| host.as_str().as_bytes())),
            query: uri.query().map(QueryNames::of),
            version: request.version(),
            trace_parent: bytes(TRACE_PARENT).and_then(trace_parent),
            rule: rule.map(|rule| (rule.method(), rule.pattern())),
            credential: refused
                .and_then(|(refused, _)| self.fingerprint(request, found, &refused.denial)),
        }))
    }

    /// Of a credential that nobody has.
    fn fingerprint<B>(
        &self,
        request: &Request<B>,
        found: &Found<'_>,
        denial: &Denial,
    ) -> Option<CredentialFingerprint> {
        use DenialKind::{MistypedCredential, UnknownCredential};
        if ![MistypedCredential, UnknownCredential].contains(&denial.kind()) {
            return None;
        }
        let credential = found.dialect.credential(request).ok()?;
        let pepper = self.pepper.as_ref()?;
        Some(pepper.fingerprint(credential.presented()))
    }
}

/// A `traceparent` as W3C Trace Context §3.2 has it: `00-` and three hexadecimal numbers. Later
/// versions may have more behind it.
fn trace_parent(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let lengths = text.split('-').map(str::len);
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    (lengths.eq([2, 32, 16, 2]) && text.bytes().all(digits) && !text.starts_with("ff"))
        .then_some(text)
}
