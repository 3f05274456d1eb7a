//! The environment variables of Voxgate.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use voxgate_core::error::{ConfigError, Problem};

use crate::secret::Secret;
use voxgate_core::files;

use super::secrets;
use super::table::{SETTINGS, Setting};

const PREFIX: &str = "VOXGATE_";

/// A snapshot of the variables that belong to Voxgate: those that begin with `VOXGATE_`, and the
/// deployment keys of the vendors. `Debug` shows names only.
pub struct Environment {
    values: BTreeMap<String, String>,
    problems: Vec<Problem>,
    /// The settings whose values are paths of files with secrets.
    secret_files: BTreeSet<&'static str>,
}

impl Environment {
    /// The environment of the process. Variables of other programs may have any value.
    #[must_use]
    pub fn current() -> Self {
        Self::new(std::env::vars_os(), &[])
    }

    /// The given variables. A program around the layer names its own settings in `more`. A setting
    /// of either table that is blank is a problem, if the table [says so](Setting::refuses_blank).
    /// Any other variable that begins with `VOXGATE_` is a problem, so that a misspelt setting is
    /// not silently ignored. Variables that Kubernetes injects for a Service whose name begins
    /// with `voxgate` are ignored.
    pub fn new<'a, K, V>(
        vars: impl IntoIterator<Item = (K, V)>,
        more: impl IntoIterator<Item = &'a Setting>,
    ) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut known: Vec<&Setting> = SETTINGS.iter().collect();
        known.extend(more);
        let secret_files = known.iter().filter(|setting| setting.secret_file);
        let mut environment = Self {
            values: BTreeMap::new(),
            problems: Vec::new(),
            secret_files: secret_files.map(|setting| setting.variable).collect(),
        };
        for (name, value) in vars {
            let name = match name.into().into_string() {
                Ok(name) => name,
                // Only variables of Voxgate begin with its prefix.
                Err(name) => match name.to_string_lossy() {
                    shown if shown.starts_with(PREFIX) => shown.into_owned(),
                    _ => continue,
                },
            };
            if let Some(setting) = known.iter().find(|setting| setting.variable == name) {
                environment.take(setting, value.into());
            } else if name.starts_with(PREFIX) && !injected_by_kubernetes(&name, &value.into()) {
                let known = known.iter().map(|setting| setting.variable);
                let message = match nearest(&name, known) {
                    Some(setting) => format!("is not a setting; did you mean {setting}?"),
                    None => "is not a setting; correct its name or remove it".to_owned(),
                };
                environment.problems.push(Problem::new(name, message));
            }
        }
        environment
            .problems
            .sort_by(|a, b| a.place().cmp(b.place()));
        environment
    }

    fn take(&mut self, setting: &Setting, value: OsString) {
        let name = setting.variable;
        match value.into_string() {
            Ok(value) => {
                if setting.refuses_blank() && is_blank(&value) {
                    self.problems.push(secrets::blank(name));
                }
                self.values.insert(name.to_owned(), value);
            }
            Err(_) => self.problems.push(Problem::new(name, "is not UTF-8 text")),
        }
    }

    /// Unknown settings, values that are not UTF-8, and settings that must not be blank.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Warnings about the files that the settings name: each file with secrets to which every user
    /// of the machine has access.
    #[must_use]
    pub fn notices(&self) -> Vec<Problem> {
        let files = self.secret_files.iter();
        let files = files.filter_map(|variable| Some((*variable, Path::new(self.get(variable)?))));
        files
            .filter_map(|(variable, path)| exposed(variable, path))
            .collect()
    }

    /// The value of a variable. An empty or blank value counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        Some(value.as_str()).filter(|value| !is_blank(value))
    }

    /// The value of a variable, even if it is blank.
    pub(super) fn as_given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A secret: the variable `name`, or the content of the file that `name_FILE` names. Returns
    /// `None` if the secret is not set, or if it is wrong. The problem is then added to `problems`; a
    /// blank value is already one of [those of the environment](Self::problems).
    pub fn secret(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Secret> {
        secrets::secret(self, name, problems, |_| Ok(())).value()
    }

    /// Whether a secret is set, by the variable `name` or by a file.
    #[must_use]
    pub fn has_secret(&self, name: &str) -> bool {
        let file = format!("{name}_FILE");
        self.as_given(name).or(self.as_given(&file)).is_some()
    }

    /// Fills `T`, whose fields must all be `Option<String>`, from the variables that begin with
    /// `prefix`. Empty variables count as not set.
    ///
    /// # Errors
    ///
    /// If `T` has a field of another type.
    pub fn fill<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, ConfigError> {
        let set = self
            .values
            .iter()
            .filter(|(_, value)| !is_blank(value))
            .map(|(name, value)| (name.clone(), value.clone()));
        // The error of `envy` may quote a value, so only the prefix is named.
        envy::prefixed(prefix)
            .from_iter(set)
            .map_err(|_| Problem::new(prefix, "the settings cannot be read as text").into())
    }
}

pub(super) fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

