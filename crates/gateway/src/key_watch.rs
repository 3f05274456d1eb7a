//! Keys by a watch of the Kubernetes API, in builds with the feature `kubernetes`. Builds without it
//! refuse the settings.

#[cfg(feature = "kubernetes")]
use std::io;
#[cfg(feature = "kubernetes")]
use std::time::Duration;

use voxgate::env::{Environment, Mode, Settings};
use voxgate::{ConfigError, Problem};
#[cfg(feature = "kubernetes")]
use voxgate::{Dialect, KeyRing, SharedKeyRing};

#[cfg(feature = "kubernetes")]
pub(crate) use voxgate_kubernetes::KeyWatch;
#[cfg(feature = "kubernetes")]
use voxgate_kubernetes::{ListedKeys, WatchSettings, WatchedSecrets};

use super::settings::kubernetes::{
    KEYS_KUBERNETES_NAMESPACE, KEYS_KUBERNETES_SECRET, KEYS_KUBERNETES_SELECTOR,
};

const KEYS_FILE: &str = "VOXGATE_KEYS_FILE";
const API_KEYS: [&str; 2] = ["VOXGATE_API_KEYS", "VOXGATE_API_KEYS_FILE"];
/// How long the start waits for the first list.
#[cfg(feature = "kubernetes")]
const LISTED_WITHIN: Duration = Duration::from_secs(3);

/// Which Secrets hold the callers' keys.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "this build refuses the settings")
)]
pub(crate) struct KeyWatchSettings {
    secret: Option<String>,
    selector: Option<String>,
    namespace: Option<String>,
    fallback: Option<std::path::PathBuf>,
}

