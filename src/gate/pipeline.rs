//! The way of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Extensions, Request, Response};

use crate::audit::{AuditRecord, AuditSink, Decision};
use crate::denial::Denial;
use crate::dialect::Dialect;
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
        let verdict = match asked {
            Some(verdict) => verdict,
            None => match self.credential_and_verify(request) {
                Outcome::Ready(verdict) => verdict,
                Outcome::Pending(future) => return Step::Verifying(future),
            },
        };
        let principal = verdict.as_ref().ok().cloned();
        let authorized = verdict.and_then(|principal| self.authorize(request, principal));
        match authorized {
            Ok(principal) => {
                self.audit(request, arrival, Some(&principal), None);
                let exchange = Exchange::open(&self.sink, &principal, arrival, request.method());
                let caller = Caller::new(principal, self.auth_method(), arrival.request_id);
                request.extensions_mut().insert(caller);
                Step::Accepted(exchange)
            }
            Err(denial) => {
                let response = self.dialect.refuse(&denial, arrival.request_id);
                self.audit(
                    request,
                    arrival,
                    principal.as_ref(),
                    Some((&denial, &response)),
                );
                Step::Refused(response)
            }
        }
    }

    fn credential_and_verify<B>(&self, request: &mut Request<B>) -> Outcome<V::Future> {
        self.dialect.mark_sensitive(request.headers_mut());
        let screened = self.screen.check(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
        );
        let verifier = match (screened, &self.mode) {
            (Err(kind), _) => return Outcome::Ready(Err(kind.into())),
            (Ok(()), Mode::Preconfigured(principal)) => {
                return Outcome::Ready(Ok(principal.clone()));
            }
            (Ok(()), Mode::Validate(verifier)) => verifier,
        };
        match self.dialect.credential(request.headers()) {
            Ok(presented) => verifier.verify(presented),
            Err(kind) => Outcome::Ready(Err(kind.into())),
        }
    }

    fn authorize<B>(&self, request: &Request<B>, principal: Principal) -> Verdict {
        let path = request.uri().path();
        match self.policy.authorize(&principal, request.method(), path) {
            Ok(()) => Ok(principal),
            Err(kind) => Err(kind.into()),
        }
    }

    fn audit<B>(
        &self,
        request: &Request<B>,
        arrival: Arrival,
        principal: Option<&Principal>,
        refused: Option<(&Denial, &Response<Bytes>)>,
    ) {
        self.sink.record(&AuditRecord::Decision(Decision {
            time: arrival.time,
            request_id: arrival.request_id,
            dialect: self.dialect.as_str(),
            auth_method: refused.is_none().then(|| self.auth_method()),
            principal,
            denial: refused.map(|(denial, _)| denial),
            status: refused.map(|(_, response)| response.status()),
            http_method: request.method(),
            path: request.uri().path(),
            peer: (self.peer)(request.extensions()),
            user_agent: request
                .headers()
                .get(USER_AGENT)
                .map(|value| value.as_bytes()),
        }));
    }

    fn auth_method(&self) -> AuthMethod {
        match self.mode {
            Mode::Validate(_) => AuthMethod::ApiKey,
            Mode::Preconfigured(_) => AuthMethod::DeploymentKey,
        }
    }
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
