//! The settings of the store in the environment.

use std::path::PathBuf;
use std::time::Duration;

use voxgate::env::{Environment, Settings};
use voxgate::rate_limit::{LimiterBuilder, OnFailure};
use voxgate::{AuthLayer, ConfigError, Problem, Secret, SharedKeyRing};

use crate::options::RedisOptions;
use crate::revocations::SharedRevocations;
use crate::spent::SharedSpentTokens;
use crate::store::RedisStore;

const URL: &str = "VOXGATE_REDIS_URL";
const CA_FILE: &str = "VOXGATE_REDIS_CA_FILE";
const LEASE: &str = "VOXGATE_LIMIT_LEASE_SECONDS";
const NAMESPACE: &str = "VOXGATE_LIMIT_NAMESPACE";
const ON_FAILURE: &str = "VOXGATE_LIMIT_ON_FAILURE";

const LONGEST_LEASE_SECONDS: u64 = 3600;
/// How long Redis may take at the start.
const FIRST_READ_WITHIN: Duration = Duration::from_secs(2);

/// The settings of a [`RedisStore`], from the environment.
///
/// | variable | meaning | default |
/// |---|---|---|
/// | `VOXGATE_REDIS_URL` | URL of the Redis or Valkey in which replicas share their limits: one server, a cluster (`redis-cluster://`) or Sentinels (`redis-sentinel://`) | |
/// | `VOXGATE_REDIS_URL_FILE` | file with that URL | |
/// | `VOXGATE_REDIS_CA_FILE` | CA bundle (PEM) used to verify Redis | the system's |
/// | `VOXGATE_LIMIT_ON_FAILURE` | limits while Redis is unavailable: `local`, `deny` or `allow` ([`OnFailure`]) | `local` |
/// | `VOXGATE_LIMIT_LEASE_SECONDS` | how long the permits of a replica stay taken after it has failed | `30` |
/// | `VOXGATE_LIMIT_NAMESPACE` | prefix of all keys in Redis; the same for all replicas | `voxgate` |
#[derive(Clone, Debug)]
pub struct RedisSettings {
    url: Secret,
    ca_file: Option<PathBuf>,
    namespace: Option<String>,
    lease: Option<Duration>,
    on_failure: OnFailure,
}

impl RedisSettings {
    /// Reads and validates the settings. Returns `None` without a URL, or if a setting is wrong.
    /// The problem is then added to `problems`. Report them together with the problems of
    /// [`Settings::from_environment`].
    #[must_use]
    pub fn read(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Self> {
        let url = environment.secret(URL, problems);
        let ca_file = environment.get(CA_FILE).map(PathBuf::from);
        let lease = environment.get(LEASE);
        let lease_seconds = lease.and_then(|given| seconds(given, problems));
        let on_failure = environment.get(ON_FAILURE).map(str::trim);
        let mode = on_failure.map_or(Some(OnFailure::default()), OnFailure::parse);
        if mode.is_none() {
            let message = "must be `local`, `deny` or `allow`";
            problems.push(Problem::new(ON_FAILURE, message));
        }
        let namespace = environment.get(NAMESPACE);
        if !environment.has_secret(URL) {
            let without_url = [
                (CA_FILE, ca_file.is_some()),
                (LEASE, lease.is_some()),
                (NAMESPACE, namespace.is_some()),
                (ON_FAILURE, on_failure.is_some()),
            ];
            let without_url = without_url.into_iter().filter(|(_, is_set)| *is_set);
            let message = format!("has no effect without Redis; set {URL}, or remove this setting");
            let problem = |(variable, _)| Problem::new(variable, message.clone());
            problems.extend(without_url.map(problem));
            return None;
        }
        let settings = Self {
            url: url?,
            ca_file,
            namespace: namespace.map(str::to_owned),
            lease: lease_seconds,
            // A setting that is not valid is among the problems.
            on_failure: mode.unwrap_or_default(),
        };
        let wrong = settings.options().problems();
        problems.extend(wrong.into_iter().map(name_variable));
        Some(settings)
    }

    /// Starts the store and adds it to a limiter.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn add_to(self, limiter: LimiterBuilder) -> Result<LimiterBuilder, ConfigError> {
        let store = self.start()?;
        Ok(limiter.with_store(store).with_failure_mode(self.on_failure))
    }

    /// Starts the store, for a program that shares limits and quotas through it.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn start(&self) -> Result<RedisStore, ConfigError> {
        match RedisStore::start(self.options()) {
            Ok(store) => Ok(store),
            Err(error) => {
                let problems = error.into_problems().into_iter();
                ConfigError::check(None, problems.map(name_variable).collect())
            }
        }
    }

    /// How requests are limited while Redis is unavailable.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Shares revocations of these keys with the other replicas. Before the first request, wait for
    /// those in Redis with [`SharedRevocations::wait_until_read`].
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn share_revocations(
        &self,
        keys: &SharedKeyRing,
    ) -> Result<SharedRevocations, ConfigError> {
        SharedRevocations::follow(self.options(), keys)
    }

    /// Uses up single-use tokens together with the other replicas.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn spend_tokens(&self) -> Result<SharedSpentTokens, ConfigError> {
        SharedSpentTokens::start(self.options())
    }

    fn options(&self) -> RedisOptions {
        let mut options = RedisOptions::new(self.url.clone());
        options.ca_file.clone_from(&self.ca_file);
        if let Some(namespace) = &self.namespace {
            namespace.trim().clone_into(&mut options.namespace);
        }
        if let Some(lease) = self.lease {
            options.lease = lease;
        }
        options
    }
}

