//! The keys of callers.
//!
//! A [`KeyRing`] holds keys in memory. A [`SharedKeyRing`] follows a keys file and tells what
//! [changed](RingChange). A [`KeysFile`] is the content of a keys file, and [`generate_key`] makes a
//! token.

mod certificate;
mod change;
mod file;
mod key;
mod plain;
mod reload;
mod revocation;
mod ring;
mod shared;
mod signing;
mod strength;
mod token;
#[cfg(feature = "token")]
mod token_keys;
mod version;

pub use self::change::{ChangedKey, KeyChange, RingChange};
pub use self::file::KeysFile;
pub use self::key::Key;
pub(crate) use self::plain::is_quoted;
pub use self::plain::{InvalidKey, PlainKey};
pub(crate) use self::reload::{Loaded, Source};
pub use self::revocation::{InvalidRevocation, Revocation, RevocationEffect};
pub use self::ring::KeyRing;
pub use self::shared::{SharedKeyRing, WeakKeyRing};
pub use self::signing::SigningSecret;
pub(crate) use self::signing::read_secrets;
pub(crate) use self::strength::is_weak;
pub use self::token::generate_key;
pub(crate) use self::token::{MISTYPED, find as find_token, is_mistyped};
#[cfg(feature = "token")]
pub use self::token_keys::TokenKeys;