/// The warning that every user of the machine has access to the file at `path`.
fn exposed(variable: &str, path: &Path) -> Option<Problem> {
    let access = files::access_by_others(path)?;
    let file = match secrets::path_to_show(path) {
        Some(path) => format!("{path} "),
        None => "the file ".to_owned(),
    };
    let message = format!(
        "{file}can be {access} by every user of this machine; allow its owner and group only, for \
         example with `chmod o=`"
    );
    Some(Problem::new(variable, message))
}

/// The setting that is most similar to `name`: `name` with its unit or `_FILE` at the end, or the
/// setting with the smallest edit distance, if that is at most a third of the name without its
/// prefix.
fn nearest<'a>(name: &str, settings: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix(PREFIX).unwrap_or(&name).to_owned()
    };
    let name = bare(name);
    let distance = |setting: &str| match bare(setting).strip_prefix(&name) {
        Some("_SECONDS" | "_FILE") => 0,
        _ => strsim::osa_distance(&name, &bare(setting)),
    };
    settings
        .map(|setting| (distance(setting), setting))
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, setting)| setting)
}

/// Variables that Kubernetes sets for every Service in the namespace: `…_SERVICE_HOST`,
/// `…_SERVICE_PORT`, `…_SERVICE_PORT_<NAME>`, `…_PORT`, and `…_PORT_<number>_<protocol>` with or
/// without a suffix
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn injected_by_kubernetes(name: &str, value: &OsStr) -> bool {
    let numbered = || {
        let (_, port) = name
            .rsplit_once("_PORT_")
            .filter(|(_, rest)| !rest.is_empty())?;
        let (number, protocol) = port.split_once('_')?;
        let protocol = protocol.split('_').next()?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Some(digits && ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.to_string_lossy().contains("://"))
        || name.contains("_SERVICE_PORT_")
        || numbered().unwrap_or(false)
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &[Setting] = &[Setting::new(
        "Program",
        "VOXGATE_LISTEN",
        "ADDRESS",
        "Address",
    )];

    fn unknown(name: &str) -> bool {
        !Environment::new([(name, "x")], LISTEN)
            .problems()
            .is_empty()
    }

    #[test]
    fn a_misspelt_setting_is_a_problem() {
        for name in [
            "VOXGATE_APIKEYS",
            "VOXGATE_api_keys",
            "VOXGATE_VOXGATE_MODE",
            "VOXGATE_",
            "VOXGATE_MODE_FILE",
            "VOXGATE_PORT_X_TCP",
        ] {
            assert!(unknown(name), "{name}");
        }
        for name in ["VOXGATE_MODE", "VOXGATE_LISTEN", "OTHER", "RIME_API_KEY"] {
            assert!(!unknown(name), "{name}");
        }
    }

    #[test]
    fn a_misspelt_setting_gets_a_suggestion() {
        let suggestion = |name: &str| {
            let environment = Environment::new([(name, "x")], LISTEN);
            environment.problems()[0].to_string()
        };
        for (name, setting) in [
            ("VOXGATE_LISTN", "VOXGATE_LISTEN"),
            ("VOXGATE_LISTNE", "VOXGATE_LISTEN"),
            ("VOXGATE_api_keys", "VOXGATE_API_KEYS"),
            ("VOXGATE_RIME_API_KEY", "RIME_API_KEY"),
            (
                "VOXGATE_LIMIT_QUEUE_TIMEOUT",
                "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS",
            ),
        ] {
            let expected = format!("{name}: is not a setting; did you mean {setting}?");
            assert_eq!(suggestion(name), expected);
        }
        for name in ["VOXGATE_", "VOXGATE_X", "VOXGATE_TLS_CERTIFICATE"] {
            let expected = format!("{name}: is not a setting; correct its name or remove it");
            assert_eq!(suggestion(name), expected);
        }
    }

    #[test]
    fn variables_that_kubernetes_injects_are_ignored() {
        for name in [
            "VOXGATE_SERVICE_HOST",
            "VOXGATE_SERVICE_PORT",
            "VOXGATE_SERVICE_PORT_HTTP",
            "VOXGATE_PORT_8080_TCP",
            "VOXGATE_PORT_8080_TCP_PROTO",
            "VOXGATE_PORT_8080_TCP_PORT",
            "VOXGATE_PORT_53_UDP_ADDR",
            "VOXGATE_ADMIN_SERVICE_HOST",
            "VOXGATE_ADMIN_PORT_8081_TCP",
        ] {
            assert!(!unknown(name), "{name}");
        }
        let problems = |value| {
            Environment::new([("VOXGATE_PORT", value)], &[])
                .problems()
                .len()
        };
        assert_eq!(problems("tcp://10.0.0.1:8080"), 0);
        assert_eq!(problems("8080"), 1);
    }

    #[test]
    #[cfg(unix)]
    fn only_variables_of_voxgate_must_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;
        let garbage = || OsString::from_vec(vec![0xff, 0xfe]);
        let vars = [
            (OsString::from("OTHER"), garbage()),
            (garbage(), garbage()),
            (OsString::from("RIME_API_KEY"), garbage()),
        ];
        let environment = Environment::new(vars, &[]);
        let shown: Vec<_> = environment
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["RIME_API_KEY: is not UTF-8 text"]);
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::new([("RIME_API_KEY", "hunter2")], &[]);
        assert_eq!(format!("{environment:?}"), r#"{"RIME_API_KEY"}"#);
    }
}