/// The layer that the environment describes, with its limits in Redis if `VOXGATE_REDIS_URL` is
/// set, where it also finds the keys that other replicas revoke. It is [`AuthLayer::from_env`] with
/// the variables of [`RedisSettings`].
///
/// ```no_run
/// let auth = voxgate_limits_redis::layer_from_env()?;
/// # drop(auth);
/// # Ok::<(), voxgate::ConfigError>(())
/// ```
///
/// # Errors
///
/// All problems of the settings. Each names its variable and never shows a value.
pub fn layer_from_env() -> Result<AuthLayer, ConfigError> {
    let (settings, redis) = read_settings(&Environment::current())?;
    for notice in settings.notices() {
        tracing::warn!("{notice}");
    }
    let layer = settings.into_layer_with(|limiter| match redis.clone() {
        Some(redis) => redis.add_to(limiter),
        None => Ok(limiter),
    })?;
    if let (Some(redis), Some(keys)) = (&redis, layer.verifier()) {
        let shared = redis.share_revocations(keys)?;
        // Without Redis, the log says that revocations are not shared.
        let _ = shared.wait_until_read(FIRST_READ_WITHIN);
    }
    Ok(layer)
}

/// Reads and validates the settings of the layer and of the store, for a program with its own
/// [`Environment`]. The store is `None` without `VOXGATE_REDIS_URL`.
///
/// # Errors
///
/// All problems of the settings. Each names its variable and never shows a value.
pub fn read_settings(
    environment: &Environment,
) -> Result<(Settings, Option<RedisSettings>), ConfigError> {
    let (settings, mut problems) = match Settings::from_environment(environment) {
        Ok(settings) => (Some(settings), Vec::new()),
        Err(error) => (None, error.into_problems()),
    };
    let redis = RedisSettings::read(environment, &mut problems);
    let settings = ConfigError::check(settings, problems)?;
    Ok((settings, redis))
}

fn seconds(given: &str, problems: &mut Vec<Problem>) -> Option<Duration> {
    let seconds = given.trim().parse().ok();
    let seconds = seconds.filter(|seconds| (1..=LONGEST_LEASE_SECONDS).contains(seconds));
    if seconds.is_none() {
        let message = format!("must be a whole number from 1 to {LONGEST_LEASE_SECONDS}");
        problems.push(Problem::new(LEASE, message));
    }
    seconds.map(Duration::from_secs)
}

/// Names the variable instead of the field of the options.
fn name_variable(problem: Problem) -> Problem {
    let variable = match problem.place() {
        "url" => URL,
        "ca_file" => CA_FILE,
        "lease" => LEASE,
        "namespace" => NAMESPACE,
        other => other,
    };
    Problem::new(variable, problem.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: (&str, &str) = (
        "VOXGATE_API_KEYS",
        "a-long-enough-key-for-a-test-0123456789",
    );

    fn places(vars: &[(&str, &str)]) -> Vec<String> {
        let environment = Environment::new(vars.iter().copied(), &[]);
        let error = read_settings(&environment).expect_err("problems");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let problems = error.problems().iter();
        problems.map(|problem| problem.place().to_owned()).collect()
    }

    #[test]
    fn all_problems_are_reported_with_those_of_the_layer() {
        let wrong = [
            ("VOXGATE_DIALECT", "klingon"),
            (URL, "http://user:s3cret@host"),
            (CA_FILE, "/nowhere"),
            (ON_FAILURE, "maybe"),
            (LEASE, "0"),
            (NAMESPACE, "{x}"),
        ];
        let found = places(&[&[KEYS], &wrong[..]].concat());
        for (variable, _) in wrong {
            let is_url = variable == CA_FILE;
            assert!(
                is_url || found.contains(&variable.to_owned()),
                "{variable}: {found:?}"
            );
        }
        let blank = places(&[KEYS, (URL, " ")]);
        assert_eq!(blank, [URL]);
        let both = places(&[
            KEYS,
            (URL, "redis://h"),
            ("VOXGATE_REDIS_URL_FILE", "/nowhere"),
        ]);
        assert_eq!(both, [URL]);
    }

    #[test]
    fn settings_without_a_url_are_reported() {
        let alone = [
            (CA_FILE, "/ca"),
            (LEASE, "9"),
            (NAMESPACE, "a"),
            (ON_FAILURE, "deny"),
        ];
        let found = places(&[&[KEYS], &alone[..]].concat());
        assert_eq!(found, [CA_FILE, LEASE, NAMESPACE, ON_FAILURE]);
    }

    #[test]
    fn a_url_is_enough() {
        let environment = Environment::new([KEYS, (URL, "redis://:s3cret@127.0.0.1:1")], &[]);
        let (settings, redis) = read_settings(&environment).expect("good settings");
        assert!(settings.limits().is_shared());
        let redis = redis.expect("a store");
        assert!(!format!("{redis:?}").contains("s3cret"));
        let layer = settings.into_layer_with(|limiter| redis.add_to(limiter));
        let layer = layer.expect("a layer");
        assert!(layer.limiter().store_status().is_some());
    }

    #[test]
    fn a_layer_without_a_store_refuses_the_settings() {
        let environment = Environment::new([KEYS, (URL, "redis://h")], &[]);
        let settings = Settings::from_environment(&environment).expect("good settings");
        let error = settings.into_layer().expect_err("no store");
        assert!(
            error.to_string().contains("voxgate-limits-redis"),
            "{error}"
        );
    }
}
