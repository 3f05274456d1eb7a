//! What became of keys between one ring and the next.

use std::collections::HashMap;

use super::ring::KeyRing;
use crate::principal::Principal;

/// One ring after another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RingChange {
    /// The number of the new ring.
    pub generation: u64,
    /// Its [digest](KeyRing::digest).
    pub digest: String,
    /// How many keys it has.
    pub keys: usize,
    /// The keys that are not as they were.
    pub changes: Vec<ChangedKey>,
}

/// A key that is not as it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChangedKey {
    /// What became of it.
    pub change: KeyChange,
    /// The key now; a removed one as it was.
    pub principal: Principal,
    /// The key as it was. `None` for an added one.
    pub before: Option<Principal>,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyChange {
    /// Its id is new.
    Added,
    /// Its id is gone. The principal is as it was.
    Removed,
    /// Its id has another secret.
    SecretChanged,
    /// Its label, its validity or what it may do is another.
    Changed,
    /// It is refused from now on, although the keys in force are otherwise the same: a file that could
    /// not be loaded refuses it explicitly, or it was [revoked at once](super::SharedKeyRing::revoke).
    Revoked,
}

impl KeyChange {
    /// The name that stands in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::SecretChanged => "secret_changed",
            Self::Changed => "changed",
            Self::Revoked => "revoked",
        }
    }
}

impl RingChange {
    pub(super) fn between(old: &KeyRing, new: &KeyRing, generation: u64) -> Self {
        Self {
            generation,
            digest: new.digest(),
            keys: new.len(),
            changes: changes(old, new),
        }
    }
}

/// The keys of `new` that are not as in `old`, and those that are only there.
fn changes(old: &KeyRing, new: &KeyRing) -> Vec<ChangedKey> {
    let mut before: HashMap<&str, &Principal> =
        old.principals().map(|key| (key.id(), key)).collect();
    let mut changes = Vec::new();
    let mut last = None;
    for key in new.principals() {
        // The forms of one key stand together; the first speaks for it.
        if last.replace(key.id()) == Some(key.id()) {
            continue;
        }
        let known = before.remove(key.id());
        let change = match known {
            None => KeyChange::Added,
            Some(before) if !has_its_secret(before, new) => KeyChange::SecretChanged,
            Some(before) if before.has_rights_of(key) => continue,
            Some(_) if new.has_revoked(key.id()) && !old.has_revoked(key.id()) => {
                KeyChange::Revoked
            }
            Some(_) => KeyChange::Changed,
        };
        changes.push(ChangedKey {
            change,
            principal: key.clone(),
            before: known.cloned(),
        });
    }
    let removed = before.into_values().map(|key| ChangedKey {
        change: KeyChange::Removed,
        principal: key.clone(),
        before: Some(key.clone()),
    });
    changes.extend(removed);
    changes
}

fn has_its_secret(before: &Principal, new: &KeyRing) -> bool {
    let holder = before.credential().and_then(|secret| new.holder(secret));
    holder.is_some_and(|holder| holder.id() == before.id())
}
