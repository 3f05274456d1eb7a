//! The keys of all watched Secrets.
//!
//! The keys of each Secret in force never repeat those of another: a Secret that would is refused as
//! a whole, and keeps its last good keys. So a mistake in one Secret never changes the keys of others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use voxgate::keys::Key;
use voxgate::{Dialect, KeyRing, Problem};

use super::parts::KeyTexts;
use super::wire::Secret;

/// The Secrets that are watched, by their names.
pub(crate) struct SecretCollection {
    namespace: String,
    dialect: Dialect,
    secrets: BTreeMap<String, WatchedSecret>,
    owners: Owners,
}

struct WatchedSecret {
    /// Differs from that of a Secret with the same name before it was deleted.
    uid: String,
    created: Option<String>,
    /// As the API server has it.
    texts: Result<KeyTexts, Vec<Problem>>,
    /// The keys in force.
    keys: Vec<Key>,
    state: SecretState,
}

enum SecretState {
    /// It has changed, and was not looked at yet.
    Changed,
    InForce,
    /// The last good keys stay in force, for this reason.
    Refused(Vec<Problem>),
}

/// What a change of Secrets has caused.
#[derive(Default)]
pub(crate) struct Settled {
    /// Whether the keys in force differ.
    pub(crate) changed: bool,
    /// New problems. They name no values.
    pub(crate) problems: Vec<Problem>,
    pub(crate) notices: Vec<Problem>,
    /// The ids of keys that a Secret refuses which is wrong otherwise.
    pub(crate) refused: Vec<String>,
}

/// Which Secret has a key, a secret or an account in force.
#[derive(Default)]
struct Owners {
    ids: HashMap<String, Arc<str>>,
    /// With the id of the key.
    digests: HashMap<[u8; 32], (Arc<str>, String)>,
    accounts: HashMap<String, Arc<str>>,
}

impl Owners {
    fn add(&mut self, secret: &str, keys: &[Key]) {
        let secret: Arc<str> = secret.into();
        for key in keys {
            let id = key.principal().id();
            self.ids.insert(id.to_owned(), Arc::clone(&secret));
            for digest in key.digests() {
                let owner = (Arc::clone(&secret), id.to_owned());
                self.digests.insert(*digest.as_bytes(), owner);
            }
            if let Some(account) = key.principal().account() {
                let account = account.id().to_owned();
                self.accounts.insert(account, Arc::clone(&secret));
            }
        }
    }

    fn remove(&mut self, keys: &[Key]) {
        for key in keys {
            self.ids.remove(key.principal().id());
            for digest in key.digests() {
                self.digests.remove(digest.as_bytes());
            }
            if let Some(account) = key.principal().account() {
                self.accounts.remove(account.id());
            }
        }
    }

    /// What these keys of a Secret repeat of other Secrets.
    fn conflicts(&self, secret: &str, place: &str, keys: &[Key]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |message: String| problems.push(Problem::new(place, message));
        for key in keys {
            let id = key.principal().id();
            let other = self.ids.get(id).filter(|other| ***other != *secret);
            if let Some(other) = other {
                problem(format!(
                    "has a key with the id `{id}`, which the Secret {other} has, too; give each key its \
                     own id"
                ));
            }
            for digest in key.digests() {
                let other = self.digests.get(digest.as_bytes());
                if let Some((other, same)) = other.filter(|(other, _)| **other != *secret) {
                    problem(format!(
                        "has a key `{id}` with the secret of the key `{same}` of the Secret {other}; give \
                         each key its own secret"
                    ));
                }
            }
            let account = key.principal().account().map(|account| account.id());
            let other = account.and_then(|account| Some((account, self.accounts.get(account)?)));
            if let Some((account, other)) = other.filter(|(_, other)| ***other != *secret) {
                problem(format!(
                    "has an account `{account}`, which the Secret {other} has, too; write the keys of an \
                     account into one Secret"
                ));
            }
        }
        problems.dedup();
        problems
    }
}

/// What the parts of one Secret repeat of each other.
fn repeated(place: &str, keys: &[Key]) -> Vec<Problem> {
    let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
    let mut problems = Vec::new();
    for key in keys {
        let id = key.principal().id();
        if !ids.insert(id) {
            let message = format!("has two keys with the id `{id}`; give each key its own id");
            problems.push(Problem::new(place, message));
        }
        for digest in key.digests() {
            if !digests.insert(*digest.as_bytes()) {
                let message = format!(
                    "has a key `{id}` with the secret of another key; give each key its own secret"
                );
                problems.push(Problem::new(place, message));
            }
        }
    }
    problems
}

impl SecretCollection {
    pub(crate) fn new(namespace: &str, dialect: Dialect) -> Self {
        Self {
            namespace: namespace.to_owned(),
            dialect,
            secrets: BTreeMap::new(),
            owners: Owners::default(),
        }
    }

    /// How many Secrets there are.
    pub(crate) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// How many Secrets are wrong, so that their last good keys stay in force.
    pub(crate) fn refused(&self) -> usize {
        let secrets = self.secrets.values();
        secrets
            .filter(|secret| matches!(secret.state, SecretState::Refused(_)))
            .count()
    }

    /// How a Secret is named in problems.
    fn place(namespace: &str, name: &str) -> String {
        format!("Secret {namespace}/{name}")
    }

