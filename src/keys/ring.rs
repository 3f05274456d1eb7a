//! All keys that are known, found by digest.

use std::collections::hash_map::{Entry as Slot, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Ready;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use voxgate_core::declassify::declassify;
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_core::error::{ConfigError, Problem};

use crate::dialect::Dialect;
use crate::principal::{KeyState, Principal};
use crate::secret::{Digest, RawCredential};
use crate::verify::{Verdict, Verify, VerifyOutcome};

use super::certificate;
use super::file::KeysFile;
use super::key::Key;
use super::revocation::{Revocation, RevocationEffect};
use super::signing::SigningSecret;
use super::token;
use super::version::RingDigest;

/// An immutable set of keys, looked up in constant time.
///
/// A look-up takes the SHA-256 of what was presented, finds at most one candidate by a keyed hash
/// of that digest (the key is random per ring, so that no caller can aim at a slot), and
/// compares 32 bytes once, on a miss with a stand-in. Its time depends neither on which key it is
/// nor on how much of it matched.
pub struct KeyRing {
    hasher: RandomState,
    /// Where in `principals` the one with this keyed hash is.
    index: Index,
    /// The first is the stand-in that a miss is compared with.
    principals: Vec<Principal>,
    keys: usize,
    digest: RingDigest,
    /// The ids of the keys that were revoked after the ring was made.
    revoked: BTreeSet<String>,
    /// The secrets of keys that sign, by the id that a signature names.
    signing: Arc<HashMap<Box<str>, SigningSecret>>,
    /// Where in `principals` the key with each hash of an id is. It is made when tokens, which name
    /// their key by its id, are looked up.
    ids: OnceLock<Arc<HashMap<u64, u32>>>,
}

/// Where the principal with a keyed hash is. The hash is not hashed again.
type Index = HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>;

/// Takes a hash as it is.
#[derive(Clone, Copy, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl KeyRing {
    /// A ring of these keys.
    ///
    /// # Errors
    ///
    /// All keys without an id, and all whose id or secret is already another's.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, ConfigError> {
        Self::build(keys, "", Vec::new())
    }

    /// A ring of these keys, unless there are problems, theirs included. Those of a key that has a
    /// line are named by it, in the file of this name.
    pub(crate) fn build(
        keys: impl IntoIterator<Item = Key>,
        file: &str,
        mut problems: Vec<Problem>,
    ) -> Result<Self, ConfigError> {
        let keys: Vec<Key> = keys.into_iter().collect();
        problems.extend(keys.iter().filter_map(|key| key.lacks_id(file)));
        problems.extend(repeated_ids(&keys, file));
        let (hasher, index) = loop {
            let hasher = RandomState::new();
            if let Some((index, repeated)) = index(&hasher, &keys, file) {
                problems.extend(repeated);
                break (hasher, index);
            }
        };
        let signing = signing_secrets(&keys, file, &mut problems);
        let mut digest = RingDigest::default();
        let mut principals = Vec::with_capacity(index.len() + 1);
        principals.push(Principal::new("").known_by(Digest::of(b"")).disabled(true));
        let count = keys.len();
        for key in keys {
            digest.add(&key);
            let (principal, digests) = key.into_parts();
            principals.extend(digests.map(|known| principal.clone().known_by(known)));
        }
        let ring = Self {
            hasher,
            index,
            principals,
            keys: count,
            digest,
            revoked: BTreeSet::new(),
            signing: Arc::new(signing),
            ids: OnceLock::new(),
        };
        ConfigError::check(Some(ring), problems)
    }

    /// Reads a keys file (`keys.toml`):
    ///
    /// ```toml
    /// [[key]]
    /// id = "ivr-prod"                  # stands in every audit record
    /// sha256 = "9f86d081884c7d65…"     # or secret = "…", or certificate = "spiffe://…"
    /// # All that follows is optional.
    /// label = "IVR, production"
    /// scopes = ["tts:synthesize"]      # without it the key is not limited
    /// voices = ["cove", "team-*"]      # limits it to these voices
    /// kind = "standard"                # or "realtime": for realtime sessions only
    /// created = 2026-12-01T00:00:00Z   # for people, and for `voxgate key rotate`
    /// not_before = 2026-12-01T00:00:00Z
    /// expires = 2027-03-01T00:00:00Z   # the first moment at which it is refused
    /// allow_from = ["10.0.0.0/8"]      # the networks of clients that may use it
    /// disabled = false
    /// account = "acme"
    /// rate = "50/s"                    # or "600/min", "10000/h"
    /// burst = 100
    /// concurrency = 8                  # requests and tunnels in flight
    /// labels = { team = "ivr" }        # for attribution
    /// # Inworld's SDKs sign requests for tokens. The file holds the whole key, `id:secret`.
    /// signing_secret_file = "/run/secrets/ivr-prod"
    ///
    /// [[account]]                      # what its keys share
    /// id = "acme"
    /// max_active_keys = 3              # neither disabled nor expired
    /// rate = "200/s"
    ///
    /// [revoked]                        # refused, whatever else the file says about them
    /// ids = ["ivr-2025"]
    /// ```
    ///
    /// A secret in the clear is accepted in each form in which the clients of `dialect` send it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, each with its line, none with a value.
    pub fn load(path: impl AsRef<Path>, dialect: Dialect) -> Result<Self, ConfigError> {
        KeysFile::load(path, dialect)?.into_ring()
    }

    /// How many keys there are, disabled and expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether there is no key, so that every credential is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of the ring: 12 hexadecimal digits that are the same in every process that holds the
    /// same keys with the same rights in the same order. Secrets that were given in the clear, and
    /// might be guessed, are not part of it.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = self.digest.clone();
        for id in &self.revoked {
            digest.write(b"revoked");
            digest.write(id.as_bytes());
            digest.write(b"\n");
        }
        digest.to_string()
    }

    /// The same ring without the keys that `is_revoked` names, which are disabled, and these keys.
    /// `None` if none of them counts anyway.
    pub(super) fn revoke(
        &self,
        is_revoked: impl Fn(&Principal) -> bool,
    ) -> Option<(Self, Vec<Principal>)> {
        let counts = |principal: &Principal| {
            let state = principal.current_state();
            matches!(state, KeyState::Active | KeyState::NotYetValid)
        };
        let named = self
            .principals()
            .filter(|key| counts(key) && is_revoked(key));
        let revoked: Vec<Principal> = named.cloned().collect();
        if revoked.is_empty() {
            return None;
        }
        let ids: BTreeSet<&str> = revoked.iter().map(Principal::id).collect();
        let principals = self.principals.iter().map(|principal| {
            // All forms of a key are one key.
            let is_off = ids.contains(principal.id());
            match is_off {
                true => principal.clone().disabled(true),
                false => principal.clone(),
            }
        });
        let ring = Self {
            hasher: self.hasher.clone(),
            index: self.index.clone(),
            principals: principals.collect(),
            keys: self.keys,
            digest: self.digest.clone(),
            revoked: self
                .revoked
                .iter()
                .cloned()
                .chain(ids.iter().map(|id| (*id).to_owned()))
                .collect(),
            signing: Arc::clone(&self.signing),
            ids: self.ids.clone(),
        };
        let mut revoked = revoked;
        revoked.dedup_by(|a, b| a.id() == b.id());
        Some((ring, revoked))
    }

    /// Whether a key was revoked after the ring was made.
    pub(super) fn has_revoked(&self, id: &str) -> bool {
        self.revoked.contains(id)
    }

    /// What these revocations find in this ring, in their order.
    #[must_use]
    pub fn effects(&self, revocations: &[Revocation]) -> Vec<RevocationEffect> {
        let mut at: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, revocation) in revocations.iter().enumerate() {
            at.entry(revocation.id()).or_default().push(index);
        }
        let mut effects = vec![RevocationEffect::Unknown; revocations.len()];
        if at.is_empty() {
            return effects;
        }
        for principal in self.principals() {
            let named = at.get(principal.id()).into_iter().flatten();
            for index in named.filter(|index| revocations[**index].names(principal)) {
                let effect = match principal.current_state() {
                    KeyState::Active | KeyState::NotYetValid => RevocationEffect::Accepted,
                    _ if self.has_revoked(principal.id()) => RevocationEffect::Revoked,
                    _ => RevocationEffect::Refused,
                };
                effects[*index] = effects[*index].max(effect);
            }
        }
        effects
    }

    /// What became of a principal that this ring, or an earlier one of the same keys, has let in:
    /// the principal as it is now, or why it would be refused.
    ///
    /// # Errors
    ///
    /// When its key is not there any more, or does not count.
    pub fn recheck(&self, principal: &Principal) -> Verdict {
        let credential = principal.credential();
        credential.map_or_else(
            || Err(Denial::unknown_credential()),
            |known| self.find(known, SystemTime::now()),
        )
    }

    /// The secret of the key that a signature names by this id, and the key as it is now. `None` if
    /// no key that signs has this id.
    #[must_use]
    pub fn signing_secret(&self, id: &str) -> Option<(&SigningSecret, Verdict)> {
        let secret = self.signing.get(id)?;
        Some((secret, self.find(secret.digest(), SystemTime::now())))
    }

    /// Whether at least one key may sign requests.
    #[must_use]
    pub fn has_signing(&self) -> bool {
        !self.signing.is_empty()
    }

    /// The key with this id, if it is valid and enabled: the key behind a token.
    ///
    /// # Errors
    ///
    /// When there is no such key, or it does not count.
    pub fn find_id(&self, id: &str) -> Verdict {
        let at = self.ids().get(&self.hasher.hash_one(id)).copied();
        let found = at.and_then(|at| self.principals.get(at as usize));
        let found = found.filter(|principal| principal.id() == id);
        let principal = found.unwrap_or(&self.principals[0]);
        Self::verdict(principal, found.is_some(), SystemTime::now())
    }

    fn ids(&self) -> &HashMap<u64, u32> {
        self.ids.get_or_init(|| {
            let numbered = (0_u32..).zip(&self.principals).skip(1);
            let ids = numbered.map(|(at, key)| (self.hasher.hash_one(key.id()), at));
            Arc::new(ids.collect())
        })
    }

    /// Prepares [`find_id`](Self::find_id), which takes time for a million keys.
    pub(super) fn prepare_ids(&self) {
        _ = self.ids();
    }

    /// Whether keys are looked up by their id.
    pub(super) fn has_ids(&self) -> bool {
        self.ids.get().is_some()
    }

    /// Whether at least one key is valid and enabled.
    pub(crate) fn has_active(&self) -> bool {
        let mut keys = self.principals();
        keys.any(|principal| principal.current_state() == KeyState::Active)
    }

    /// How many keys are in force now, and expire within each of these times.
    #[doc(hidden)]
    #[must_use]
    pub fn expiring<const N: usize>(&self, now: SystemTime, within: [Duration; N]) -> [usize; N] {
        let mut counts = [0; N];
        for principal in self.principals() {
            let Some(expires) = principal.validity().expires else {
                continue;
            };
            if principal.state(now) != KeyState::Active {
                continue;
            }
            let left = expires.duration_since(now).unwrap_or_default();
            for (count, within) in counts.iter_mut().zip(within) {
                *count += usize::from(left <= within);
            }
        }
        counts
    }

    /// Whether some key is limited in what it may do, so that it needs a policy.
    pub(crate) fn has_limited(&self) -> bool {
        let mut keys = self.principals();
        keys.any(|principal| !principal.is_unlimited())
    }

    fn look_up(&self, presented: RawCredential<'_>, now: SystemTime) -> Verdict {
        // A signature is checked by a verifier that knows the secret; its text is not a key.
        if !presented.is_plausible() || presented.is_signature() {
            return Err(Denial::unknown_credential());
        }
        if token::is_mistyped(presented.expose()) {
            return Err(DenialKind::MistypedCredential.into());
        }
        self.find(&presented.digest(), now)
    }

    /// Every key, once for each of its forms.
    pub(crate) fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.principals.iter().skip(1)
    }

    /// Whose digest this is.
    pub(super) fn holder(&self, digest: &Digest) -> Option<&Principal> {
        let (principal, matches) = self.candidate(digest);
        matches.then_some(principal)
    }

    /// The one principal whose key this can be, and whether it is; the stand-in if there is none.
    fn candidate(&self, digest: &Digest) -> (&Principal, bool) {
        let slot = declassify(keyed_hash(&self.hasher, digest));
        let at = self.index.get(&slot).copied().unwrap_or(0);
        let principal = &self.principals[at as usize];
        let known = principal.credential();
        let matches = known.is_some_and(|known| known.matches(digest));
        (principal, matches && at != 0)
    }

    /// The verdict takes the same work whether the key counts, was disabled, has expired or is unknown:
    /// a caller who is refused learns from the time neither which it is nor whether the key exists.
    fn find(&self, digest: &Digest, now: SystemTime) -> Verdict {
        let (principal, matches) = self.candidate(digest);
        Self::verdict(principal, matches, now)
    }

    fn verdict(principal: &Principal, matches: bool, now: SystemTime) -> Verdict {
        let (principal, state) = (principal.clone(), principal.state(now));
        let kind = match state {
            _ if !matches => DenialKind::UnknownCredential,
            KeyState::Active => return Ok(principal),
            KeyState::Expired => DenialKind::ExpiredCredential,
            KeyState::NotYetValid => DenialKind::NotYetValidCredential,
            _ => DenialKind::DisabledCredential,
        };
        let denial = Denial::new(kind);
        Err(match matches {
            true => denial.with_principal(principal),
            false => denial,
        })
    }
}

