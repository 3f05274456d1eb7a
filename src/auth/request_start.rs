//! The start of a request: its time, its identifier, and the address of its sender.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{Extensions, HeaderValue};

use voxgate_core::denial::{Denial, DenialKind};
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::TraceContext;

use voxgate_limits::QuotaUnit;

use crate::principal::Principal;
use crate::verify::{Verdict, Verify};

use super::clock;

/// The time at which a request arrived, its identifier, and its place in a trace.
#[derive(Clone, Copy)]
pub(super) struct RequestStart {
    pub(super) request_id: RequestId,
    /// If the server supplies it.
    pub(super) trace: Option<TraceContext>,
    pub(super) time: SystemTime,
    pub(super) instant: Instant,
}

impl RequestStart {
    /// The start of the request with these extensions.
    pub(super) fn now(extensions: &Extensions) -> Self {
        let (instant, time) = clock::now();
        Self {
            request_id: RequestId::new(time.duration_since(UNIX_EPOCH).unwrap_or_default()),
            trace: extensions.get().copied(),
            time,
            instant,
        }
    }
}

/// The address of the client's end of the connection. A server puts it into the request's
/// extensions so that audit records can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// The address, in which an IPv4 address is never written as IPv6 (RFC 4291 §2.5.5.2): a listener
    /// for both families sees IPv4 clients as `::ffff:192.0.2.1`.
    #[must_use]
    pub fn canonical(self) -> SocketAddr {
        match self.0.ip().to_canonical() {
            IpAddr::V4(ip) => (ip, self.0.port()).into(),
            IpAddr::V6(_) => self.0,
        }
    }

    pub(super) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}

/// The address of the client, if it is not the other end of the connection: a proxy that the server
/// trusts named it. A server puts it into the request's extensions. Limits on failed authentications
/// and the addresses that a key may be used from concern this address; without it, the peer's.
///
/// # Deployment caveat
///
/// Never take it from a header of a client that is no trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// The identifier that a trusted proxy gave the request, for its audit record. A server puts it into
/// the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequestId(pub HeaderValue);

/// The certificate that the client has proved to have. A server that has verified it puts it into the
/// request's extensions. It is the credential of a request that presents no other.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    names: Arc<[Box<str>]>,
    not_after: SystemTime,
}

impl ClientCertificate {
    /// A certificate with these names, which is valid until this moment. A name is a URI, such as a SPIFFE
    /// ID, or a DNS name in lower case.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, not_after: SystemTime) -> Self {
        let names = names.into_iter().map(String::into_boxed_str);
        Self {
            names: names.collect(),
            not_after,
        }
    }

    /// The key of the certificate. It counts no longer than the certificate. `None` if the verifier
    /// knows no certificates.
    pub(super) fn verdict(&self, verifier: &impl Verify, now: SystemTime) -> Option<Verdict> {
        let mut owner: Option<Verdict> = None;
        for name in &*self.names {
            let found = verifier.verify_certificate(name, now)?;
            let known = |verdict: &Verdict| match verdict {
                Ok(principal) => Some(principal.id().to_owned()),
                Err(denial) => denial
                    .principal()
                    .map(|principal| principal.id().to_owned()),
            };
            match (&owner, known(&found)) {
                (_, None) => {}
                (Some(before), Some(id)) if known(before) != Some(id.clone()) => {
                    return Some(Err(DenialKind::ConflictingCredentials.into()));
                }
                _ => owner = Some(found),
            }
        }
        let verdict = owner.unwrap_or_else(|| Err(Denial::unknown_credential()));
        Some(verdict.map(|principal| {
            let mut validity = principal.validity();
            let ends = self.not_after + Duration::from_secs(1);
            validity.expires = Some(validity.expires.map_or(ends, |expires| expires.min(ends)));
            principal.with_validity(validity)
        }))
    }
}

/// The request is only asked about: a proxy asks for the decision, and forwards the request itself. A
/// server that answers proxies puts it into the request's extensions.
///
/// The decision is recorded with the name of the proxy. The end of the request is not seen: there is no
/// completion record, unless the inner service refuses, and slots are released with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedBy {
    /// The name of the proxy in audit records.
    pub proxy: &'static str,
    /// Whether the body of the request is the whole body that the proxy will forward.
    pub has_body: bool,
    /// Whether a key is accepted although a limit of it needs the request's stream: concurrency, and
    /// quotas of audio and of text that is not seen.
    pub accepts_unenforced: bool,
}

impl AskedBy {
    /// Whether a limit of this principal cannot be enforced for a proxy.
    pub(super) fn cannot_enforce(self, principal: &Principal, hides_text: bool) -> bool {
        if self.accepts_unenforced {
            return false;
        }
        let account = principal.account();
        let limits = [
            Some(principal.limits()),
            account.map(|account| account.limits()),
        ];
        let mut limits = limits.into_iter().flatten();
        let quotas = account.map(|account| account.quotas()).unwrap_or_default();
        let mut quotas = principal.quotas().iter().chain(quotas);
        limits.any(|limits| limits.concurrency.is_some())
            || quotas.any(|quota| match quota.unit() {
                QuotaUnit::Requests => false,
                QuotaUnit::Characters => hides_text,
                _ => true,
            })
    }
}

/// Has the layer refuse a request before its credential is read, in the words of its vendor and on
/// record. A layer outside of it puts this into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefuseAs(pub DenialKind);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_never_written_as_ipv6() {
        let canonical = |text: &str| {
            let address = text.parse().expect("an address");
            PeerAddr(address).canonical().to_string()
        };
        assert_eq!(canonical("[::ffff:192.0.2.1]:80"), "192.0.2.1:80");
        for unchanged in [
            "192.0.2.1:80",
            "[2001:db8::1]:80",
            "[fe80::1%3]:80",
            "[::1]:80",
        ] {
            assert_eq!(canonical(unchanged), unchanged);
        }
    }
}