impl KeyWatchSettings {
    /// Reads the settings. `None` if no Secret is watched.
    pub(crate) fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut problem = |variable: &str, message: &str| {
            problems.push(Problem::new(variable, message));
        };
        let text = |variable| environment.get(variable).map(|text| text.trim().to_owned());
        let secret = text(KEYS_KUBERNETES_SECRET);
        let selector = text(KEYS_KUBERNETES_SELECTOR);
        let namespace = text(KEYS_KUBERNETES_NAMESPACE);
        if secret.is_none() && selector.is_none() {
            if namespace.is_some() {
                let message = format!(
                    "has no effect without {KEYS_KUBERNETES_SECRET} or {KEYS_KUBERNETES_SELECTOR}; set \
                     one of them, or remove this setting"
                );
                problem(KEYS_KUBERNETES_NAMESPACE, &message);
            }
            return None;
        }
        if cfg!(not(feature = "kubernetes")) {
            let variable = match secret {
                Some(_) => KEYS_KUBERNETES_SECRET,
                None => KEYS_KUBERNETES_SELECTOR,
            };
            let message = "needs the feature `kubernetes`, which this build lacks; use a build with it, or \
                           mount the Secret and set VOXGATE_KEYS_FILE";
            problem(variable, message);
        }
        if secret.is_some() && selector.is_some() {
            let message = format!("and {KEYS_KUBERNETES_SELECTOR} are both set; keep one of them");
            problem(KEYS_KUBERNETES_SECRET, &message);
        }
        let is_label = |text: &str| {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !text.is_empty()
                && text.bytes().all(plain)
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        let is_name = |text: &str| text.len() <= 253 && text.split('.').all(is_label);
        if secret.as_deref().is_some_and(|name| !is_name(name)) {
            let message = "must be the name of a Secret: lower case letters, digits, - and ., such as \
                           voxgate-keys";
            problem(KEYS_KUBERNETES_SECRET, message);
        }
        let is_selector = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/=!,() ".contains(&byte);
            !text.is_empty() && text.bytes().all(plain)
        };
        if selector.as_deref().is_some_and(|text| !is_selector(text)) {
            let message = "must be a label selector, such as voxgate.dev/keys=true";
            problem(KEYS_KUBERNETES_SELECTOR, message);
        }
        let is_namespace = |text: &str| text.len() <= 63 && is_label(text);
        if namespace.as_deref().is_some_and(|name| !is_namespace(name)) {
            let message =
                "must be the name of a namespace: lower case letters, digits and -, such as voice";
            problem(KEYS_KUBERNETES_NAMESPACE, message);
        }
        for variable in API_KEYS {
            if environment.get(variable).is_some() {
                let message = "is set, but the callers' keys are those of watched Secrets; move these keys \
                               into a Secret, or remove the settings of the watch";
                problem(variable, message);
            }
        }
        Some(Self {
            secret,
            selector,
            namespace,
            fallback: environment.get(KEYS_FILE).map(Into::into),
        })
    }

    /// Where the keys are, for people.
    pub(crate) fn describe(&self) -> String {
        let namespace = match &self.namespace {
            Some(namespace) => format!("in the namespace {namespace}"),
            None => "in the namespace of the pod".to_owned(),
        };
        match (&self.secret, &self.selector) {
            (Some(name), _) => format!("the Secret {name} {namespace}"),
            (None, labels) => format!(
                "the Secrets with the label {} {namespace}",
                labels.as_deref().unwrap_or_default()
            ),
        }
    }

    #[cfg(feature = "kubernetes")]
    fn of_dialect(&self, dialect: Dialect) -> WatchSettings {
        let secrets = match (&self.secret, &self.selector) {
            (Some(name), _) => WatchedSecrets::Named(name.clone()),
            (None, labels) => WatchedSecrets::Labelled(labels.clone().unwrap_or_default()),
        };
        WatchSettings {
            secrets,
            namespace: self.namespace.clone(),
            dialect,
            fallback: self.fallback.clone(),
        }
    }

    /// The variable that says which Secrets are watched.
    #[cfg(feature = "kubernetes")]
    fn variable(&self) -> &'static str {
        match self.secret {
            Some(_) => KEYS_KUBERNETES_SECRET,
            None => KEYS_KUBERNETES_SELECTOR,
        }
    }

    /// Names the watched Secrets, and what is wrong with them.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn warning(&self, what: &str) -> Problem {
        Problem::new(self.variable(), format!("{}: {what}", self.describe()))
    }

    /// Lists the Secrets once, for a command.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn list(&self, dialect: Dialect) -> Result<ListedKeys, Problem> {
        let listed = ListedKeys::read(&self.of_dialect(dialect));
        listed.map_err(|why| {
            Problem::new(
                self.variable(),
                format!("cannot list {}: {why}", self.describe()),
            )
        })
    }

    /// Starts the watch, and waits a moment for the first list.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn start(self, keys: &SharedKeyRing, dialect: Dialect) -> io::Result<KeyWatch> {
        let watch = KeyWatch::start(self.of_dialect(dialect), keys)?;
        if !watch.wait_until_ready(LISTED_WITHIN) {
            tracing::warn!(
                "the Secrets with keys are not listed yet: every request is refused, and the gateway is \
                 not ready, until the API server has answered"
            );
        }
        Ok(watch)
    }

    /// Never called: the settings were refused.
    #[cfg(not(feature = "kubernetes"))]
    pub(crate) fn start(
        self,
        _: &voxgate::SharedKeyRing,
        _: voxgate::Dialect,
    ) -> std::io::Result<KeyWatch> {
        Err(std::io::Error::other(
            "this build lacks the feature `kubernetes`",
        ))
    }
}

/// The settings with the callers' keys, for commands. If Secrets are watched, they are listed once.
/// Warnings about them come with the settings.
///
/// # Errors
///
/// All problems of the settings, and why the Secrets cannot be listed.
pub(crate) fn settings_with_keys(
    environment: &Environment,
) -> Result<(Settings, Vec<Problem>), ConfigError> {
    let mut problems = Vec::new();
    let watch = KeyWatchSettings::read(environment, &mut problems);
    let settings = match watch {
        Some(_) => Settings::with_keys_from_elsewhere(environment),
        None => Settings::from_environment(environment),
    };
    let settings = match settings {
        Ok(settings) => Some(settings),
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    };
    let settings = ConfigError::check(settings, problems)?;
    match watch {
        Some(watch) if settings.mode() == Mode::Validate => with_listed_keys(settings, &watch),
        _ => Ok((settings, Vec::new())),
    }
}

