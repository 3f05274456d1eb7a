//! The layer and its settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use tower_layer::Layer;

use crate::admit::Limiter;
use crate::audit::{AuditSink, Pepper, TracingSink};
use crate::dialect::Dialect;
use crate::keys::SharedKeyRing;
use crate::policy::Policy;
use crate::principal::Principal;
use crate::screen::Screen;
use crate::verify::Verify;

use super::arrival::PeerAddr;
use super::pipeline::{Gate, Mode};
use super::service::Auth;

/// A tower [`Layer`] that lets a request through when its credential is good, and otherwise
/// answers in the words of the caller's vendor.
///
/// Cloning is cheap, and everything is shared: it is the same gate on every route.
///
/// ```
/// use voxgate::{AuthLayer, Dialect, Key, KeyRing, Policy, Principal, Secret};
///
/// let secret = Secret::new("a-secret-of-our-own")?;
/// let ring = KeyRing::new([Key::from_secret(&secret, Principal::new("ivr-prod"))])?;
/// let auth = AuthLayer::new(ring)
///     .dialect(Dialect::Rime)
///     .policy(Policy::default().require("tts:synthesize"));
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
    gate: Arc<Gate<V>>,
}

impl<V> AuthLayer<V> {
    /// Lets in the callers whose credential `verifier` knows.
    ///
    /// Until told otherwise it speaks [`Dialect::Bearer`], under that dialect's policy, and
    /// records decisions through [`TracingSink`].
    #[must_use]
    pub fn new(verifier: V) -> Self {
        Self::with_mode(Mode::Validate(Arc::new(verifier)))
    }

    fn with_mode(mode: Mode<V>) -> Self {
        let dialect = Dialect::default();
        Self {
            gate: Arc::new(Gate {
                mode,
                dialect,
                policy: dialect.policy(),
                sink: Arc::new(TracingSink),
                pepper: Pepper::random().ok(),
                screen: Screen::default(),
                limiter: Limiter::new(),
                peer: PeerAddr::of,
            }),
        }
    }

    /// Sets the vendor whose clients call, and that vendor's policy.
    #[must_use]
    pub fn dialect(self, dialect: Dialect) -> Self {
        self.with(|gate| {
            gate.dialect = dialect;
            gate.policy = dialect.policy();
        })
    }

    /// Sets which scope a request requires, in place of the dialect's own policy.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.with(|gate| gate.policy = policy)
    }

    /// Sets where audit records go.
    #[must_use]
    pub fn audit(self, sink: impl AuditSink + 'static) -> Self {
        self.with(|gate| gate.sink = Arc::new(sink))
    }

    /// Sets what fingerprints of unknown credentials are made with; share it so that tries are
    /// recognised across processes and restarts. Without it, each layer has a random one.
    #[must_use]
    pub fn pepper(self, pepper: Pepper) -> Self {
        self.with(|gate| gate.pepper = Some(pepper))
    }

    /// Sets what holds callers to their limits. Without it, only keys and accounts that have limits
    /// of their own are limited.
    #[must_use]
    pub fn limits(self, limiter: Limiter) -> Self {
        self.with(|gate| gate.limiter = limiter)
    }

    /// Sets how much of a request is checked before its credential.
    #[must_use]
    pub fn screen(self, screen: Screen) -> Self {
        self.with(|gate| gate.screen = screen)
    }

    /// Sets how the address of the other end is found, for the audit record. Without it, a
    /// [`PeerAddr`] in the request's extensions is used.
    #[must_use]
    pub fn peer_address(self, find: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.with(|gate| gate.peer = find)
    }

    /// What credentials are looked up in; `None` when a deployment key is preconfigured.
    #[must_use]
    pub fn verifier(&self) -> Option<&V> {
        match &self.gate.mode {
            Mode::Validate(verifier) => Some(verifier),
            Mode::Preconfigured(_) => None,
        }
    }

    /// What holds callers to their limits.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.gate.limiter
    }

    fn with(mut self, change: impl FnOnce(&mut Gate<V>)) -> Self {
        change(Arc::make_mut(&mut self.gate));
        self
    }
}

impl AuthLayer<SharedKeyRing> {
    /// Lets every request in as the principal `deployment`, because a deployment key is
    /// preconfigured. The caller's credential is not looked at, whatever it is.
    ///
    /// # Deployment caveat
    ///
    /// Whoever can reach the server is served. Use it on a loopback address or behind something
    /// that decides who can reach it.
    #[must_use]
    pub fn preconfigured() -> Self {
        Self::with_mode(Mode::Preconfigured(Principal::new("deployment")))
    }
}

impl<V> Clone for AuthLayer<V> {
    fn clone(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
        }
    }
}

impl<V> fmt::Debug for AuthLayer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("dialect", &self.gate.dialect)
            .finish_non_exhaustive()
    }
}

impl<S, V: Verify> Layer<S> for AuthLayer<V> {
    type Service = Auth<S, V>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth::new(inner, Arc::clone(&self.gate))
    }
}