/// The hash of a digest under the ring's random key.
fn keyed_hash(hasher: &RandomState, digest: &Digest) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(digest.as_bytes());
    hasher.finish()
}

/// The keys whose id is another's, too.
fn repeated_ids(keys: &[Key], file: &str) -> Vec<Problem> {
    let mut seen = HashMap::with_capacity(keys.len());
    let mut problems = Vec::new();
    for key in keys {
        match seen.entry(key.principal.id()) {
            Slot::Vacant(free) => _ = free.insert(key),
            Slot::Occupied(first) => problems.push(key.repeats("id", first.get(), file)),
        }
    }
    problems
}

/// The secrets of the keys that sign. No two may have one id, because the id says which secret a
/// signature was made with.
fn signing_secrets(
    keys: &[Key],
    file: &str,
    problems: &mut Vec<Problem>,
) -> HashMap<Box<str>, SigningSecret> {
    let mut first: HashMap<&str, &Key> = HashMap::new();
    let mut secrets = HashMap::new();
    for key in keys {
        let signing = key.signing.as_ref();
        let Some(secret) = signing.and_then(|signing| signing.secret.as_deref()) else {
            continue;
        };
        match first.entry(secret.id()) {
            Slot::Vacant(free) => _ = free.insert(key),
            Slot::Occupied(other) => {
                problems.push(key.repeats("id in its signing_secret_file", other.get(), file));
            }
        }
        secrets.insert(secret.id().into(), secret.clone());
    }
    secrets
}