    /// Takes over a Secret that was added or modified. Returns whether keys were removed.
    pub(crate) fn set(&mut self, secret: Secret) -> bool {
        let Secret { metadata, data } = secret;
        let name = metadata.name;
        if metadata.deletion_timestamp.is_some() {
            return self.remove(&name);
        }
        let texts = KeyTexts::of(&Self::place(&self.namespace, &name), &data);
        let before = self.secrets.remove(&name);
        // A Secret of the same name that was deleted in between has no keys any more.
        let (before, replaced) = match before {
            Some(before) if before.uid == metadata.uid => (Some(before), None),
            before => (None, before),
        };
        let watched = match before {
            Some(before) if is_same(&before.texts, &texts) => before,
            before => WatchedSecret {
                uid: metadata.uid,
                created: metadata.creation_timestamp,
                texts,
                keys: before.map(|before| before.keys).unwrap_or_default(),
                state: SecretState::Changed,
            },
        };
        self.secrets.insert(name, watched);
        replaced.is_some_and(|replaced| self.release(&replaced))
    }

    /// Forgets a Secret that was deleted. Returns whether keys were removed.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let removed = self.secrets.remove(name);
        removed.is_some_and(|removed| self.release(&removed))
    }

    /// Lets others have the ids of a Secret that is gone. Returns whether it had keys.
    fn release(&mut self, secret: &WatchedSecret) -> bool {
        self.owners.remove(&secret.keys);
        !secret.keys.is_empty()
    }

    /// Takes over a complete list: what is not in it was deleted. Returns whether keys were removed.
    pub(crate) fn replace(&mut self, list: Vec<Secret>) -> bool {
        let listed = |name: &str| list.iter().any(|secret| secret.metadata.name == name);
        let gone = self.secrets.keys().filter(|name| !listed(name));
        let gone: Vec<String> = gone.cloned().collect();
        let mut removed = false;
        for name in gone {
            removed |= self.remove(&name);
        }
        for secret in list {
            removed |= self.set(secret);
        }
        removed
    }

    /// Puts the Secrets in force that can be. The oldest first, so that all replicas decide alike.
    pub(crate) fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        let mut order: Vec<(Option<String>, String)> = self
            .secrets
            .iter()
            .filter(|(_, secret)| !matches!(secret.state, SecretState::InForce))
            .map(|(name, secret)| (secret.created.clone(), name.clone()))
            .collect();
        order.sort_unstable();
        let mut names: Vec<String> = order.into_iter().map(|(_, name)| name).collect();
        // A Secret may wait for one behind it to give up an id.
        loop {
            let before = names.len();
            let mut waiting = Vec::new();
            for name in names {
                if !self.take_over(&name, &mut settled) {
                    waiting.push(name);
                }
            }
            names = waiting;
            if names.is_empty() || names.len() == before {
                break;
            }
        }
        for name in names {
            self.refuse(&name, &mut settled);
        }
        settled
    }

    /// The keys of a Secret as it is now, unless something is wrong with it.
    fn candidate(&self, name: &str) -> Result<(Vec<Key>, Vec<Problem>), Vec<Problem>> {
        let Some(secret) = self.secrets.get(name) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let place = Self::place(&self.namespace, name);
        let texts = secret.texts.as_ref().map_err(Clone::clone)?;
        let (keys, notices) = texts.keys(&place, self.dialect)?;
        let mut problems = repeated(&place, &keys);
        problems.extend(self.owners.conflicts(name, &place, &keys));
        match problems.is_empty() {
            true => Ok((keys, notices)),
            false => Err(problems),
        }
    }

    /// Puts the keys of a Secret in force if nothing is wrong with it.
    fn take_over(&mut self, name: &str, settled: &mut Settled) -> bool {
        let Ok((keys, notices)) = self.candidate(name) else {
            return false;
        };
        if let Some(secret) = self.secrets.get_mut(name) {
            self.owners.remove(&secret.keys);
            self.owners.add(name, &keys);
            secret.keys = keys;
            secret.state = SecretState::InForce;
            settled.notices.extend(notices);
            settled.changed = true;
        }
        true
    }

    /// Keeps the last good keys of a Secret, except those that it refuses explicitly.
    fn refuse(&mut self, name: &str, settled: &mut Settled) {
        let problems = self.candidate(name).err().unwrap_or_default();
        let dialect = self.dialect;
        let Some(secret) = self.secrets.get_mut(name) else {
            return;
        };
        if let Ok(texts) = &secret.texts {
            let refused = texts.disable_refused(dialect, &mut secret.keys);
            settled.changed |= !refused.is_empty();
            settled.refused.extend(refused);
        }
        let is_known = matches!(&secret.state, SecretState::Refused(known) if *known == problems);
        if !is_known {
            settled.problems.extend(problems.clone());
            secret.state = SecretState::Refused(problems);
        }
    }

    /// The keys in force with the names of their Secrets, in the order of these names.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        let secrets = self.secrets.iter();
        secrets.flat_map(|(name, secret)| secret.keys.iter().map(move |key| (&**name, key)))
    }

    /// The ring of the keys in force.
    pub(crate) fn ring(&self) -> Result<KeyRing, voxgate::ConfigError> {
        KeyRing::new(self.keys().map(|(_, key)| key.clone()))
    }
}

fn is_same(a: &Result<KeyTexts, Vec<Problem>>, b: &Result<KeyTexts, Vec<Problem>>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

impl fmt::Debug for SecretCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretCollection")
            .field("secrets", &self.secrets.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
