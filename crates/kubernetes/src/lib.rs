//! Key rings that follow the Secrets of a Kubernetes namespace by a watch, and the writing of keys
//! into a Secret by server-side apply.
//!
//! [`KeyWatch`] lists the Secrets, watches them from the version of that list on, and keeps a
//! [`SharedKeyRing`](voxgate::SharedKeyRing) as they are. How the API server is asked is described in
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

mod api;
mod apply;
mod backoff;
mod collection;
mod connection;
mod key_watch;
mod listing;
mod parts;
#[cfg(test)]
mod recorded_tests;
mod watch;
mod wire;

pub use self::apply::{ApplyError, SecretPart};
pub use self::key_watch::{KeyWatch, WatchSettings, WatchedSecrets};
pub use self::listing::ListedKeys;
