//! The callers' keys, from both of their sources, and what about keys is worth a notice.

use std::path::Path;

use crate::dialect::{DEPLOYMENT_VARIABLES, Dialect};
use crate::error::Problem;
use crate::keys::{Key, KeyRing, read_keys_file};
use crate::policy::Policy;
use crate::secret::Secret;

use super::environment::Environment;
use super::mode::Mode;
use super::{KEY_SOURCES, secrets};

pub(super) fn keys(
    environment: &Environment,
    dialect: Option<Dialect>,
    problems: &mut Vec<Problem>,
    notices: &mut Vec<Problem>,
) -> secrets::Given<Vec<Key>> {
    // Without a dialect there is a problem anyway; any will do to find the others.
    let dialect = dialect.unwrap_or_default();
    let forms = move |secret: &Secret| dialect.digests(secret);
    let listed = secrets::api_keys(environment, dialect, problems, notices);
    let Some(file) = environment.as_given("VOXGATE_KEYS_FILE") else {
        return listed;
    };
    let mut keys = listed.value().unwrap_or_default();
    match read_keys_file(Path::new(file), &forms) {
        Ok(read) => {
            keys.extend(read);
        }
        Err(error) => problems.extend(error.into_problems().into_iter().map(|problem| {
            // A path that cannot be read may be a key, set in the wrong variable.
            let place = match problem.place() == file {
                true => "VOXGATE_KEYS_FILE".to_owned(),
                false => format!("VOXGATE_KEYS_FILE: {}", problem.place()),
            };
            Problem::new(place, problem.message())
        })),
    }
    secrets::Given::Yes(keys)
}

/// Keys that are set and can do nothing.
pub(super) fn useless_keys(keys: &KeyRing, policy: &Policy, mode: Option<Mode>) -> Vec<Problem> {
    let mut notices = Vec::new();
    if mode == Some(Mode::Validate) && !keys.has_enabled() {
        let message = "holds no key that is enabled: every request is refused";
        notices.push(Problem::new(KEY_SOURCES, message));
    }
    if keys.has_limited() && policy.rules().is_empty() {
        let message = "holds keys with scopes, voices or a kind, but the dialect has no routes: \
                       they may do nothing; set VOXGATE_POLICY_FILE";
        notices.push(Problem::new(KEY_SOURCES, message));
    }
    notices
}

pub(super) fn in_key_sources(problem: Problem) -> Problem {
    Problem::new(
        format!("{KEY_SOURCES}: {}", problem.place()),
        problem.message(),
    )
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
