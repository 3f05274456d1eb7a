//! The layer and its settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, Uri};
use tower_layer::Layer;

use crate::audit::{AuditSink, Pepper, TracingSink};
use crate::dialect::Dialect;
use crate::keys::SharedKeyRing;
use crate::policy::{Rule, SharedPolicy};
use crate::principal::Principal;
use crate::rate_limit::Limiter;
use crate::request_validation::RequestValidation;
use crate::verify::Verify;

use super::pipeline::{Mode, Pipeline};
use super::request_start::PeerAddr;
use super::service::Auth;

/// A tower [`Layer`] that authenticates callers. It forwards a request whose credential is valid,
/// and answers any other request with the refusal that the vendor's client expects.
///
/// Cloning is cheap. Clones share all state, so one layer can guard many routes.
///
/// ```
/// use voxgate::{AuthLayer, Dialect, Key, KeyRing, Policy, Principal, Secret};
///
/// let secret = Secret::new("a-secret-of-our-own")?;
/// let ring = KeyRing::new([Key::from_secret(&secret, Principal::new("ivr-prod"))])?;
/// let auth = AuthLayer::new(ring)
///     .with_dialect(Dialect::Rime)
///     .with_policy(Policy::default().require("tts:synthesize"));
/// # let _ = auth;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Deployment caveat
///
/// The layer guards the services that it wraps and no others. In axum, `Router::layer` covers the
/// routes that were added before it; a route added afterwards is open. Handlers that take a
/// [`Caller`](crate::Caller) cannot be reached without the layer: they answer 500.
pub struct AuthLayer<V = SharedKeyRing> {
    pipeline: Arc<Pipeline<V>>,
}

impl<V> AuthLayer<V> {
    /// A layer that accepts the credentials that `verifier` knows.
    ///
    /// By default it speaks [`Dialect::Bearer`], applies that dialect's policy, and sends audit
    /// records to [`TracingSink`].
    #[must_use]
    pub fn new(verifier: V) -> Self {
        Self::with_mode(Mode::Validate(Arc::new(verifier)))
    }

    fn with_mode(mode: Mode<V>) -> Self {
        let dialect = Dialect::default();
        Self {
            pipeline: Arc::new(Pipeline {
                mode,
                dialect,
                policy: dialect.policy().into(),
                policy_is_set: false,
                sink: Arc::new(TracingSink),
                pepper: Pepper::random().ok(),
                request_validation: RequestValidation::default(),
                limiter: Limiter::default(),
                peer: PeerAddr::of,
                original_uri: None,
                meters: false,
                #[cfg(feature = "speech")]
                inspecting: None,
            }),
        }
    }

