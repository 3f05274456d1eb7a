//! Secret settings, and the `_FILE` variables that name their files.

use std::io;
use std::path::{Path, PathBuf};

use voxgate_core::error::Problem;
use voxgate_core::files::read_text;

use crate::dialect::Dialect;
use crate::keys::is_quoted;
use crate::secret::Secret;

use super::environment::{Environment, is_blank};

/// Whether a secret setting is set. A wrong setting is not the same as a missing one, because a
/// missing setting can change the mode.
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

/// The origin of a secret setting.
pub(super) enum Origin {
    Text(String),
    File(PathBuf),
}

/// Finds `name`, or the file that `name_FILE` points to. A blank value is wrong, and already one of
/// the problems of the environment.
pub(super) fn origin(
    environment: &Environment,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Given<Origin> {
    let twin = format!("{name}_FILE");
    match (environment.as_given(name), environment.as_given(&twin)) {
        (None, None) => Given::No,
        (Some(value), None) | (None, Some(value)) if is_blank(value) => Given::Wrong,
        (Some(text), None) => Given::Yes(Origin::Text(text.to_owned())),
        (None, Some(path)) => Given::Yes(Origin::File(path.into())),
        (Some(_), Some(_)) => {
            let message = format!("is set together with {twin}; set only one of them");
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
    let message = "is empty or blank; set a value, or remove the variable";
    Problem::new(variable, message)
}

/// The warning about a key in quotation marks, as shells need them and files of variables do not.
pub(super) fn quoted(place: impl Into<String>, secret: &str) -> Option<Problem> {
    let message = "begins or ends with a quotation mark, which counts as part of the key; remove \
                   the quotation marks";
    is_quoted(secret).then(|| Problem::new(place, message))
}

/// The problem that the file at `path`, which `variable` names, cannot be read.
///
/// The value is shown only if it is certainly a path. It may also be a key that was set in the
/// wrong variable.
pub(super) fn unreadable(variable: &str, path: &Path, error: &io::Error) -> Problem {
    let message = match path_to_show(path) {
        Some(path) => {
            format!("cannot read {path} ({error}); set it to the path of a readable file")
        }
        None => format!(
            "cannot be read ({error}); set it to the path of a readable file (its value is not \
             shown, because it may be a key)"
        ),
    };
    Problem::new(variable, message)
}

/// Returns the path for an error text, if it is certainly not a key: it begins with `/`, `./` or
/// `../`, or ends in `.toml`, and none of its parts looks random like a key.
#[must_use]
pub fn path_to_show(path: &Path) -> Option<&str> {
    const RANDOM: usize = 16;
    let path = path.to_str()?;
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|start| path.starts_with(start))
        || path.ends_with(".toml");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-@ ".contains(&byte);
    let looks_random = |part: &str| {
        let has = |class: fn(&u8) -> bool| part.as_bytes().iter().any(class);
        part.len() >= RANDOM && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    let mut parts = path.split(|letter: char| !letter.is_ascii_alphanumeric());
    (is_path && path.bytes().all(is_plain) && !parts.any(looks_random)).then_some(path)
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
        Given::Yes(Origin::File(path)) => {
            let variable = format!("{name}_FILE");
            let text = read_text(&path).map_err(|error| unreadable(&variable, &path, &error));
            (variable, text)
        }
    };
    let problem = match text.as_deref().map(without_newline) {
        Err(problem) => problem.clone(),
        Ok(text) if is_blank(text) => blank(&variable),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_that_is_certainly_a_path_is_shown() {
        let shown = |path: &'static str| path_to_show(Path::new(path));
        for path in [
            "/etc/voxgate/keys.toml",
            "./rime.key",
            "../secrets/token",
            "keys.toml",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "/tmp/.tmpa8Xk2Q/keys.toml",
        ] {
            assert_eq!(shown(path), Some(path));
        }
        for key in [
            "hunter2",
            "secrets/token",
            "vox_3kTz9QpLw8",
            "c2VjcmV0/c2VjcmV0+c2VjcmV0==",
            "/9j4AAQSkZJRgABAQAAAQABAAD2wBDAAMC",
            "/aGVsbG8/d29ybGQ=",
            "0123456789abcdef0123.toml",
            "rediss://:hunter2@redis:6379/0",
            "/etc/\u{1b}[31m",
            "",
        ] {
            assert_eq!(shown(key), None, "{key}");
        }
    }
}
