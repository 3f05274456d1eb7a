//! The missing door for self-hosted text-to-speech: a tower [`Layer`](tower_layer::Layer) that
//! asks callers for their key in constant time, speaks the dialect of the vendor whose SDK is
//! calling, and leaves an audit record of every decision.
//!
//! ```text
//!           ┌────────────┐  ┌────────┐  ┌───────────┐  ┌───────┐
//! request ─▶│ credential │─▶│ verify │─▶│ authorize │─▶│ audit │─▶ inner service (with a Caller)
//!           └────────────┘  └────────┘  └───────────┘  └───────┘        │
//!             dialect:        key ring,   policy:        decision        ▼
//!             which header,   or your     method+path    record       response ─▶ completion
//!             which scheme    own store   → scope                                 record
//!                  └──────────────┴────────────┴─▶ Denial ─▶ audit ─▶ the dialect renders it
//! ```
//!
//! ```
//! use axum::{Router, routing::post};
//! use voxgate::{AuthLayer, Caller, Dialect, Key, KeyRing, Principal, Secret};
//!
//! async fn speak(caller: Caller) -> String {
//!     format!("hello, {}", caller.key_id())
//! }
//!
//! let key = Key::from_secret(&Secret::new("a-long-secret-of-yours")?, Principal::new("ivr-prod"));
//! let auth = AuthLayer::new(KeyRing::new([key])?).with_dialect(Dialect::Rime);
//! let app: Router = Router::new().route("/v1/rime-tts", post(speak)).layer(auth);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! - [`AuthLayer`] is the layer; [`AuthLayer::from_env`] reads its settings from the environment
//!   ([`mod@env`]).
//! - [`KeyRing`] holds keys in memory, and a [`SharedKeyRing`] follows their file;
//!   [`Verify`] is the trait for a store of your own.
//! - [`Dialect`] says where a vendor's clients put their credential, and how they are refused.
//! - [`Policy`] says which scope a request requires.
//! - [`AuditSink`] takes the [records](audit); the default one emits `tracing` events.
//! - [`Caller`] is what a handler sees: proof that the layer ran.
//!
//! # Features
//!
//! None is on by default: the layer itself needs neither tokio nor any other runtime.
//!
//! - `notify`: a changed keys file is noticed at once, instead of within two seconds.
//! - `audit-log`: the audit log's chained files, and what verifies them.
//! - `redis`: limits that hold across replicas, by way of Redis or Valkey; uses tokio on a thread of
//!   its own.
//! - `axum`: `Caller` and `Tunnel` as extractors.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admit;
pub mod audit;
mod auth;
#[cfg(feature = "axum")]
pub mod axum;
mod declassify;
mod denial;
mod dialect;
pub mod env;
mod error;
mod files;
mod keys;
mod limit;
mod policy;
mod principal;
mod request_id;
mod request_validation;
mod secret;
mod toml_file;
mod verify;
mod websocket;

pub use self::admit::{Limiter, Usage};
#[cfg(feature = "redis")]
pub use self::admit::{OnFailure, SharedOptions, SharingState};
pub use self::audit::{AuditRecord, AuditSink, TracingSink};
pub use self::auth::{Auth, AuthBody, AuthFuture, AuthLayer, PeerAddr, Tunnel};
#[cfg(voxgate_constant_time)]
pub use self::declassify::on_declassify;
pub use self::denial::{Denial, DenialKind};
pub use self::dialect::{Dialect, IssuedKey, RefusalContext, UnknownDialect, is_grpc};
pub use self::error::{ConfigError, Problem};
pub use self::keys::{
    InvalidKey, Key, KeyChange, KeyRing, KeysFile, PlainKey, RingChange, SharedKeyRing,
    generate_key,
};
pub use self::limit::{Limit, Limits, Rate};
pub use self::policy::{Policy, Rule, Voice};
pub use self::principal::{
    Account, AuthMethod, Caller, InvalidScope, KeyKind, KeyState, Principal, Scope, Validity,
};
pub use self::request_id::{RequestId, X_REQUEST_ID};
pub use self::request_validation::RequestValidation;
pub use self::secret::{Digest, InvalidSecret, MAX_CREDENTIAL_BYTES, RawCredential, Secret};
pub use self::verify::{Verdict, Verify, VerifyFn, VerifyOutcome, verify_fn};
pub use self::websocket::{asks_for_websocket, upgrades_to_websocket};

/// The examples of README are tests, too.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