/// Where in a ring the principal with each keyed hash of a digest is, and the keys whose digest is
/// another's, too. `None` when two digests have one hash: once in 2^64 pairs.
fn index(hasher: &RandomState, keys: &[Key], file: &str) -> Option<(Index, Vec<Problem>)> {
    let mut index = Index::with_capacity_and_hasher(keys.len(), BuildHasherDefault::default());
    let mut known = Vec::with_capacity(keys.len());
    let mut problems = Vec::new();
    for key in keys {
        for digest in key.digests() {
            let at = u32::try_from(known.len() + 1).ok()?;
            known.push((digest, key));
            match index.entry(declassify(keyed_hash(hasher, &digest))) {
                Slot::Vacant(free) => _ = free.insert(at),
                Slot::Occupied(taken) => {
                    let (first_digest, first) = &known[*taken.get() as usize - 1];
                    if !first_digest.matches(&digest) {
                        return None;
                    }
                    problems.push(key.repeats("secret", first, file));
                }
            }
        }
    }
    Some((index, problems))
}

impl Verify for KeyRing {
    type Future = Ready<Verdict>;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        self.verify_at(presented, SystemTime::now())
    }

    fn verify_at(
        &self,
        presented: RawCredential<'_>,
        now: SystemTime,
    ) -> VerifyOutcome<Self::Future> {
        VerifyOutcome::Ready(self.look_up(presented, now))
    }

    fn verify_certificate(&self, name: &str, now: SystemTime) -> Option<Verdict> {
        Some(self.find(&certificate::digest(name), now))
    }

    fn needs_policy(&self) -> bool {
        self.has_limited()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
