//! First stage: the request has one meaning, and it is known where its credential would be.

use std::time::SystemTime;

use http::Request;
use http::header::UPGRADE;
use voxgate_core::denial::{Denial, DenialKind};

use crate::dialect::Dialect;
use crate::policy::{Policy, PolicyInForce};
use crate::principal::{AuthMethod, Principal};
use crate::rate_limit::Permit;
use crate::verify::{Verdict, Verify, VerifyOutcome};

use super::super::pipeline::{Mode, Pipeline};
use super::super::request_start::{ClientCertificate, RefuseAs, RequestStart};
use super::{Authenticated, DecisionContext, Denied};

/// A request whose path, host and method are unambiguous.
pub(in super::super) struct Validated {
    context: DecisionContext,
    /// The dialect that reads the credential; `None` if `auto` recognised none.
    dialect: Option<Dialect>,
    /// The permit of a request that was admitted before and is authenticated again, because it
    /// waited for the permit.
    permit: Option<Permit>,
    /// Who such a request was accepted for before it waited.
    accepted: Option<Principal>,
}

/// The result of asking the verifier.
pub(in super::super) enum Authentication<F> {
    Done(Result<Authenticated, Box<Denied>>),
    Pending(PendingAuthentication<F>),
}

/// A validated request that waits for the verifier.
pub(in super::super) struct PendingAuthentication<F> {
    pub(in super::super) verdict: F,
    pub(in super::super) request: Validated,
}

impl Validated {
    /// Checks the request's path, host and method, and finds its dialect.
    pub(in super::super) fn check<V: Verify, B>(
        pipeline: &Pipeline<V>,
        request: &mut Request<B>,
        start: RequestStart,
    ) -> Result<Self, Box<Denied>> {
        let recognized = pipeline.dialect.recognize(request);
        pipeline.dialect.mark_sensitive(request.headers_mut());
        let policy = pipeline.policy.load();
        let context = DecisionContext {
            start,
            dialect: recognized.unwrap_or(pipeline.dialect),
            method: auth_method(pipeline, &policy, request),
            policy,
            principal: None,
        };
        let checked = pipeline.request_validation.check(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
            || {
                let (method, path) = (request.method(), request.uri().path());
                let dialect = context.dialect.as_str();
                context.policy.allows_encoded_slashes(method, path, dialect)
            },
        );
        let asked = request.extensions().get::<RefuseAs>();
        match asked.map_or(checked, |refuse| Err(refuse.0)) {
            Ok(()) => Ok(Self {
                context,
                dialect: recognized,
                permit: None,
                accepted: None,
            }),
            Err(kind) => Err(Denied::new(context, kind.into())),
        }
    }

    /// A request that waited for its permit, to be authenticated again: its key may have been
    /// revoked meanwhile, and the policy replaced.
    pub(super) fn again(
        mut context: DecisionContext,
        policy: PolicyInForce,
        dialect: Option<Dialect>,
        permit: Permit,
        accepted: Principal,
    ) -> Self {
        context.principal = None;
        context.policy = policy;
        Self {
            context,
            dialect,
            permit: Some(permit),
            accepted: Some(accepted),
        }
    }

    /// Finds out who sent the request.
    pub(in super::super) fn authenticate<V: Verify, B>(
        mut self,
        pipeline: &Pipeline<V>,
        request: &Request<B>,
    ) -> Authentication<V::Future> {
        let verdict = match (self.context.method, &pipeline.mode) {
            (AuthMethod::Public, _) => Ok(Principal::new("public")),
            (_, Mode::Preconfigured(principal)) => Ok(principal.clone()),
            (_, Mode::Validate(verifier)) => match self.certificate(&**verifier, request) {
                Some(verdict) => {
                    self.context.method = AuthMethod::Certificate;
                    verdict
                }
                None => match self.ask(&**verifier, request) {
                    VerifyOutcome::Ready(verdict) => verdict,
                    VerifyOutcome::Pending(verdict) => {
                        let request = self;
                        return Authentication::Pending(PendingAuthentication { verdict, request });
                    }
                },
            },
        };
        Authentication::Done(self.decided(verdict, false))
    }

    /// The verdict about the client's certificate, if the request presents no other credential.
    fn certificate<V: Verify, B>(&self, verifier: &V, request: &Request<B>) -> Option<Verdict> {
        let certificate = request.extensions().get::<ClientCertificate>()?;
        match self.dialect?.credential(request) {
            Err(DenialKind::MissingCredential) => certificate.verdict(verifier, self.now()),
            _ => None,
        }
    }

    /// The time at which a certificate must be valid: now. That is when the request began, unless it
    /// waited.
    fn now(&self) -> SystemTime {
        match self.permit {
            None => self.context.start.time,
            Some(_) => SystemTime::now(),
        }
    }

    fn ask<V: Verify, B>(&self, verifier: &V, request: &Request<B>) -> VerifyOutcome<V::Future> {
        let Some(dialect) = self.dialect else {
            return VerifyOutcome::Ready(Err(DenialKind::UnrecognizedDialect.into()));
        };
        match dialect.credential(request) {
            Ok(credential) => match &self.accepted {
                // The request has just begun.
                None => verifier.verify_at(credential.presented(), self.context.start.time),
                Some(accepted) => verifier.verify_again(credential.presented(), accepted),
            },
            Err(kind) => VerifyOutcome::Ready(Err(kind.into())),
        }
    }

    /// Continues with a verdict that the request waited for.
    pub(in super::super) fn verified(self, verdict: Verdict) -> Result<Authenticated, Box<Denied>> {
        self.decided(verdict, true)
    }

    fn decided(self, verdict: Verdict, asked: bool) -> Result<Authenticated, Box<Denied>> {
        let Self {
            context,
            dialect,
            permit,
            accepted: _,
        } = self;
        // A verifier of the program's own may return a principal that is not valid now.
        let verdict =
            verdict.and_then(
                |principal| match principal.state(context.start.time).denial() {
                    None => Ok(principal),
                    Some(kind) => Err(Denial::new(kind).with_principal(principal)),
                },
            );
        match verdict {
            Ok(principal) => Ok(Authenticated::new(
                context, dialect, principal, permit, asked,
            )),
            Err(denial) => Err(Denied::new(context, denial)),
        }
    }
}

/// A public route answers requests, and opens no tunnel.
fn auth_method<V, B>(pipeline: &Pipeline<V>, policy: &Policy, request: &Request<B>) -> AuthMethod {
    let public = policy.is_public(request.method(), request.uri().path());
    match pipeline.mode {
        _ if public && !request.headers().contains_key(UPGRADE) => AuthMethod::Public,
        Mode::Validate(_) => AuthMethod::ApiKey,
        Mode::Preconfigured(_) => AuthMethod::DeploymentKey,
    }
}
