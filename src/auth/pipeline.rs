//! The path of a request, from its arrival to a recorded decision.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response, Uri};
use voxgate_core::denial::Denial;

use crate::audit::{AuditSink, Pepper};
use crate::dialect::{Dialect, RefusalContext};
use crate::policy::SharedPolicy;
use crate::principal::Principal;
use crate::rate_limit::Limiter;
use crate::request_validation::RequestValidation;
use crate::verify::Verify;

use super::request_start::{ClientAddr, PeerAddr, RequestStart};
#[cfg(feature = "speech")]
use super::speech::Inspecting;
use super::stages::{Admission, Admitted, Authenticated, Authentication, Authorized, Denied};
use super::stages::{PendingAdmission, PendingAuthentication, Recorded, Validated};

/// `Retry-After` of a request whose decision could not be recorded.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The settings of a layer, shared by all routes.
pub(super) struct Pipeline<V> {
    pub(super) mode: Mode<V>,
    pub(super) dialect: Dialect,
    /// The policy that was set; without one, the dialect's own policy applies.
    pub(super) policy: SharedPolicy,
    pub(super) policy_is_set: bool,
    pub(super) sink: Arc<dyn AuditSink>,
    /// Key of the fingerprints of unknown credentials. `None` if the system gave no randomness.
    pub(super) pepper: Option<Pepper>,
    pub(super) request_validation: RequestValidation,
    pub(super) limiter: Limiter,
    pub(super) peer: fn(&Extensions) -> Option<SocketAddr>,
    /// The URI to judge, if it is not the request's own.
    pub(super) original_uri: Option<fn(&Extensions) -> Option<&Uri>>,
    /// Whether accepted requests get a meter.
    pub(super) meters: bool,
    /// What is asked of bodies, if the layer reads them.
    #[cfg(feature = "speech")]
    pub(super) inspecting: Option<Inspecting>,
}

pub(super) enum Mode<V> {
    /// Every caller presents a credential, and the verifier looks it up.
    Validate(Arc<V>),
    /// Credentials are ignored; every caller is this principal.
    Preconfigured(Principal),
}

/// How far a request has come. Only a stage can make the next one, and it consumes itself.
pub(super) enum Stage {
    Received(RequestStart),
    Validated(Validated),
    Authenticated(Authenticated),
    Authorized(Authorized),
    Admitted(Admitted),
    Denied(Box<Denied>),
}

/// What a request waits for, or its recorded decision.
pub(super) enum Progress<F> {
    Verifying(PendingAuthentication<F>),
    Queued(PendingAdmission),
    Recorded(Recorded),
}

impl<V> Pipeline<V> {
    /// The other end of the connection.
    pub(super) fn peer(&self, extensions: &Extensions) -> Option<SocketAddr> {
        (self.peer)(extensions).map(|peer| PeerAddr(peer).canonical())
    }

    /// The client: behind a trusted proxy, another address than the peer's.
    pub(super) fn client(&self, extensions: &Extensions) -> Option<IpAddr> {
        let named = extensions
            .get::<ClientAddr>()
            .map(|client| client.0.to_canonical());
        named.or_else(|| self.peer(extensions).map(|peer| peer.ip()))
    }

    /// Whether the connection is that of a proxy, which sends the requests of many clients on it.
    pub(super) fn is_proxied(&self, extensions: &Extensions) -> bool {
        let peer = self.peer(extensions).map(|peer| peer.ip());
        peer != self.client(extensions)
    }

    /// Whether names in bodies and messages are checked later.
    pub(super) fn reads_bodies(&self) -> bool {
        #[cfg(feature = "speech")]
        let reads = self.inspecting.is_some();
        #[cfg(not(feature = "speech"))]
        let reads = false;
        reads
    }
}

impl<V: Verify> Pipeline<V> {
    /// Warns if the policy refuses every request of a key.
    pub(super) fn warn_without_policy(&self) {
        if let Mode::Validate(verifier) = &self.mode
            && self.policy.load().rules().is_empty()
            && verifier.needs_policy()
        {
            tracing::warn!(
                dialect = %self.dialect,
                "the policy has no rule, so every request of a key with scopes, voices or a kind is \
                 refused; set a policy with `with_policy`, or a vendor with `with_dialect`"
            );
        }
    }

