//! The callers' keys: their sources, and notices about them.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use voxgate_core::error::{ConfigError, Problem};

use crate::dialect::{DEPLOYMENT_VARIABLES, Dialect};
use crate::keys::{
    Key, KeyRing, KeysFile, Loaded, MISTYPED, Source, is_mistyped, is_weak, read_secrets,
};
use crate::policy::Policy;
use crate::principal::Principal;
use crate::secret::Secret;

use super::KEY_SOURCES;
use super::environment::{Environment, is_blank};
use super::mode::{Mode, OtherVendor};
use super::secrets::{self, Given, Origin, path_to_show};
use super::unmet::unmet_restrictions;

const API_KEYS: &str = "VOXGATE_API_KEYS";
const API_KEYS_FILE: &str = "VOXGATE_API_KEYS_FILE";
const KEYS_FILE: &str = "VOXGATE_KEYS_FILE";
const SHORT_BELOW_CHARACTERS: usize = 16;

/// The sources of the callers' keys.
pub(super) struct Callers {
    listed: Given<Origin>,
    keys_file: Given<PathBuf>,
}

impl Callers {
    pub(super) fn find(environment: &Environment, problems: &mut Vec<Problem>) -> Self {
        Self {
            listed: secrets::origin(environment, API_KEYS, problems),
            keys_file: match environment.as_given(KEYS_FILE) {
                None => Given::No,
                Some(path) if is_blank(path) => Given::Wrong,
                Some(path) => Given::Yes(path.into()),
            },
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.listed.is_set() || self.keys_file.is_set()
    }

    /// A source that can be read now, and again when the files change.
    pub(super) fn source(self, dialect: Dialect) -> Source {
        let (listed, listed_file) = match self.listed.value() {
            Some(Origin::Text(text)) => (Some(text), None),
            Some(Origin::File(path)) => (None, Some(path)),
            None => (None, None),
        };
        let has_listed_file = listed_file.is_some();
        let keys_file = self.keys_file.value();
        let paths = listed_file.iter().cloned().chain(keys_file.clone());
        let keys_file_at = keys_file.is_some().then_some(usize::from(has_listed_file));
        let keys_file_at = keys_file_at.map(|at| (at, dialect));
        Source::new(paths.collect(), keys_file_at, move |texts| {
            let mut reading = Reading::new(dialect);
            if let Some(text) = &listed {
                reading.list(API_KEYS, text, false);
            }
            let (first, rest) = texts.split_at(usize::from(has_listed_file));
            for (text, path) in first.iter().zip(&listed_file) {
                match text {
                    Ok(text) => reading.list(API_KEYS_FILE, secrets::without_newline(text), true),
                    Err(error) => {
                        reading
                            .problems
                            .push(secrets::unreadable(API_KEYS_FILE, path, error))
                    }
                }
            }
            let listed = reading.keys.len();
            for (text, path) in rest.iter().zip(&keys_file) {
                reading.keys_file(text, path);
            }
            reading.prefer_the_file(listed);
            reading.finish()
        })
    }
}

/// The keys that were read so far.
struct Reading {
    dialect: Dialect,
    keys: Vec<Key>,
    problems: Vec<Problem>,
    notices: Vec<Problem>,
    file_name: String,
}

impl Reading {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            keys: Vec::new(),
            problems: Vec::new(),
            notices: Vec::new(),
            file_name: String::new(),
        }
    }

    fn keys_file(&mut self, text: &io::Result<String>, path: &Path) {
        self.file_name = format!("{KEYS_FILE}: {}", path.display());
        match text {
            Ok(text) => {
                let (name, problems) = (&self.file_name, &mut self.problems);
                let file = KeysFile::read(text, name, self.dialect, problems);
                for listed in &mut self.keys {
                    if file.revokes(listed.principal().id()) {
                        *listed = listed.clone().disabled(true);
                    }
                }
                let (mut keys, mut notices) = file.into_parts();
                read_secrets(&mut keys, name, problems, &mut notices);
                self.keys.extend(keys);
                self.notices.extend(notices);
            }
            Err(error) => {
                let problem = secrets::unreadable(KEYS_FILE, path, error);
                self.problems.push(match error.kind() {
                    io::ErrorKind::NotFound => Problem::new(
                        KEYS_FILE,
                        format!(
                            "{}, or make it with `voxgate key new --id NAME --file {}`",
                            problem.message(),
                            path_to_show(path).unwrap_or("PATH")
                        ),
                    ),
                    _ => problem,
                });
            }
        }
    }

    /// Adds keys in the order of the list. Their ids are `env-1`, `env-2`, …, unless the dialect's
    /// keys contain their own id.
    fn list(&mut self, variable: &str, text: &str, is_file: bool) {
        if is_blank(text) {
            self.problems.push(secrets::blank(variable));
            return;
        }
        let entries: Vec<&str> = match is_file {
            true => text.lines().collect(),
            false => text.split(',').collect(),
        };
        for (index, entry) in entries.iter().enumerate() {
            let position = index + 1;
            let place = || format!("{variable}, key {position}");
            let wrong = match Secret::new(entry.trim()) {
                Ok(secret) if is_file && secret.expose().contains(',') => {
                    "contains a comma; write one key per line".to_owned()
                }
                Ok(secret) if is_mistyped(secret.expose().as_bytes()) => MISTYPED.to_owned(),
                Ok(secret) => match self.dialect.digests(&secret) {
                    Ok(digests) => {
                        self.notices
                            .extend(secrets::quoted(place(), secret.expose()));
                        let weakness = weakness(secret.expose());
                        let notice = weakness.map(|why| Problem::new(place(), why));
                        self.notices.extend(notice);
                        let numbered = format!("env-{position}");
                        let id = self.dialect.key_id(&secret).unwrap_or(&numbered);
                        let key = Key::from_secret(&secret, Principal::new(id));
                        let more = digests.into_iter().skip(1);
                        self.keys.push(more.fold(key, Key::or_digest));
                        continue;
                    }
                    Err(wrong) => wrong.to_owned(),
                },
                Err(error) => error.to_string(),
            };
            self.problems.push(Problem::new(place(), wrong));
        }
    }

    /// If a key is in the list and in the keys file, the keys file applies, so that a key can be
    /// disabled there.
    fn prefer_the_file(&mut self, listed: usize) {
        if listed == 0 {
            return;
        }
        let of_file = self.keys[listed..].iter().flat_map(Key::digests);
        let of_file: HashSet<[u8; 32]> = of_file.map(|digest| *digest.as_bytes()).collect();
        let notices = &mut self.notices;
        let mut at = 0;
        self.keys.retain(|key| {
            at += 1;
            let listed = at <= listed;
            let twice = listed
                && key
                    .digests()
                    .any(|digest| of_file.contains(digest.as_bytes()));
            if twice {
                let place = format!("{KEY_SOURCES}: key `{}`", key.principal().id());
                let message = "is also in the keys file, which applies; remove it from the list";
                notices.push(Problem::new(place, message));
            }
            !twice
        });
    }

    fn finish(self) -> Loaded {
        match KeyRing::build(self.keys, &self.file_name, self.problems) {
            Ok(ring) => Ok((ring, self.notices)),
            Err(error) => {
                let problems = error.into_problems().into_iter().map(in_key_sources);
                ConfigError::check(None, problems.collect())
            }
        }
    }
}