#[cfg(feature = "kubernetes")]
fn with_listed_keys(
    settings: Settings,
    watch: &KeyWatchSettings,
) -> Result<(Settings, Vec<Problem>), ConfigError> {
    let listed = watch.list(settings.dialect()).map_err(|problem| {
        let message = format!(
            "{}; run the command in a pod of the gateway, or with a kubeconfig (KUBECONFIG) that may \
             list them; for the keys of a file, remove this setting and give --keys-file",
            problem.message()
        );
        Problem::new(problem.place(), message)
    })?;
    let mut warnings = listed.problems;
    if listed.keys.is_empty() && warnings.is_empty() {
        warnings.push(watch.warning("there are no keys"));
    }
    let ring = KeyRing::new(listed.keys.into_iter().map(|(_, key)| key))?;
    Ok((settings.with_keys(ring), warnings))
}

/// Never called: the settings were refused.
#[cfg(not(feature = "kubernetes"))]
fn with_listed_keys(
    settings: Settings,
    _: &KeyWatchSettings,
) -> Result<(Settings, Vec<Problem>), ConfigError> {
    Ok((settings, Vec::new()))
}

/// The watch of a build without the feature. `start` makes none; it would be never ready.
#[cfg(not(feature = "kubernetes"))]
#[derive(Clone, Debug)]
pub(crate) struct KeyWatch(());

#[cfg(not(feature = "kubernetes"))]
#[allow(
    clippy::unused_self,
    reason = "the methods are those of the real watch"
)]
impl KeyWatch {
    pub(crate) fn is_ready(&self) -> bool {
        false
    }

    pub(crate) fn is_connected(&self) -> bool {
        false
    }

    pub(crate) fn refused_secrets(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsString;

    use super::super::settings::settings;

    fn read(vars: &[(&str, &str)]) -> (Option<KeyWatchSettings>, Vec<String>) {
        let vars = vars.iter();
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(vars, settings());
        let mut problems = Vec::new();
        let read = KeyWatchSettings::read(&environment, &mut problems);
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_a_secret_nothing_is_watched() {
        assert!(read(&[]).0.is_none());
        let (none, problems) = read(&[(KEYS_KUBERNETES_NAMESPACE, "voice")]);
        assert!(none.is_none());
        assert!(problems[0].contains("has no effect"), "{problems:?}");
    }

    #[cfg(not(feature = "kubernetes"))]
    #[test]
    fn a_build_that_cannot_watch_says_so() {
        let (_, problems) = read(&[(KEYS_KUBERNETES_SECRET, "voxgate-keys")]);
        assert!(problems[0].contains("feature `kubernetes`"), "{problems:?}");
    }

    #[cfg(feature = "kubernetes")]
    #[test]
    fn each_wrong_setting_is_named_without_its_value() {
        let good = [
            (
                KEYS_KUBERNETES_SELECTOR,
                "voxgate.dev/keys=true,team in (a, b)",
            ),
            (KEYS_KUBERNETES_NAMESPACE, "voice"),
        ];
        let (settings, problems) = read(&good);
        assert!(problems.is_empty(), "{problems:?}");
        let described = settings.map(|settings| settings.describe());
        assert!(described.is_some_and(|text| text.ends_with("in the namespace voice")));
        for (vars, place) in [
            (
                &[(KEYS_KUBERNETES_SECRET, "Hunter2")][..],
                KEYS_KUBERNETES_SECRET,
            ),
            (
                &[(KEYS_KUBERNETES_SELECTOR, "hunter2&x=1")],
                KEYS_KUBERNETES_SELECTOR,
            ),
            (
                &[
                    (KEYS_KUBERNETES_SECRET, "a"),
                    (KEYS_KUBERNETES_SELECTOR, "b"),
                ],
                KEYS_KUBERNETES_SECRET,
            ),
            (
                &[
                    (KEYS_KUBERNETES_SECRET, "a"),
                    (KEYS_KUBERNETES_NAMESPACE, "hunter2/../x"),
                ],
                KEYS_KUBERNETES_NAMESPACE,
            ),
            (
                &[
                    (KEYS_KUBERNETES_SECRET, "a"),
                    ("VOXGATE_API_KEYS", "hunter2hunter2"),
                ],
                "VOXGATE_API_KEYS",
            ),
        ] {
            let (_, problems) = read(vars);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(place), "{problems:?}");
            assert!(
                !problems[0].to_lowercase().contains("hunter2"),
                "{problems:?}"
            );
        }
    }
}