    /// Advances a request until it has to wait or its decision is recorded. After a wait, the
    /// future calls it again with the stage that the wait led to.
    pub(super) fn advance<B>(
        &self,
        request: &mut Request<B>,
        mut stage: Stage,
    ) -> Progress<V::Future> {
        loop {
            stage = match stage {
                Stage::Received(start) => Validated::check(self, request, start).into(),
                Stage::Validated(validated) => match validated.authenticate(self, request) {
                    Authentication::Done(result) => result.into(),
                    Authentication::Pending(pending) => return Progress::Verifying(pending),
                },
                Stage::Authenticated(authenticated) => {
                    authenticated.authorize(self, request).into()
                }
                Stage::Authorized(authorized) => match authorized.admit(self) {
                    Admission::Done(result) => result.into(),
                    Admission::Pending(pending) => return Progress::Queued(pending),
                },
                Stage::Admitted(admitted) => {
                    return Progress::Recorded(admitted.record(self, request));
                }
                Stage::Denied(denied) => return Progress::Recorded(denied.record(self, request)),
            };
        }
    }

    /// The 503 for a request whose decision could not be recorded.
    pub(super) fn not_recorded<B>(
        &self,
        request: &Request<B>,
        start: RequestStart,
        dialect: Dialect,
    ) -> Response<Bytes> {
        let context = RefusalContext::of(request, start.request_id);
        dialect.refuse(&Denial::unavailable(RETRY_AFTER), context)
    }
}

impl<T: Into<Self>> From<Result<T, Box<Denied>>> for Stage {
    fn from(result: Result<T, Box<Denied>>) -> Self {
        result.map_or_else(Self::Denied, Into::into)
    }
}

impl From<Validated> for Stage {
    fn from(validated: Validated) -> Self {
        Self::Validated(validated)
    }
}

impl From<Authenticated> for Stage {
    fn from(authenticated: Authenticated) -> Self {
        Self::Authenticated(authenticated)
    }
}

impl From<Authorized> for Stage {
    fn from(authorized: Authorized) -> Self {
        Self::Authorized(authorized)
    }
}

impl From<Admitted> for Stage {
    fn from(admitted: Admitted) -> Self {
        Self::Admitted(admitted)
    }
}

impl<V> Pipeline<V> {
    /// The same settings with another verifier.
    pub(super) fn map_verifier<W>(&self, wrap: impl FnOnce(V) -> W) -> Pipeline<W>
    where
        V: Clone,
    {
        Pipeline {
            mode: match &self.mode {
                Mode::Validate(verifier) => Mode::Validate(Arc::new(wrap(V::clone(verifier)))),
                Mode::Preconfigured(principal) => Mode::Preconfigured(principal.clone()),
            },
            dialect: self.dialect,
            policy: self.policy.clone(),
            policy_is_set: self.policy_is_set,
            sink: Arc::clone(&self.sink),
            pepper: self.pepper.clone(),
            request_validation: self.request_validation,
            limiter: self.limiter.clone(),
            peer: self.peer,
            original_uri: self.original_uri,
            meters: self.meters,
            #[cfg(feature = "speech")]
            inspecting: self.inspecting.clone(),
        }
    }
}

// Not derived: a verifier is shared and does not have to be `Clone`.
impl<V> Clone for Pipeline<V> {
    fn clone(&self) -> Self {
        Self {
            mode: match &self.mode {
                Mode::Validate(verifier) => Mode::Validate(Arc::clone(verifier)),
                Mode::Preconfigured(principal) => Mode::Preconfigured(principal.clone()),
            },
            dialect: self.dialect,
            policy: self.policy.clone(),
            policy_is_set: self.policy_is_set,
            sink: Arc::clone(&self.sink),
            pepper: self.pepper.clone(),
            request_validation: self.request_validation,
            limiter: self.limiter.clone(),
            peer: self.peer,
            original_uri: self.original_uri,
            meters: self.meters,
            #[cfg(feature = "speech")]
            inspecting: self.inspecting.clone(),
        }
    }
}
