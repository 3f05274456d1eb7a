//! Authentication for self-hosted text-to-speech: a tower [`Layer`](tower_layer::Layer) that checks
//! callers' keys in constant time, speaks the dialect of the vendor whose SDK is calling, and
//! writes an audit record of every decision.
//!
//! ```text
//!            Validated       Authenticated    Authorized     Admitted    Recorded
//!           ┌──────────┐    ┌────────────┐   ┌──────────┐   ┌───────┐   ┌───────┐
//! request ─▶│ validate │───▶│authenticate│──▶│authorize │──▶│ admit │──▶│record │──▶ inner service
//!           └──────────┘    └────────────┘   └──────────┘   └───────┘   └───────┘    (with a Caller)
//!            one path,       dialect:         policy:        limits:     audit            │
//!            one host        where the        method and     slots and   decision         ▼
//!                            credential is,   path → scope   rates                    response ─▶
//!                            verifier: owner                                      completion record
//!                 └───────────────┴───────────────┴─────────────┴─▶ Denial ─▶ the dialect's refusal
//! ```
//!
//! ```
//! use voxgate::{AuthLayer, Dialect, Key, KeyRing, Principal, Secret};
//!
//! let key = Key::from_secret(&Secret::new("a-long-secret-of-yours")?, Principal::new("ivr-prod"));
//! let auth = AuthLayer::new(KeyRing::new([key])?).with_dialect(Dialect::Rime);
//! # let _ = auth;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! - [`AuthLayer`] is the layer. [`AuthLayer::from_env`] reads its settings from the environment
//!   ([`mod@env`]). [`guide::layer_order`] shows its place among other layers.
//! - [`KeyRing`] holds keys in memory, and a [`SharedKeyRing`] follows a keys file. For a store of
//!   your own, see [`guide::custom_verifier`].
//! - [`Dialect`] is a vendor's way to send a credential and to refuse a request.
//! - [`Policy`] maps requests to the scopes that they require.
//! - [`Limiter`] enforces limits: [`guide::limits`].
//! - [`audit`] has the records and their sinks: [`guide::audit_trail`].
//! - `guide::examples` (feature `connect-info`) has short examples: nested routers, several policies,
//!   an asynchronous verifier, tests.
//! - [`Caller`] is what a handler sees. Only the layer makes one, so a handler that takes a `Caller`
//!   cannot be reached without the layer.
//!
//! # Features
//!
//! None is on by default. The layer itself needs neither tokio nor any other runtime.
//!
//! - `axum`: [`Caller`] and [`Tunnel`] as extractors.
//! - `connect-info`: the peer's address from axum's `ConnectInfo`. It brings axum and tokio.
//! - `test-util`: makes a [`Caller`] for tests of handlers.
//! - `notify`: a changed keys file is noticed at once, instead of within two seconds.
//! - `speech`: bodies are read, for limits of voices and for meters ([`AuthLayer::with_speech`]).
//! - `audit-log`: the audit queue writes hash-chained files.
//! - `token`: short-lived tokens (JWT), of Voxgate and of identity providers
//!   (`keys::TokenKeys`).
//!
//! # Stability
//!
//! Types that may get more fields or variants are `#[non_exhaustive]`. The format of audit records
//! is versioned by their field `v`.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audit;
mod auth;
mod caller;
pub mod dialect;
pub mod env;
#[cfg(feature = "axum")]
pub mod extract;
#[doc(hidden)]
pub mod gateway;
pub mod guide;
pub mod keys;
pub mod policy;
pub mod principal;
pub mod rate_limit;
mod request_validation;
pub mod secret;
pub mod speech;
pub mod verify;
mod websocket;

pub use self::audit::{AuditRecord, AuditSink, TracingSink};
pub use self::auth::{
    Auth, AuthBody, AuthFuture, AuthLayer, ClientAddr, ClientCertificate, ClientRequestId,
    PeerAddr, Tunnel,
};
#[cfg(feature = "speech")]
#[cfg_attr(docsrs, doc(cfg(feature = "speech")))]
pub use self::auth::{
    Inspect, InspectFuture, SpeechAuthLayer, SpeechBody, SpeechBodyError, SpeechOptions,
    SpeechSession,
};
pub use self::dialect::Dialect;
pub use self::keys::{Key, KeyRing, SharedKeyRing};
pub use self::policy::Policy;
pub use self::principal::{AuthMethod, Caller, Principal, Scope};
pub use self::rate_limit::{Limiter, Limits, Rate};
pub use self::request_validation::RequestValidation;
pub use self::secret::{Digest, RawCredential, Secret};
pub use self::verify::{Verdict, Verify, VerifyOutcome, verify_fn};
#[cfg(voxgate_constant_time)]
pub use voxgate_core::declassify::on_declassify;
pub use voxgate_core::denial::{Denial, DenialKind};
pub use voxgate_core::error::{ConfigError, Problem};
pub use voxgate_core::request_id::RequestId;
pub use voxgate_core::trace::{TraceContext, TraceId};
#[cfg(feature = "token")]
pub use voxgate_token as token;

/// The examples of README are tests, too.
#[cfg(all(doctest, feature = "connect-info"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "connect-info"))]
#[doc = include_str!("../docs/tutorials/axum.md")]
struct AxumTutorial;
