//! The way of a request.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Extensions, Request, Response};

use crate::admit::{Admission, Admitted, Limiter, Permit, Refused};
use crate::audit::{AuditSink, Pepper, Receipt};
use crate::denial::{Denial, DenialKind};
use crate::dialect::{Dialect, RefusalContext};
use crate::policy::Policy;
use crate::principal::{AuthMethod, Caller, Principal};
use crate::screen::Screen;
use crate::verify::{Outcome, Verdict, Verify};

use super::arrival::Arrival;
use super::exchange::Exchange;
use super::record::Found;

/// When to try again after a decision that could not be put on record.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all routes share.
pub(super) struct Gate<V> {
    pub(super) mode: Mode<V>,
    pub(super) dialect: Dialect,
    pub(super) policy: Policy,
    pub(super) sink: Arc<dyn AuditSink>,
    /// Tells tries with one unknown credential; `None` when there was no randomness for it.
    pub(super) pepper: Option<Pepper>,
    pub(super) screen: Screen,
    pub(super) limiter: Limiter,
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
    /// It waits for a permit. The verdict is kept if somebody had to be asked for it.
    Admitting(
        Pin<Box<dyn Future<Output = Admitted> + Send>>,
        Option<Verdict>,
    ),
    Decided(Decided),
}

/// What a request was told when it had to wait.
#[derive(Default)]
pub(super) struct Told {
    pub(super) verdict: Option<Verdict>,
    pub(super) admitted: Option<Admitted>,
}

/// A decision, and whether it is on record. Nothing goes on before it is.
pub(super) struct Decided {
    pub(super) receipt: Receipt,
    pub(super) outcome: Result<Exchange, Response<Bytes>>,
    pub(super) dialect: Dialect,
}

impl<V: Verify> Gate<V> {
    /// Takes a request all the way to its decision. It is called again, with what it was told,
    /// when it had to wait: what a key may do can have changed meanwhile.
    pub(super) fn pass<B>(
        &self,
        request: &mut Request<B>,
        arrival: Arrival,
        told: Told,
    ) -> Step<V::Future> {
        let dialect = self.dialect.recognize(request);
        let asked = told.verdict.clone();
        let verdict = match told.verdict {
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
        let found = Found {
            arrival,
            dialect,
            known: known.as_ref(),
            method,
        };
        let admitted = match (authorized, told.admitted) {
            (Err(denial), _) => Err(self.slow_down(request, denial)),
            (Ok(principal), Some(admitted)) => admitted.map(|permit| (principal, permit)),
            (Ok(principal), None) => match self.admit(&principal, method) {
                Admission::Ready(admitted) => admitted.map(|permit| (principal, permit)),
                Admission::Pending(future) => return Step::Admitting(future, asked),
            },
        };
        let (receipt, outcome) = match admitted {
            Ok((principal, permit)) => {
                let receipt = self.audit(request, &found, Ok(permit.queued()));
                let method_of = request.method();
                let exchange = Exchange::open(&self.sink, &principal, arrival, method_of, permit);
                let caller = Caller::new(principal, method, arrival.request_id);
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(dialect);
                (receipt, Ok(exchange))
            }
            Err(refused) => {
                let context = RefusalContext::of(request, arrival.request_id);
                let mut response = dialect.refuse(refused.told(), context);
                refused.fields.write(response.headers_mut());
                let receipt = self.audit(request, &found, Err((&refused, response.status())));
                (receipt, Err(response))
            }
        };
        Step::Decided(Decided {
            receipt,
            outcome,
            dialect,
        })
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

    fn admit(&self, principal: &Principal, method: AuthMethod) -> Admission {
        match method {
            AuthMethod::Public => Admission::Ready(Ok(Permit::default())),
            _ => self.limiter.admit(principal),
        }
    }

    /// Who failed to authenticate too often is told that, and not how.
    fn slow_down<B>(&self, request: &Request<B>, denial: Denial) -> Box<Refused> {
        let peer = denial
            .kind()
            .is_failed_authentication()
            .then(|| (self.peer)(request.extensions()));
        let slowed = peer
            .flatten()
            .and_then(|peer| self.limiter.slow_down(peer.ip()));
        Box::new(Refused::new(denial, slowed))
    }

    /// The answer to a request whose decision could not be put on record.
    pub(super) fn unrecorded<B>(
        &self,
        request: &Request<B>,
        arrival: Arrival,
        dialect: Dialect,
    ) -> Response<Bytes> {
        let context = RefusalContext::of(request, arrival.request_id);
        dialect.refuse(&Denial::unavailable(RETRY_AFTER), context)
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
            pepper: self.pepper.clone(),
            screen: self.screen,
            limiter: self.limiter.clone(),
            peer: self.peer,
        }
    }
}
