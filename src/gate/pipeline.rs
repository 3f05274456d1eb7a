//! The way of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{UPGRADE, USER_AGENT};
use http::{Extensions, Request, Response, StatusCode};

use crate::audit::{AuditRecord, AuditSink, Decision};
use crate::denial::{Denial, DenialKind};
use crate::dialect::{Dialect, RefusalContext};
use crate::policy::Policy;
use crate::principal::{AuthMethod, Caller, Principal};
use crate::request_id::RequestId;
use crate::screen::Screen;
use crate::verify::{Outcome, Verdict, Verify};

use super::exchange::Exchange;

/// What all routes share.
pub(super) struct Gate<V> {
    pub(super) mode: Mode<V>,
    pub(super) dialect: Dialect,
    pub(super) policy: Policy,
    pub(super) sink: Arc<dyn AuditSink>,
    pub(super) screen: Screen,
    pub(super) peer: fn(&Extensions) -> Option<SocketAddr>,
}

pub(super) enum Mode<V> {
    /// The caller presents a credential, and it is looked up.
    Validate(Arc<V>),
    /// The caller's credential is not looked at; everybody is this principal.
    Preconfigured(Principal),
}

/// Where a request has got to.
pub(super) enum Step<F> {
    Verifying(F),
    Refused(Response<Bytes>),
    Accepted(Exchange),
}

impl<V: Verify> Gate<V> {
    /// Takes a request all the way to its decision. It is called again, with the verdict, when
    /// the verifier had to ask.
    pub(super) fn pass<B>(
        &self,
        request: &mut Request<B>,
        arrival: Arrival,
        asked: Option<Verdict>,
    ) -> Step<V::Future> {
        let dialect = self.dialect.recognize(request);
        let verdict = match asked {
            Some(verdict) => verdict,
            None => match self.credential_and_verify(request, dialect) {
                Outcome::Ready(verdict) => verdict,
                Outcome::Pending(future) => return Step::Verifying(future),
            },
        };
        let dialect = dialect.unwrap_or(self.dialect);
        let method = self.auth_method(request);
        let known = match &verdict {
            Ok(principal) => Some(principal.clone()),
            Err(denial) => denial.principal().cloned(),
        };
        let authorized = verdict.and_then(|principal| self.authorize(request, principal, method));
        match authorized {
            Ok(principal) => {
                let accepted = Decided::Accepted(method, &principal);
                self.audit(request, arrival, dialect, accepted);
                let exchange = Exchange::open(&self.sink, &principal, arrival, request.method());
                let caller = Caller::new(principal, method, arrival.request_id);
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(dialect);
                Step::Accepted(exchange)
            }
            Err(denial) => {
                let context = RefusalContext::of(request, arrival.request_id);
                let response = dialect.refuse(&denial, context);
                let refused = Decided::Refused(&denial, response.status(), known.as_ref());
                self.audit(request, arrival, dialect, refused);
                Step::Refused(response)
            }
        }
    }

    fn credential_and_verify<B>(
        &self,
        request: &mut Request<B>,
        dialect: Option<Dialect>,
    ) -> Outcome<V::Future> {
        self.dialect.mark_sensitive(request.headers_mut());
        let refuse = |kind: DenialKind| Outcome::Ready(Err(kind.into()));
        let screened = self.screen.check(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
        );
        if let Err(kind) = screened {
            return refuse(kind);
        }
        if self.is_public(request) {
            return Outcome::Ready(Ok(Principal::new("public")));
        }
        let verifier = match &self.mode {
            Mode::Preconfigured(principal) => return Outcome::Ready(Ok(principal.clone())),
            Mode::Validate(verifier) => verifier,
        };
        let Some(dialect) = dialect else {
            return refuse(DenialKind::UnrecognizedDialect);
        };
        match dialect.credential(request) {
            Ok(credential) => verifier.verify(credential.presented()),
            Err(kind) => refuse(kind),
        }
    }

    fn authorize<B>(
        &self,
        request: &Request<B>,
        principal: Principal,
        method: AuthMethod,
    ) -> Verdict {
        if method == AuthMethod::Public {
            return Ok(principal);
        }
        match self
            .policy
            .authorize(&principal, request.method(), request.uri())
        {
            Ok(()) => Ok(principal),
            Err(kind) => Err(kind.into()),
        }
    }

    fn audit<B>(
        &self,
        request: &Request<B>,
        arrival: Arrival,
        dialect: Dialect,
        decided: Decided<'_>,
    ) {
        let (auth_method, principal, denial, status) = match decided {
            Decided::Accepted(method, principal) => (Some(method), Some(principal), None, None),
            Decided::Refused(denial, status, principal) => {
                (None, principal, Some(denial), Some(status))
            }
        };
        self.sink.record(&AuditRecord::Decision(Decision {
            time: arrival.time,
            request_id: arrival.request_id,
            dialect: dialect.as_str(),
            auth_method,
            principal,
            denial,
            status,
            http_method: request.method(),
            path: request.uri().path(),
            peer: (self.peer)(request.extensions()),
            user_agent: request
                .headers()
                .get(USER_AGENT)
                .map(|value| value.as_bytes()),
        }));
    }

    /// What is public is an answer, not a tunnel.
    fn is_public<B>(&self, request: &Request<B>) -> bool {
        let (method, path) = (request.method(), request.uri().path());
        self.policy.is_public(method, path) && !request.headers().contains_key(UPGRADE)
    }

    fn auth_method<B>(&self, request: &Request<B>) -> AuthMethod {
        match self.mode {
            _ if self.is_public(request) => AuthMethod::Public,
            Mode::Validate(_) => AuthMethod::ApiKey,
            Mode::Preconfigured(_) => AuthMethod::DeploymentKey,
        }
    }
}

/// What came out, with all that the record says of it.
enum Decided<'a> {
    Accepted(AuthMethod, &'a Principal),
    Refused(&'a Denial, StatusCode, Option<&'a Principal>),
}

/// When a request came, and what it is called from then on.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) request_id: RequestId,
    pub(super) time: SystemTime,
    pub(super) instant: Instant,
}

impl Arrival {
    pub(super) fn now() -> Self {
        let time = SystemTime::now();
        Self {
            request_id: RequestId::new(time.duration_since(UNIX_EPOCH).unwrap_or_default()),
            time,
            instant: Instant::now(),
        }
    }
}

/// The address of the other end of the connection. A server puts it into the request's extensions
/// so that audit records can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    pub(super) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}

// Not derived: a verifier is shared, and need not be `Clone`.
impl<V> Clone for Gate<V> {
    fn clone(&self) -> Self {
        Self {
            mode: match &self.mode {
                Mode::Validate(verifier) => Mode::Validate(Arc::clone(verifier)),
                Mode::Preconfigured(principal) => Mode::Preconfigured(principal.clone()),
            },
            dialect: self.dialect,
            policy: self.policy.clone(),
            sink: Arc::clone(&self.sink),
            screen: self.screen,
            peer: self.peer,
        }
    }
}
