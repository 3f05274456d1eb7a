//! Settings that are secret, and their `_FILE` twins.

use std::io;
use std::path::PathBuf;

use crate::dialect::Dialect;
use crate::error::Problem;
use crate::files::read_text;
use crate::secret::Secret;

use super::environment::Environment;

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

/// Where a secret setting is.
pub(super) enum Origin {
    Text(String),
    File(PathBuf),
}

/// Finds `name`, or the file that `name_FILE` points to.
pub(super) fn origin(
    environment: &Environment,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Given<Origin> {
    let twin = format!("{name}_FILE");
    match (environment.as_given(name), environment.as_given(&twin)) {
        (None, None) => Given::No,
        (Some(text), None) => Given::Yes(Origin::Text(text.to_owned())),
        (None, Some(path)) => Given::Yes(Origin::File(path.into())),
        (Some(_), Some(_)) => {
            let message = format!("is set beside {twin}; set only one of them");
            problems.push(Problem::new(name, message));
            Given::Wrong
        }
    }
}

pub(super) fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

pub(super) fn blank(variable: &str) -> Problem {
    let message = "is empty or blank; set it, or do not set it at all";
    Problem::new(variable, message)
}

/// The path is not shown: it may be the secret, set in the wrong variable.
pub(super) fn unreadable(variable: &str, error: &io::Error) -> Problem {
    let message = format!("cannot be read ({error}); set it to the path of a readable file");
    Problem::new(variable, message)
}

pub(super) fn deployment_key(
    environment: &Environment,
    dialect: Dialect,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Given<Secret> {
    let check = |secret: &Secret| dialect.check_deployment_key(secret);
    secret(environment, name, problems, check)
}

/// A secret setting that passes the check, from the variable or its file.
pub(super) fn secret(
    environment: &Environment,
    name: &str,
    problems: &mut Vec<Problem>,
    check: impl Fn(&Secret) -> Result<(), &'static str>,
) -> Given<Secret> {
    let (variable, text) = match origin(environment, name, problems) {
        Given::No => return Given::No,
        Given::Wrong => return Given::Wrong,
        Given::Yes(Origin::Text(text)) => (name.to_owned(), Ok(text)),
        Given::Yes(Origin::File(path)) => (format!("{name}_FILE"), read_text(&path)),
    };
    let problem = match text.as_deref().map(without_newline) {
        Err(error) => unreadable(&variable, error),
        Ok(text) if text.trim().is_empty() => blank(&variable),
        Ok(text) => {
            let secret = Secret::new(text).map_err(|error| error.to_string());
            let checked = |secret: Secret| Ok(check(&secret).map(|()| secret)?);
            match secret.and_then(checked) {
                Ok(secret) => return Given::Yes(secret),
                Err(wrong) => Problem::new(variable, wrong),
            }
        }
    };
    problems.push(problem);
    Given::Wrong
}
