//! The digest of a ring.

use std::fmt;
use std::hash::Hasher;

use sha2::{Digest as _, Sha256};

use super::key::Key;

/// A digest of all that a ring holds, but for secrets that can be guessed.
#[derive(Clone, Default)]
pub(super) struct RingDigest(Sha256);

impl RingDigest {
    /// Adds the next key.
    pub(super) fn add(&mut self, key: &Key) {
        key.principal.hash_rights(self);
        if !key.in_the_clear {
            for digest in key.digests() {
                self.write(digest.as_bytes());
            }
        }
    }
}

impl Hasher for RingDigest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(self.0.clone().finalize());
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for RingDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.finish() >> 16)
    }
}