fn weakness(secret: &str) -> Option<String> {
    if secret.len() < SHORT_BELOW_CHARACTERS {
        let message = format!(
            "is shorter than {SHORT_BELOW_CHARACTERS} characters and can be guessed; use a longer \
             one"
        );
        return Some(message);
    }
    is_weak(secret).then(|| {
        "has less than about 128 bits of randomness and might be guessed; use a random one"
            .to_owned()
    })
}

/// Adds a place to a problem of keys that are not in a file.
fn in_key_sources(problem: Problem) -> Problem {
    match problem.place().starts_with("key ") {
        true => Problem::new(
            format!("{KEY_SOURCES}: {}", problem.place()),
            problem.message(),
        ),
        false => problem,
    }
}

/// That the keys file has no keys. A blank list is a problem of its own.
pub(super) fn no_keys(environment: &Environment) -> Option<Problem> {
    let path = Path::new(environment.get(KEYS_FILE)?);
    let path = path_to_show(path).unwrap_or("PATH");
    let message =
        format!("contains no keys; make one with `voxgate key new --id NAME --file {path}`");
    Some(Problem::new(KEYS_FILE, message))
}

/// The deployment key of another vendor than that of `variable`, if one is set.
pub(super) fn other_vendor(
    environment: &Environment,
    variable: Option<&str>,
) -> Option<OtherVendor> {
    let mut vendors = Dialect::ALL.into_iter().filter_map(|dialect| {
        let other = dialect.deployment_variable()?;
        let dialect = dialect.as_str();
        (Some(other) != variable).then_some(OtherVendor {
            variable: other,
            dialect,
        })
    });
    vendors.find(|other| environment.has_secret(other.variable))
}

/// Notices about keys that cannot be used.
pub(super) fn useless_keys(keys: &KeyRing, policy: &Policy, mode: Option<Mode>) -> Vec<Problem> {
    let mut notices = Vec::new();
    if mode == Some(Mode::Validate) && !keys.has_active() {
        let message = "contains no key that is enabled and valid now: every request is refused";
        notices.push(Problem::new(KEY_SOURCES, message));
    }
    if keys.has_limited() && policy.rules().is_empty() {
        let message = "contains keys with scopes, voices or a kind, but the dialect has no routes: \
                       every request with them is refused; set VOXGATE_POLICY_FILE";
        notices.push(Problem::new(KEY_SOURCES, message));
    }
    let unmet = unmet_restrictions(keys.principals(), policy);
    notices.extend(unmet.into_iter().map(in_key_sources));
    notices
}

pub(super) fn ignored_deployment_keys<'a>(
    environment: &'a Environment,
    dialect: Option<Dialect>,
    used: Option<&'a str>,
) -> impl Iterator<Item = Problem> + 'a {
    let name = dialect.map_or("unknown", Dialect::as_str);
    DEPLOYMENT_VARIABLES
        .into_iter()
        .filter(move |variable| Some(*variable) != used)
        .flat_map(|variable| [variable.to_owned(), format!("{variable}_FILE")])
        .filter(|variable| environment.get(variable).is_some())
        .map(move |variable| {
            let message = format!("is not used: the dialect is `{name}`");
            Problem::new(variable, message)
        })
}
