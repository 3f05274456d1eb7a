//! All keys that are known, found by digest.

use std::collections::hash_map::{Entry as Slot, RandomState};
use std::collections::{HashMap, HashSet};
use std::future::Ready;
use std::hash::BuildHasher;
use std::path::Path;

use crate::denial::{Denial, DenialKind};
use crate::error::{ConfigError, Problem};
use crate::principal::Principal;
use crate::secret::{Digest, Presented, Secret};
use crate::verify::{Outcome, Verdict, Verify};

use super::file;

/// One key: the digest of its secret, and whose it is.
#[derive(Clone, Debug)]
pub struct Key {
    digest: Digest,
    /// Under which it is known, too.
    more: Vec<Digest>,
    principal: Principal,
    disabled: bool,
}

impl Key {
    /// A key by its secret. Only the digest is kept.
    #[must_use]
    pub fn from_secret(secret: &Secret, principal: Principal) -> Self {
        Self::from_digest(secret.digest(), principal)
    }

    /// A key by the SHA-256 digest of its secret.
    #[must_use]
    pub fn from_digest(digest: Digest, principal: Principal) -> Self {
        Self {
            digest,
            more: Vec::new(),
            principal,
            disabled: false,
        }
    }

    /// Knows the key by another digest, too: the same secret in another form.
    #[must_use]
    pub fn or_digest(mut self, digest: Digest) -> Self {
        self.more.push(digest);
        self
    }

    /// Whether the key is known but refused.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }
}

/// An immutable set of keys, looked up in constant time.
///
/// A look-up takes the SHA-256 of what was presented, finds at most one candidate by a keyed hash
/// of that digest (the key is random per process, so that nobody outside can aim at a slot), and
/// compares 32 bytes once, on a miss with a stand-in. Its time depends neither on which key it is
/// nor on how much of it matched.
pub struct KeyRing {
    hasher: RandomState,
    index: HashMap<u64, usize>,
    /// The first is the stand-in that a miss is compared with.
    entries: Vec<Entry>,
    keys: usize,
}

/// One digest, and the key that it belongs to.
struct Entry {
    digest: Digest,
    principal: Principal,
    disabled: bool,
}

impl KeyRing {
    /// A ring of these keys.
    ///
    /// # Errors
    ///
    /// All keys whose id or secret is already another's.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, ConfigError> {
        let mut entries = vec![Entry {
            digest: Digest::of(b""),
            principal: Principal::new(""),
            disabled: true,
        }];
        let mut problems = Vec::new();
        let mut ids = HashSet::new();
        for key in keys {
            let id = key.principal.id();
            if !ids.insert(id.to_owned()) {
                problems.push(Problem::new(
                    format!("key `{id}`"),
                    "this id is used twice; give each key its own",
                ));
            }
            for digest in std::iter::once(key.digest).chain(key.more) {
                entries.push(Entry {
                    digest,
                    principal: key.principal.clone(),
                    disabled: key.disabled,
                });
            }
        }
        loop {
            let hasher = RandomState::new();
            match index(&hasher, &entries) {
                Ok(index) => {
                    let keys = ids.len();
                    let ring = Self {
                        hasher,
                        index,
                        entries,
                        keys,
                    };
                    return ConfigError::check(Some(ring), problems);
                }
                Err((first, second)) if entries[first].digest.matches(&entries[second].digest) => {
                    let (one, other) = (&entries[first].principal, &entries[second].principal);
                    problems.push(Problem::new(
                        format!("key `{}`", other.id()),
                        format!(
                            "has the same secret as key `{}`; give each key its own",
                            one.id()
                        ),
                    ));
                    entries.remove(second);
                }
                // Two digests under one hash: once in 2^64 pairs. Another random key parts them.
                Err(_) => {}
            }
        }
    }

    /// Reads a keys file (`keys.toml`):
    ///
    /// ```toml
    /// [[key]]
    /// id = "ivr-prod"                # stands in every audit record
    /// sha256 = "9f86d081884c7d65…"   # or secret = "…"
    /// label = "IVR, production"      # optional
    /// scopes = ["tts:synthesize"]    # optional; without it the key is not limited
    /// voices = ["cove", "team-*"]    # optional; limits it to these voices
    /// kind = "standard"              # or "realtime": for realtime sessions only
    /// disabled = false               # optional
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, each with its line, none with a value.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::new(file::load(path.as_ref(), &|secret| {
            Ok(vec![secret.digest()])
        })?)
    }

    /// How many keys there are, disabled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether there is no key, so that every credential is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some key can let anybody in.
    pub(crate) fn has_enabled(&self) -> bool {
        self.entries.iter().any(|entry| !entry.disabled)
    }

    /// Whether some key is limited, so that it needs a policy.
    pub(crate) fn has_limited(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| !entry.principal.is_unlimited())
    }

    fn find(&self, presented: Presented<'_>) -> Verdict {
        if !presented.is_plausible() {
            return Err(Denial::unknown_credential());
        }
        let digest = presented.digest();
        let slot = self.hasher.hash_one(digest.as_bytes());
        let at = self.index.get(&slot).copied().unwrap_or(0);
        let key = &self.entries[at];
        let matches = key.digest.matches(&digest);
        if !matches || at == 0 {
            return Err(Denial::unknown_credential());
        }
        if key.disabled {
            let denial = Denial::new(DenialKind::DisabledCredential);
            return Err(denial.of_principal(key.principal.clone()));
        }
        Ok(key.principal.clone())
    }
}

