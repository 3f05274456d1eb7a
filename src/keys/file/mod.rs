//! The keys file.

mod account;
mod key;
mod revoked;
mod takeaway;
mod values;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use toml::de::DeTable;
use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::read_text;
use voxgate_core::toml_file::{TomlFile, unreadable};

use super::key::Key;
use super::ring::KeyRing;
use crate::dialect::Dialect;
use crate::principal::{Account, KeyState};

pub(crate) use self::takeaway::Takeaways;

/// The keys of a file, in their order; [`KeyRing::load`] says how it is written.
#[derive(Debug)]
pub struct KeysFile {
    keys: Vec<Key>,
    revoked: HashSet<String>,
    notices: Vec<Problem>,
}

impl KeysFile {
    /// Reads a keys file whose secrets in the clear are presented as this dialect's clients do.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, each with its line, none with a value.
    pub fn load(path: impl AsRef<Path>, dialect: Dialect) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        match read_text(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string(), dialect),
            Err(error) => Err(unreadable(path, "keys file", &error).into()),
        }
    }

    /// Reads the text of a keys file that has this name.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(text: &str, name: &str, dialect: Dialect) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = Self::read(text, name, dialect, &mut problems);
        KeyRing::build(file.keys.clone(), name, problems)?;
        Ok(file)
    }

    /// Reads all keys and collects all problems, except keys that repeat each other.
    pub(crate) fn read(
        text: &str,
        name: &str,
        dialect: Dialect,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut reading = Reading::new(dialect);
        problems.extend(TomlFile::parse(text, name, |file, table| {
            reading.part(file, table);
        }));
        reading.finish(name, problems)
    }

    /// The keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Warnings, such as for a secret that might be guessed.
    #[must_use]
    pub fn notices(&self) -> &[Problem] {
        &self.notices
    }

    /// Whether the file revokes every key with this id. Such keys of the file are disabled.
    #[must_use]
    pub fn revokes(&self, id: &str) -> bool {
        self.revoked.contains(id)
    }

    /// A ring of these keys.
    ///
    /// # Errors
    ///
    /// None that [`load`](Self::load) has not reported.
    pub fn into_ring(self) -> Result<KeyRing, ConfigError> {
        KeyRing::new(self.keys)
    }

    /// Disables those of `keys` that the text of a keys file refuses explicitly, although it may be
    /// wrong in other places: `disabled = true`, `expires` in the past, or an id in `[revoked]`.
    /// Returns the ids of the keys that counted until now.
    pub fn disable_refused(text: &str, dialect: Dialect, keys: &mut [Key]) -> Vec<String> {
        let now = SystemTime::now();
        let takeaways = Takeaways::read(text, dialect, now);
        let mut refused = Vec::new();
        for key in keys {
            let counts = matches!(
                key.principal.state(now),
                KeyState::Active | KeyState::NotYetValid
            );
            if counts && key.is_refused_by(&takeaways) {
                refused.push(key.principal.id().to_owned());
                key.principal = key.principal.clone().disabled(true);
            }
        }
        refused
    }

    pub(crate) fn into_parts(self) -> (Vec<Key>, Vec<Problem>) {
        (self.keys, self.notices)
    }
}

/// What was read of a file so far.
struct Reading {
    dialect: Dialect,
    keys: Vec<Key>,
    /// Which key names which account, and in which line.
    members: Vec<(usize, u32, String)>,
    accounts: HashMap<String, (u32, Arc<Account>)>,
    /// The line and id of each key without a usable secret or digest.
    unusable: Vec<(u32, String)>,
    /// The ids in `[revoked]`, and its line.
    revoked: HashSet<String>,
    revoked_in: Option<u32>,
    notices: Vec<Problem>,
}

