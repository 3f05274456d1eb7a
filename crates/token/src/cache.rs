//! Signatures that were verified a short time ago.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use voxgate_core::secret::Digest;

use crate::verifier::VerifiedToken;

/// Tokens whose signature is known to be right. It spares the signature check of a token that is
/// used again, and nothing else: times, the key behind the token and its rights are checked each
/// time.
///
/// It holds `2 * half` tokens at most: when `recent` is full, it replaces `older`.
pub(crate) struct Cache {
    hasher: RandomState,
    half: usize,
    tokens: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    recent: HashMap<u64, Entry>,
    older: HashMap<u64, Entry>,
}

struct Entry {
    digest: Digest,
    /// The keys that verified the token. An entry of other keys does not count.
    epoch: u64,
    token: Arc<VerifiedToken>,
}

impl Cache {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            half: most.div_ceil(2),
            tokens: Mutex::default(),
        }
    }

    /// The token with this digest, if these keys have verified it.
    pub(crate) fn get(&self, digest: &Digest, epoch: u64) -> Option<Arc<VerifiedToken>> {
        let slot = self.hasher.hash_one(digest.as_bytes());
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = tokens
            .recent
            .get(&slot)
            .or_else(|| tokens.older.get(&slot))?;
        let counts = entry.epoch == epoch && entry.digest.matches(digest);
        counts.then(|| Arc::clone(&entry.token))
    }

    /// Keeps a token that the keys of this epoch have verified.
    pub(crate) fn put(&self, digest: Digest, epoch: u64, token: Arc<VerifiedToken>) {
        if self.half == 0 {
            return;
        }
        let slot = self.hasher.hash_one(digest.as_bytes());
        let entry = Entry {
            digest,
            epoch,
            token,
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.recent.len() >= self.half {
            tokens.older = std::mem::take(&mut tokens.recent);
        }
        tokens.recent.insert(slot, entry);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.recent.len() + tokens.older.len()
    }
}