/// Where each digest is, or two places whose digests hash alike.
fn index(hasher: &RandomState, entries: &[Entry]) -> Result<HashMap<u64, usize>, (usize, usize)> {
    let mut index = HashMap::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate().skip(1) {
        match index.entry(hasher.hash_one(entry.digest.as_bytes())) {
            Slot::Vacant(slot) => _ = slot.insert(at),
            Slot::Occupied(taken) => return Err((*taken.get(), at)),
        }
    }
    Ok(index)
}

impl Verify for KeyRing {
    type Future = Ready<Verdict>;

    fn verify(&self, presented: Presented<'_>) -> Outcome<Self::Future> {
        Outcome::Ready(self.find(presented))
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: &str) -> Key {
        let secret = Secret::new(secret).expect("a valid secret");
        Key::from_secret(&secret, Principal::new(id))
    }

    fn ask(ring: &KeyRing, presented: &[u8]) -> Result<String, DenialKind> {
        let verdict = ring.find(Presented::new(presented));
        verdict
            .map(|principal| principal.id().to_owned())
            .map_err(|denial| denial.kind())
    }

    #[test]
    fn each_secret_finds_its_own_key_and_nothing_else_does() {
        let keys = (0..500).map(|n| key(&format!("key-{n}"), &format!("secret-{n}")));
        let ring = KeyRing::new(keys).expect("500 different keys");
        for n in 0..500 {
            let found = ask(&ring, format!("secret-{n}").as_bytes());
            assert_eq!(found, Ok(format!("key-{n}")));
        }
        let unknown = Err(DenialKind::UnknownCredential);
        for presented in [
            &b"secret-500"[..],
            b"",
            b"Secret-1",
            b"secret-1 ",
            &[0xff; 8192],
        ] {
            assert_eq!(ask(&ring, presented), unknown);
        }
    }

    #[test]
    fn an_empty_ring_and_its_stand_in_refuse() {
        let ring = KeyRing::new([]).expect("an empty ring");
        assert!(ring.is_empty());
        assert_eq!(ask(&ring, b""), Err(DenialKind::UnknownCredential));
        assert_eq!(ask(&ring, b"x"), Err(DenialKind::UnknownCredential));
    }

    #[test]
    fn a_disabled_key_is_told_apart_from_an_unknown_one() {
        let ring = KeyRing::new([key("a", "secret-a").disabled(true)]).expect("a ring");
        assert_eq!(ask(&ring, b"secret-a"), Err(DenialKind::DisabledCredential));
    }

    #[test]
    fn all_duplicates_are_reported_without_their_secret() {
        let keys = [
            key("a", "same-secret"),
            key("b", "same-secret"),
            key("a", "another-one"),
        ];
        let error = KeyRing::new(keys).expect_err("duplicates");
        assert_eq!(error.problems().len(), 2, "{error}");
        assert!(!error.to_string().contains("secret-"), "{error}");
        assert!(
            error
                .to_string()
                .contains("key `b`: has the same secret as key `a`"),
            "{error}"
        );
    }
}