impl Reading {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            keys: Vec::new(),
            members: Vec::new(),
            accounts: HashMap::new(),
            unusable: Vec::new(),
            revoked: HashSet::new(),
            revoked_in: None,
            notices: Vec::new(),
        }
    }

    fn weak(&mut self, place: String) {
        let message = "secret has less than about 128 bits of randomness and might be guessed; \
                       make one with `voxgate key new`";
        self.notices.push(Problem::new(place, message));
    }

    fn quoted(&mut self, place: String) {
        let message = "secret begins or ends with a quotation mark inside the quotation marks of \
                       TOML, which counts as part of the key; remove it";
        self.notices.push(Problem::new(place, message));
    }

    fn part(&mut self, file: &mut TomlFile<'_>, table: &DeTable<'_>) {
        if let Some((field, value)) = table.get_key_value("revoked") {
            let line = file.line(field.span().start);
            if let Some(first) = self.revoked_in.replace(line) {
                let message = format!("is the second [revoked]; add its ids to line {first}");
                file.problem_in_line(line, message);
            }
            self.revoked.extend(revoked::read(file, value));
        }
        for (at, name, fields) in file.tables(table, &["key", "account"], &["revoked"]) {
            let line = file.line(at);
            if name == "account" {
                if let Some(account) = account::read(file, at, fields) {
                    self.add_account(file, line, account);
                }
            } else if let Some((key, account)) = key::read(self, file, at, fields) {
                let member = account.map(|account| (self.keys.len(), line, account));
                self.members.extend(member);
                self.keys.push(key);
            }
        }
    }

    fn add_account(&mut self, file: &mut TomlFile<'_>, line: u32, account: Account) {
        match self.accounts.entry(account.id().to_owned()) {
            Slot::Vacant(free) => _ = free.insert((line, Arc::new(account))),
            Slot::Occupied(first) => {
                let message = format!(
                    "has the id of the account in line {}; give each account its own",
                    first.get().0
                );
                file.problem_in_line(line, message);
            }
        }
    }

    fn finish(mut self, name: &str, problems: &mut Vec<Problem>) -> KeysFile {
        for key in &mut self.keys {
            if self.revoked.contains(key.principal.id()) {
                key.principal = key.principal.clone().disabled(true);
            }
        }
        let now = SystemTime::now();
        let mut active: HashMap<&str, u32> = HashMap::new();
        for (at, line, account) in &self.members {
            let Some((_, account)) = self.accounts.get(account) else {
                let message = "account is not in this file; add an [[account]] with this id";
                problems.push(Problem::new(format!("{name}:{line}"), message));
                continue;
            };
            let key = &mut self.keys[*at];
            key.principal = key.principal.clone().with_account(Arc::clone(account));
            if matches!(
                key.principal.state(now),
                KeyState::Active | KeyState::NotYetValid
            ) {
                *active.entry(account.id()).or_default() += 1;
            }
        }
        for (line, account) in self.accounts.values() {
            let count = active.get(account.id()).copied().unwrap_or_default();
            let most = account.max_active_keys().filter(|most| count > most.get());
            if let Some(most) = most {
                let message = format!(
                    "the account has {count} keys that are neither disabled nor expired, and may \
                     have {most}; disable one, or raise max_active_keys"
                );
                problems.push(Problem::new(format!("{name}:{line}"), message));
            }
        }
        self.repeated_ids(name, problems);
        KeysFile {
            keys: self.keys,
            revoked: self.revoked,
            notices: self.notices,
        }
    }

    /// Reports ids that a key shares with an unusable key. The ring, which unusable keys do not
    /// reach, reports ids that usable keys share.
    fn repeated_ids(&self, name: &str, problems: &mut Vec<Problem>) {
        if self.unusable.is_empty() {
            return;
        }
        let unusable = self.unusable.iter();
        let unusable = unusable.map(|(line, id)| (*line, id.as_str(), false));
        let usable = self.keys.iter().filter_map(|key| {
            let line = key.line()?.get();
            Some((line, key.principal.id(), true))
        });
        let mut all: Vec<(u32, &str, bool)> = unusable.chain(usable).collect();
        all.sort_unstable();
        let mut seen: HashMap<&str, (u32, bool)> = HashMap::new();
        for (line, id, is_usable) in all {
            match seen.entry(id) {
                Slot::Vacant(free) => _ = free.insert((line, is_usable)),
                Slot::Occupied(mut first) => {
                    let (first_line, first_is_usable) = *first.get();
                    if is_usable && first_is_usable {
                        continue;
                    }
                    let message = format!(
                        "has the same id as the key in line {first_line}; give each key its own"
                    );
                    problems.push(Problem::new(format!("{name}:{line}"), message));
                    // The ring compares later keys with this one.
                    if is_usable {
                        first.insert((line, true));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