    /// Sets the vendor whose clients call. Its policy applies, unless
    /// [`with_policy`](Self::with_policy) sets another one.
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        self.with(|pipeline| {
            pipeline.dialect = dialect;
            if !pipeline.policy_is_set {
                pipeline.policy = dialect.policy().into();
            }
        })
    }

    /// Sets the policy, in place of the dialect's own: a [`Policy`](crate::Policy), or a
    /// [`SharedPolicy`] that follows its file.
    #[must_use]
    pub fn with_policy(self, policy: impl Into<SharedPolicy>) -> Self {
        self.with(|pipeline| {
            pipeline.policy = policy.into();
            pipeline.policy_is_set = true;
        })
    }

    /// Adds a rule before the rules of the policy, for a path that a layer inside of this one answers.
    /// Layers that share the policy share the rule.
    #[must_use]
    pub fn with_first_rule(self, rule: Rule) -> Self {
        self.with(|pipeline| pipeline.policy.insert_first(rule))
    }

    /// Sets where audit records go.
    #[must_use]
    pub fn with_audit_sink(self, sink: impl AuditSink + 'static) -> Self {
        self.with(|pipeline| pipeline.sink = Arc::new(sink))
    }

    /// Sets the key of the fingerprints of unknown credentials. Processes that share it record the
    /// same fingerprint for the same credential. The default is random for each layer.
    #[must_use]
    pub fn with_pepper(self, pepper: Pepper) -> Self {
        self.with(|pipeline| pipeline.pepper = Some(pepper))
    }

    /// Sets the limiter. By default, only keys and accounts with limits of their own are limited.
    #[must_use]
    pub fn with_limits(self, limiter: Limiter) -> Self {
        self.with(|pipeline| pipeline.limiter = limiter)
    }

    /// Sets the checks of a request that run before its credential is read.
    #[must_use]
    pub fn with_request_validation(self, request_validation: RequestValidation) -> Self {
        self.with(|pipeline| pipeline.request_validation = request_validation)
    }

    /// Sets how the address of the other end of the connection is found, for audit records. By default
    /// it is the [`PeerAddr`] in the request's extensions. The limit on failed authentications and the
    /// addresses that a key may be used from concern the same address, unless the extensions have a
    /// [`ClientAddr`](crate::ClientAddr).
    #[must_use]
    pub fn with_peer_address(self, find: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.with(|pipeline| pipeline.peer = find)
    }

    /// Sets the URI by which requests are judged and recorded, where another layer has changed their
    /// own: an axum router that is nested sees a path without its prefix, so that rules for the whole
    /// path would not name its requests. Where `find` returns `None`, it is the request's own. The
    /// inner service sees the request's own URI.
    ///
    /// With the feature `connect-info`, `extract::original_uri` finds that of axum.
    #[must_use]
    pub fn with_original_uri(self, find: fn(&Extensions) -> Option<&Uri>) -> Self {
        self.with(|pipeline| pipeline.original_uri = Some(find))
    }

    /// Gives each accepted request a [`SpeechMeter`](crate::speech::SpeechMeter) in its extensions,
    /// which its completion record shows. By default, only requests of callers with quotas get one.
    #[must_use]
    pub fn with_speech_meters(self) -> Self {
        self.with(|pipeline| pipeline.meters = true)
    }

    /// The verifier. `None` in preconfigured mode.
    #[must_use]
    pub fn verifier(&self) -> Option<&V> {
        match &self.pipeline.mode {
            Mode::Validate(verifier) => Some(verifier),
            Mode::Preconfigured(_) => None,
        }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &SharedPolicy {
        &self.pipeline.policy
    }

    /// Replaces the verifier by one that `wrap` makes of it. Nothing changes in preconfigured mode.
    #[must_use]
    pub fn map_verifier<W>(self, wrap: impl FnOnce(V) -> W) -> AuthLayer<W>
    where
        V: Clone,
    {
        let pipeline = self.pipeline.map_verifier(wrap);
        let pipeline = Arc::new(pipeline);
        AuthLayer { pipeline }
    }

    /// The limiter.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.pipeline.limiter
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Pipeline<V>)) -> Self {
        change(Arc::make_mut(&mut self.pipeline));
        self
    }
}

impl AuthLayer<SharedKeyRing> {
    /// A layer that accepts every request as the principal `deployment`, because a deployment key is
    /// preconfigured. The caller's credential is ignored.
    ///
    /// # Deployment caveat
    ///
    /// Every client that can reach the server is served. Use it on a loopback address, or restrict
    /// access by other means, such as a NetworkPolicy.
    #[must_use]
    pub fn preconfigured() -> Self {
        Self::with_mode(Mode::Preconfigured(Principal::new("deployment")))
    }
}

impl<V> Clone for AuthLayer<V> {
    fn clone(&self) -> Self {
        Self {
            pipeline: Arc::clone(&self.pipeline),
        }
    }
}

impl<V> fmt::Debug for AuthLayer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("dialect", &self.pipeline.dialect)
            .finish_non_exhaustive()
    }
}

impl<S, V: Verify> Layer<S> for AuthLayer<V> {
    type Service = Auth<S, V>;

    fn layer(&self, inner: S) -> Self::Service {
        self.pipeline.warn_without_policy();
        Auth::new(inner, Arc::clone(&self.pipeline))
    }
}
