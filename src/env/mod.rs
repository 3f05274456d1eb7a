//! Settings from the environment: [`AuthLayer::from_env`] and its parts.
//!
//! [`SETTINGS`] is the table of all variables:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `VOXGATE_DIALECT` | Vendor of the clients: the name of a dialect, `bearer` for no vendor, or `auto` to detect the vendor from each request | rime |
//! | `VOXGATE_MODE` | `validate` (every caller needs a key) or `preconfigured` (no caller needs a key) | depends on which keys are set |
//! | `VOXGATE_API_KEYS` | Keys of the callers in plain text, separated by commas | |
//! | `VOXGATE_API_KEYS_FILE` | File with one caller key per line | |
//! | `VOXGATE_KEYS_FILE` | Keys file (`keys.toml`) with ids, labels and scopes | |
//! | `RIME_API_KEY` | Key that the TTS server requires, in the dialect `rime` | |
//! | `RIME_API_KEY_FILE` | File that contains `RIME_API_KEY` | |
//! | `SUPERTONE_API_KEY` | Key that the TTS server requires, in the dialect `supertone` | |
//! | `SUPERTONE_API_KEY_FILE` | File that contains `SUPERTONE_API_KEY` | |
//! | `SMALLEST_API_KEY` | Key that the TTS server requires, in the dialect `smallest` | |
//! | `SMALLEST_API_KEY_FILE` | File that contains `SMALLEST_API_KEY` | |
//! | `KUGELAUDIO_API_KEY` | Key that the TTS server requires, in the dialect `kugel` | |
//! | `KUGELAUDIO_API_KEY_FILE` | File that contains `KUGELAUDIO_API_KEY` | |
//! | `INWORLD_API_KEY` | Key that the TTS server requires, in the dialect `inworld` | |
//! | `INWORLD_API_KEY_FILE` | File that contains `INWORLD_API_KEY` | |
//! | `VOXGATE_POLICY_FILE` | Policy file; its rules are checked before the rules of the dialect | |
//! | `VOXGATE_PUBLIC` | Methods and exact paths that need no key, such as `GET /health`, separated by commas; a path for `OPTIONS` may end in `/*` | |
//! | `VOXGATE_LIMIT_RATE` | Default rate for keys without their own: `50/s`, `600/min` or `10000/h` | |
//! | `VOXGATE_LIMIT_BURST` | Requests of one key that may start at once before the default rate applies | the number in the rate |
//! | `VOXGATE_LIMIT_CONCURRENCY` | Default number of requests and tunnels in flight, for keys without their own | |
//! | `VOXGATE_LIMIT_UPSTREAM_CONCURRENCY` | Maximum number of requests and tunnels in flight for all callers together | |
//! | `VOXGATE_LIMIT_QUEUE` | Size of the wait queue: requests that wait for a slot instead of being refused | 0 |
//! | `VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS` | Longest time that a request waits in the queue | 2 |
//! | `VOXGATE_LIMIT_HEADERS` | `on` or `off`: whether responses have the headers `RateLimit-Policy` and `RateLimit` | on |
//! | `VOXGATE_LIMIT_LOAD_REPORT` | `on` or `off`: whether responses report the part of `VOXGATE_LIMIT_UPSTREAM_CONCURRENCY` in use to load balancers (ORCA, `endpoint-load-metrics`) | off |
//! | `VOXGATE_LIMIT_AUTH_FAILURES` | Failed authentications per minute that one address may cause before its refusals are delayed by half a second; `0` disables this limit | 60 |
//! | `VOXGATE_REDIS_URL` | Redis or Valkey that keeps the limits of all replicas, such as `rediss://:password@host:6379/0`, `rediss-cluster://:password@host:6379,host:6379` or `rediss-sentinel://:password@host:26379,host:26379/service` | |
//! | `VOXGATE_REDIS_URL_FILE` | File that contains `VOXGATE_REDIS_URL` | |
//! | `VOXGATE_REDIS_CA_FILE` | CA bundle (PEM) used to verify Redis | the CA certificates of the system |
//! | `VOXGATE_LIMIT_ON_FAILURE` | Behaviour while Redis is unavailable: `local` (this replica applies its share of the limits), `deny` (answer 503) or `allow` | local |
//! | `VOXGATE_LIMIT_LEASE_SECONDS` | Time after which the slots of a replica that disappeared are free again | 30 |
//! | `VOXGATE_LIMIT_NAMESPACE` | Prefix of all keys in Redis; it must be the same for all replicas | voxgate |
//!
//! The variables for Redis need the crate `voxgate-limits-redis`; without it they are an error. A
//! variable that ends in `_FILE` names a file to read the value from, such as a mounted Kubernetes
//! Secret. One trailing newline of that file is ignored.
//!
//! With only a deployment key, the mode is *preconfigured*: callers need no credential. With only
//! caller keys, the mode is *validate*. With both, `VOXGATE_MODE` must be set. With neither, the
//! settings are wrong: a missing setting never allows access.

mod callers;
mod environment;
mod limits;
mod mode;
mod routes;
mod secrets;
mod settings;
mod table;
mod unmet;

use voxgate_core::error::ConfigError;

use crate::auth::AuthLayer;

pub use self::environment::Environment;
pub use self::limits::LimitSettings;
pub use self::mode::Mode;
#[doc(hidden)]
pub use self::secrets::path_to_show;
pub use self::settings::Settings;
pub use self::table::{SETTINGS, Setting};
#[doc(hidden)]
pub use self::unmet::unmet_restrictions;
#[doc(hidden)]
pub use voxgate_core::files::read_text;

/// The sources of callers' keys, as problems name them.
const KEY_SOURCES: &str = "VOXGATE_API_KEYS or VOXGATE_KEYS_FILE";

impl AuthLayer {
    /// Builds the layer from the process's environment: see [`env`](mod@crate::env) for the
    /// variables.
    ///
    /// Notices are logged as warnings. Files with keys are read again when they change.
    ///
    /// # Errors
    ///
    /// All problems, each with the name of its variable. No value is shown.
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
