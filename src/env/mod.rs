//! Settings from the environment: [`AuthLayer::from_env`], and what it is made of.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `VOXGATE_DIALECT` | the vendor whose clients call: the name of a [`Dialect`] | `rime` |
//! | `VOXGATE_MODE` | `validate` or `preconfigured` | by which keys are set |
//! | `VOXGATE_API_KEYS` | the callers' keys in the clear, separated by commas | |
//! | `VOXGATE_KEYS_FILE` | a [keys file](crate::KeyRing::load) | |
//! | `VOXGATE_POLICY_FILE` | a [policy file](crate::Policy::load), whose rules come before the dialect's | |
//! | `VOXGATE_PUBLIC` | methods and paths that need no key, as `GET /health, …` | |
//! | `RIME_API_KEY`, `SUPERTONE_API_KEY`, `SMALLEST_API_KEY`, `KUGELAUDIO_API_KEY`, `INWORLD_API_KEY` | the deployment key of the dialect in use | |
//!
//! `VOXGATE_API_KEYS` and the deployment key have a twin with `_FILE` at its end, which names a
//! file to read the secret from, such as a mounted Kubernetes Secret: one trailing newline is not
//! part of it, and `VOXGATE_API_KEYS_FILE` holds one key a line.
//!
//! With a deployment key alone the mode is *preconfigured*: no credential is asked for. With
//! caller keys alone it is *validate*. Both need `VOXGATE_MODE`, and neither is an error: silence
//! never opens the door.

mod callers;
mod environment;
mod mode;
mod routes;
mod secrets;

use std::fmt;

use serde::Deserialize;

use crate::dialect::Dialect;
use crate::error::{ConfigError, Problem};
use crate::files::Fingerprint;
use crate::gate::AuthLayer;
use crate::keys::{KeyRing, SharedKeyRing, Source};
use crate::policy::Policy;
use crate::secret::Secret;

use self::callers::Callers;
pub use self::environment::Environment;
pub use self::mode::Mode;

/// Where callers' keys come from, as problems name it.
const KEY_SOURCES: &str = "VOXGATE_API_KEYS or VOXGATE_KEYS_FILE";

/// Validated settings of the layer.
pub struct Settings {
    mode: Mode,
    dialect: Dialect,
    keys: KeyRing,
    source: Source,
    /// The state of the source that the keys are from.
    seen: Fingerprint,
    policy: Policy,
    deployment_key: Option<Secret>,
    notices: Vec<Problem>,
}

/// The variables as they come. Only optional text: `envy` would name neither the variable nor
/// every problem with a typed one, and it would print the value.
#[derive(Deserialize)]
struct Raw {
    dialect: Option<String>,
    mode: Option<String>,
    policy_file: Option<String>,
    public: Option<String>,
}

impl Settings {
    /// Reads and validates the layer's settings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its variable and none with a value.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let mut problems = environment.problems().to_vec();
        let mut notices = Vec::new();
        let raw: Raw = environment.fill("VOXGATE_")?;
        let dialect = routes::dialect(raw.dialect.as_deref(), &mut problems);
        let asked = match raw.mode.as_deref() {
            None => None,
            Some("validate") => Some(Mode::Validate),
            Some("preconfigured") => Some(Mode::Preconfigured),
            Some(_) => {
                let message = "must be `validate` or `preconfigured`";
                problems.push(Problem::new("VOXGATE_MODE", message));
                None
            }
        };
        let callers = Callers::find(environment, &mut problems);
        let has_callers = callers.is_set();
        // Without a dialect there is a problem anyway; any will do to find the others.
        let source = callers.source(dialect.unwrap_or_default());
        let (loaded, seen) = source.load();
        let keys = match loaded {
            Ok((ring, of_keys)) => {
                notices.extend(of_keys);
                Some(ring)
            }
            Err(error) => {
                problems.extend(error.into_problems());
                None
            }
        };
        let variable = dialect.and_then(Dialect::deployment_variable);
        let deployment = match (dialect, variable) {
            (Some(dialect), Some(name)) => {
                secrets::deployment_key(environment, dialect, name, &mut problems)
            }
            _ => secrets::Given::No,
        };
        notices.extend(callers::ignored_deployment_keys(
            environment,
            dialect,
            variable,
        ));

