//! Secrets as types, and the only comparison of secrets.

pub use voxgate_core::secret::{
    Digest, InvalidSecret, MAX_CREDENTIAL_BYTES, RawCredential, Secret,
};
