//! lib docs
pub mod audit;
#[cfg(feature = "axum")]
pub mod axum;
mod denial;
mod dialect;
pub mod env;
mod error;
mod gate;
mod keys;
mod policy;
mod principal;
mod request_id;
mod screen;
mod secret;
mod verify;

pub use self::audit::{AuditRecord, AuditSink, TracingSink};
pub use self::denial::{Denial, DenialKind};
pub use self::dialect::{Dialect, UnknownDialect};
pub use self::error::{ConfigError, Problem};
pub use self::gate::{Auth, AuthFuture, AuthLayer, GateBody, PeerAddr, Tunnel};
pub use self::keys::{Key, KeyRing, generate_key};
pub use self::policy::Policy;
pub use self::principal::{AuthMethod, Caller, Principal, Scope};
pub use self::request_id::{RequestId, X_REQUEST_ID};
pub use self::screen::Screen;
pub use self::secret::{Digest, InvalidSecret, MAX_CREDENTIAL_BYTES, Presented, Secret};
pub use self::verify::{Outcome, Verdict, Verify};