        // A dialect or mode that could not be read says nothing about what is missing.
        let readable = dialect.is_some() && (asked.is_some() || raw.mode.is_none());
        let decided = mode::decide(asked, has_callers, deployment.is_set(), variable);
        let mode = match decided {
            Ok(mode) => Some(mode),
            Err(problem) => {
                problems.extend(readable.then_some(problem));
                None
            }
        };
        if mode == Some(Mode::Preconfigured) && has_callers {
            let message = "is not used: in preconfigured mode no caller needs a key";
            notices.push(Problem::new(KEY_SOURCES, message));
        }
        let policy = routes::policy(
            dialect.unwrap_or_default(),
            raw.policy_file.as_deref(),
            raw.public.as_deref(),
            &mut problems,
        );
        if let Some(keys) = &keys {
            notices.extend(callers::useless_keys(keys, &policy, mode));
        }
        let settings = match (mode, dialect, keys) {
            (Some(mode), Some(dialect), Some(keys)) => Some(Self {
                mode,
                dialect,
                keys,
                source,
                seen,
                policy,
                deployment_key: deployment.value(),
                notices,
            }),
            _ => None,
        };
        ConfigError::check(settings, problems)
    }

    /// Reads and validates only what makes the policy: the dialect, the policy file and what is
    /// public.
    ///
    /// # Errors
    ///
    /// As [`from_environment`](Self::from_environment).
    pub fn policy_from(environment: &Environment) -> Result<Policy, ConfigError> {
        let mut problems = environment.problems().to_vec();
        let raw: Raw = environment.fill("VOXGATE_")?;
        let policy = routes::dialect(raw.dialect.as_deref(), &mut problems).map(|dialect| {
            let (file, public) = (raw.policy_file.as_deref(), raw.public.as_deref());
            routes::policy(dialect, file, public, &mut problems)
        });
        ConfigError::check(policy, problems)
    }

    /// How callers are let in.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The dialect that is spoken.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How many keys callers may hold.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// What tells the set of keys apart; empty where callers need none.
    #[must_use]
    pub fn key_ring_digest(&self) -> String {
        match self.mode {
            Mode::Validate => self.keys.digest(),
            Mode::Preconfigured => String::new(),
        }
    }

    /// What each route requires, in the order in which the rules are asked.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The methods and paths that are open to everybody, as `GET /health`.
    #[must_use]
    pub fn public_routes(&self) -> Vec<String> {
        let routes = self.policy.public_routes();
        routes
            .map(|(method, path)| format!("{method} {path}"))
            .collect()
    }

    /// The key that the server behind wants to see, if one is set.
    #[must_use]
    pub fn deployment_key(&self) -> Option<&Secret> {
        self.deployment_key.as_ref()
    }

    /// What is set and has no effect, or is allowed and unwise. Worth a warning in the log.
    #[must_use]
    pub fn notices(&self) -> &[Problem] {
        &self.notices
    }

    /// The layer that these settings describe. Files with keys are read again whenever their
    /// content changes ([`SharedKeyRing::watch`] says how).
    ///
    /// # Errors
    ///
    /// When there is no thread to be had for that.
    pub fn into_layer(self) -> Result<AuthLayer, ConfigError> {
        let layer = match self.mode {
            Mode::Validate => {
                let keys = SharedKeyRing::new(self.keys);
                self.source.watch(&keys, self.seen)?;
                AuthLayer::new(keys)
            }
            Mode::Preconfigured => AuthLayer::preconfigured(),
        };
        Ok(layer.dialect(self.dialect).policy(self.policy))
    }
}

impl AuthLayer {
    /// The layer that the environment describes: see [`env`](mod@crate::env) for the variables.
    ///
    /// Notices are logged as warnings. Files with keys are read again whenever their content
    /// changes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its variable and none with a value.
    pub fn from_env() -> Result<Self, ConfigError> {
        let settings = Settings::from_environment(&Environment::current())?;
        for notice in settings.notices() {
            tracing::warn!("{notice}");
        }
        settings.into_layer()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mode", &self.mode)
            .field("dialect", &self.dialect)
            .field("keys", &self.keys)
            .field("deployment_key", &self.deployment_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
