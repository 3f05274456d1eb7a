//! Settings from the environment: [`AuthLayer::from_env`], and what it is made of.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `VOXGATE_DIALECT` | the vendor whose clients call: the name of a [`Dialect`](crate::Dialect) | `rime` |
//! | `VOXGATE_MODE` | `validate` or `preconfigured` | by which keys are set |
//! | `VOXGATE_API_KEYS` | the callers' keys in the clear, separated by commas | |
//! | `VOXGATE_KEYS_FILE` | a [keys file](crate::KeyRing::load) | |
//! | `VOXGATE_POLICY_FILE` | a [policy file](crate::Policy::load), whose rules come before the dialect's | |
//! | `VOXGATE_PUBLIC` | methods and paths that need no key, as `GET /health, …` | |
//! | `VOXGATE_LIMIT_RATE`, `VOXGATE_LIMIT_BURST`, `VOXGATE_LIMIT_CONCURRENCY` | the limits of keys that name none | |
//! | `VOXGATE_LIMIT_UPSTREAM_CONCURRENCY` | how many requests and tunnels may be in flight, of all callers together | |
//! | `VOXGATE_LIMIT_QUEUE` | how many requests may wait for a slot | `0` |
//! | `VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS` | how long each of them waits at most | `2` |
//! | `VOXGATE_LIMIT_HEADERS` | `on` or `off`: whether callers are told of their limits | `on` |
//! | `VOXGATE_LIMIT_AUTH_FAILURES` | how often one address may fail to authenticate in a minute before it is slowed down; `0` for as often as it likes | `60` |
//! | `RIME_API_KEY`, `SUPERTONE_API_KEY`, `SMALLEST_API_KEY`, `KUGELAUDIO_API_KEY`, `INWORLD_API_KEY` | the deployment key of the dialect in use | |
//!
//! `VOXGATE_API_KEYS` and the deployment key have a twin with `_FILE` at its end, which names a
//! file to read the secret from, such as a mounted Kubernetes Secret: one trailing newline is not
//! part of it, and `VOXGATE_API_KEYS_FILE` holds one key a line.
//!
//! The settings of limits that replicas share (`VOXGATE_REDIS_URL` and others) belong to the crate
//! `voxgate-limits-redis`. Without it they are an error.
//!
//! With a deployment key alone the mode is *preconfigured*: no credential is asked for. With
//! caller keys alone it is *validate*. Both need `VOXGATE_MODE`, and neither is an error: silence
//! never opens the door.

mod callers;
mod environment;
mod limits;
mod mode;
mod routes;
mod secrets;
mod settings;

use crate::auth::AuthLayer;
use crate::error::ConfigError;

pub use self::environment::Environment;
pub use self::limits::LimitSettings;
pub use self::mode::Mode;
pub use self::settings::Settings;

/// Where callers' keys come from, as problems name it.
const KEY_SOURCES: &str = "VOXGATE_API_KEYS or VOXGATE_KEYS_FILE";

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
        let environment = Environment::current();
        let (settings, mut problems) = match Settings::from_environment(&environment) {
            Ok(settings) => (Some(settings), Vec::new()),
            Err(error) => (None, error.into_problems()),
        };
        problems.extend(limits::needs_store(&environment));
        let settings = ConfigError::check(settings, problems)?;
        for notice in settings.notices() {
            tracing::warn!("{notice}");
        }
        settings.into_layer()
    }
}

#[cfg(test)]
mod tests;
