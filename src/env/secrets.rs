//! Settings that are secret, and their `_FILE` twins.

use std::path::Path;

use crate::dialect::Dialect;
use crate::error::Problem;
use crate::keys::Key;
use crate::principal::Principal;
use crate::secret::Secret;
use crate::toml_file::read_text;

use super::environment::Environment;

const API_KEYS: &str = "VOXGATE_API_KEYS";
const WEAK_BELOW_CHARACTERS: usize = 16;

/// Whether a secret setting is there. One that is there and wrong is not absent: absence means
/// something else.
pub(super) enum Given<T> {
    No,
    Wrong,
    Yes(T),
}

impl<T> Given<T> {
    pub(super) fn is_set(&self) -> bool {
        !matches!(self, Self::No)
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Yes(value) => Some(value),
            Self::No | Self::Wrong => None,
        }
    }
}

/// A secret's text, and the variable that it is from.
struct Source {
    variable: String,
    text: String,
    from_file: bool,
}

/// Reads `name`, or the file that `name_FILE` points to.
fn read(environment: &Environment, name: &str, problems: &mut Vec<Problem>) -> Given<Source> {
    let twin = format!("{name}_FILE");
    let source = match (environment.as_given(name), environment.as_given(&twin)) {
        (None, None) => return Given::No,
        (Some(_), Some(_)) => {
            let message = format!("is set beside {twin}; set only one of them");
            problems.push(Problem::new(name, message));
            return Given::Wrong;
        }
        (Some(text), None) => Source {
            variable: name.to_owned(),
            text: text.to_owned(),
            from_file: false,
        },
        (None, Some(path)) => match read_text(Path::new(path)) {
            Ok(text) => Source {
                variable: twin,
                text: without_newline(&text).to_owned(),
                from_file: true,
            },
            Err(error) => {
                let message =
                    format!("cannot be read ({error}); set it to the path of a readable file");
                problems.push(Problem::new(twin, message));
                return Given::Wrong;
            }
        },
    };
    if source.text.trim().is_empty() {
        let message = "is empty or blank; set it to a key, or do not set it at all";
        problems.push(Problem::new(source.variable, message));
        return Given::Wrong;
    }
    Given::Yes(source)
}

fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

pub(super) fn deployment_key(
    environment: &Environment,
    dialect: Dialect,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Given<Secret> {
    let source = match read(environment, name, problems) {
        Given::Yes(source) => source,
        Given::No => return Given::No,
        Given::Wrong => return Given::Wrong,
    };
    let wrong = match Secret::new(&source.text) {
        Ok(secret) => match dialect.check_deployment_key(&secret) {
            Ok(()) => return Given::Yes(secret),
            Err(wrong) => wrong.to_owned(),
        },
        Err(error) => error.to_string(),
    };
    problems.push(Problem::new(source.variable, wrong));
    Given::Wrong
}

/// The keys in the order in which they are listed: `env-1`, `env-2`, …, unless the dialect's keys
/// have a name of their own.
pub(super) fn api_keys(
    environment: &Environment,
    dialect: Dialect,
    problems: &mut Vec<Problem>,
    notices: &mut Vec<Problem>,
) -> Given<Vec<Key>> {
    let source = match read(environment, API_KEYS, problems) {
        Given::Yes(source) => source,
        Given::No => return Given::No,
        Given::Wrong => return Given::Wrong,
    };
    let entries: Vec<&str> = match source.from_file {
        true => source.text.lines().collect(),
        false => source.text.split(',').collect(),
    };
    let mut keys = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let position = index + 1;
        let place = format!("{}, key {position}", source.variable);
        let wrong = match Secret::new(entry.trim()) {
            Ok(secret) if source.from_file && secret.expose().contains(',') => {
                "holds a comma; write one key a line".to_owned()
            }
            Ok(secret) => match dialect.digests(&secret) {
                Ok(digests) => {
                    if secret.expose().len() < WEAK_BELOW_CHARACTERS {
                        let message = format!(
                            "is shorter than {WEAK_BELOW_CHARACTERS} characters and can be \
                             guessed; use a longer one"
                        );
                        notices.push(Problem::new(place, message));
                    }
                    let numbered = format!("env-{position}");
                    let id = dialect.key_id(&secret).unwrap_or(&numbered);
                    let principal = Principal::new(id);
                    let more = digests.into_iter().skip(1);
                    let key = Key::from_secret(&secret, principal);
                    keys.push(more.fold(key, Key::or_digest));
                    continue;
                }
                Err(wrong) => wrong.to_owned(),
            },
            Err(error) => error.to_string(),
        };
        problems.push(Problem::new(place, wrong));
    }
    Given::Yes(keys)
}
