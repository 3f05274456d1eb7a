//! All settings of the layer, validated together.

use std::fmt;

use serde::Deserialize;
use voxgate_core::error::{ConfigError, Problem};
use voxgate_core::files::Fingerprint;

use crate::auth::AuthLayer;
use crate::dialect::Dialect;
use crate::keys::{KeyRing, SharedKeyRing, Source};
use crate::policy::{Policy, SharedPolicy};
use crate::principal::Principal;
use crate::rate_limit::LimiterBuilder;
use crate::secret::Secret;

use super::KEY_SOURCES;
use super::callers::{self, Callers};
use super::environment::Environment;
use super::limits::LimitSettings;
use super::mode::{self, Mode};
use super::routes::PolicyFile;
use super::{routes, secrets};

/// Validated settings of the layer.
pub struct Settings {
    mode: Mode,
    dialect: Dialect,
    keys: KeyRing,
    source: Source,
    /// The state of the source of the keys.
    seen: Fingerprint,
    policy: Policy,
    policy_file: Option<PolicyFile>,
    limits: LimitSettings,
    deployment_key: Option<Secret>,
    /// Whether the program puts the callers' keys in force itself.
    keys_from_elsewhere: bool,
    notices: Vec<Problem>,
}

/// The unparsed variables. All fields are optional text: for typed fields, `envy` reports neither
/// the variable nor all problems, and prints the value.
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
    /// All problems, each with the name of its variable. No value is shown.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Self::read(environment, false)
    }

    /// The same for a program that puts the callers' keys in force itself, through the
    /// [`SharedKeyRing`] that is the verifier of the layer. The layer begins without keys, and refuses
    /// every caller. The settings of keys are neither needed nor read.
    ///
    /// # Errors
    ///
    /// As [`from_environment`](Self::from_environment).
    pub fn with_keys_from_elsewhere(environment: &Environment) -> Result<Self, ConfigError> {
        Self::read(environment, true)
    }

    fn read(environment: &Environment, keys_from_elsewhere: bool) -> Result<Self, ConfigError> {
        let mut problems = environment.problems().to_vec();
        let mut notices = environment.notices();
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
        let has_callers = keys_from_elsewhere || callers.is_set();
        // An unknown dialect is already a problem. Continue with a default to find other problems.
        let source = match keys_from_elsewhere {
            true => Source::none(),
            false => callers.source(dialect.unwrap_or_default()),
        };
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
        if let (secrets::Given::Yes(secret), Some(name)) = (&deployment, variable) {
            notices.extend(secrets::quoted(name, secret.expose()));
        }
        notices.extend(callers::ignored_deployment_keys(
            environment,
            dialect,
            variable,
        ));

        // An invalid dialect or mode is a problem of its own.
        let readable = dialect.is_some() && (asked.is_some() || raw.mode.is_none());
        let others = callers::other_vendor(environment, variable);
        let decided = mode::decide(asked, has_callers, deployment.is_set(), variable, others);
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
        let (policy, policy_file) = routes::policy(
            dialect.unwrap_or_default(),
            raw.policy_file.as_deref(),
            raw.public.as_deref(),
            &mut problems,
        );
        let limits = LimitSettings::read(environment, &mut problems)?;
        // Later, a file without keys is not put in force either.
        let has_no_keys = !keys_from_elsewhere && keys.as_ref().is_some_and(KeyRing::is_empty);
        if mode == Some(Mode::Validate) && has_no_keys {
            problems.extend(callers::no_keys(environment));
        }
        if let Some(keys) = keys.as_ref().filter(|keys| !keys.is_empty()) {
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
                policy_file,
                limits,
                deployment_key: deployment.value(),
                keys_from_elsewhere,
                notices,
            }),
            _ => None,
        };
        ConfigError::check(settings, problems)
    }

    /// Reads and validates the settings of the policy only: dialect, policy file and public routes.
    ///
    /// # Errors
    ///
    /// As [`from_environment`](Self::from_environment).
    pub fn policy_from(environment: &Environment) -> Result<Policy, ConfigError> {
        let mut problems = environment.problems().to_vec();
        let raw: Raw = environment.fill("VOXGATE_")?;
        let policy = routes::dialect(raw.dialect.as_deref(), &mut problems).map(|dialect| {
            let (file, public) = (raw.policy_file.as_deref(), raw.public.as_deref());
            routes::policy(dialect, file, public, &mut problems).0
        });
        ConfigError::check(policy, problems)
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The dialect.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The number of callers' keys.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The digest of the key ring; empty in preconfigured mode.
    #[must_use]
    pub fn key_ring_digest(&self) -> String {
        match self.mode {
            Mode::Validate => self.keys.digest(),
            Mode::Preconfigured => String::new(),
        }
    }

    /// The principals of the callers' keys, sorted by id.
    #[must_use]
    pub fn principals(&self) -> Vec<&Principal> {
        let mut principals: Vec<_> = self.keys.principals().collect();
        principals.sort_by_key(|principal| principal.id());
        principals.dedup_by_key(|principal| principal.id());
        principals
    }

    /// Whether a key or an account has a quota, or may get one that is not known yet.
    #[must_use]
    pub fn has_quotas(&self) -> bool {
        self.keys_from_elsewhere || self.keys.principals().any(Principal::has_quotas)
    }

    /// The limits in addition to those of keys and accounts.
    #[must_use]
    pub fn limits(&self) -> &LimitSettings {
        &self.limits
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The same settings with these callers' keys, which a program has read elsewhere.
    #[must_use]
    pub fn with_keys(mut self, keys: KeyRing) -> Self {
        let useless = callers::useless_keys(&keys, &self.policy, Some(self.mode));
        self.notices.extend(useless);
        self.keys = keys;
        self
    }

    /// Lets keys ask for tokens, as [`Policy::with_minting`] says.
    #[must_use]
    pub fn with_minting(mut self) -> Self {
        self.policy = self.policy.with_minting();
        self.policy_file = self.policy_file.map(PolicyFile::with_minting);
        self
    }

    /// The public methods and paths, such as `GET /health`.
    #[must_use]
    pub fn public_routes(&self) -> Vec<String> {
        let routes = self.policy.public_routes();
        routes
            .map(|(method, path)| format!("{method} {path}"))
            .collect()
    }

    /// The deployment key, if one is set.
    #[must_use]
    pub fn deployment_key(&self) -> Option<&Secret> {
        self.deployment_key.as_ref()
    }

    /// Warnings: settings without effect, and unsafe settings.
    #[must_use]
    pub fn notices(&self) -> &[Problem] {
        &self.notices
    }

    /// Builds the layer from these settings. Files with keys are read again when their content
    /// changes (see [`SharedKeyRing::watch`]).
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or if there are settings of a shared store: use
    /// [`into_layer_with`](Self::into_layer_with).
    pub fn into_layer(self) -> Result<AuthLayer, ConfigError> {
        self.into_layer_with(Ok)
    }

    /// As [`into_layer`](Self::into_layer), with a limiter that `limits` completes, for example
    /// with a store that replicas share.
    ///
    /// # Errors
    ///
    /// The error of `limits`, or if a thread cannot be started, or if there are settings of a
    /// shared store and `limits` added none.
    pub fn into_layer_with(
        self,
        limits: impl FnOnce(LimiterBuilder) -> Result<LimiterBuilder, ConfigError>,
    ) -> Result<AuthLayer, ConfigError> {
        let builder = limits(self.limits.builder())?;
        if !builder.has_store() {
            ConfigError::check(Some(()), self.limits.without_store())?;
        }
        let limiter = builder.build().map_err(|error| {
            let message = format!("cannot start the timer thread ({error}); try again");
            Problem::new("VOXGATE_LIMIT_QUEUE", message)
        })?;
        let layer = match self.mode {
            Mode::Validate => {
                let keys = SharedKeyRing::new(self.keys);
                self.source.watch(&keys, self.seen)?;
                AuthLayer::new(keys)
            }
            Mode::Preconfigured => AuthLayer::preconfigured(),
        };
        let policy = SharedPolicy::new(self.policy);
        if let Some(file) = self.policy_file {
            file.follow(&policy)?;
        }
        let layer = layer.with_dialect(self.dialect).with_policy(policy);
        Ok(layer.with_limits(limiter))
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
