//! The program's configuration: read once, validated wholly, reported with all its problems.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use voxgate::env::{Environment, Settings};
use voxgate::{ConfigError, Problem};
use voxgate_limits_redis::RedisSettings;

use super::auditing::Audit;
use super::settings::{
    self, ADMIN_LISTEN, CONNECT_TIMEOUT, DRAIN, HEADER_READ_TIMEOUT, LISTEN, LOG, LOG_FORMAT,
    UPSTREAM, UPSTREAM_TIMEOUT, default_of, names,
};
use super::upstreams::Upstreams;

/// What the gateway does, once everything about it is known to be right.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) auth: Settings,
    /// The store in which replicas share their limits.
    pub(crate) redis: Option<RedisSettings>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) upstreams: Upstreams,
    pub(crate) timeouts: Timeouts,
    pub(crate) logging: Logging,
    pub(crate) audit: Audit,
    /// What tells this configuration apart; secrets are not part of it.
    pub(crate) digest: String,
}

/// How long the gateway waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) upstream: Duration,
    pub(crate) header_read: Duration,
    pub(crate) drain: Duration,
}

/// What is logged, and how.
#[derive(Debug)]
pub(crate) struct Logging {
    /// Which lines, as `EnvFilter` reads it.
    pub(crate) filter: String,
    /// `None` decides by whether the stream is a terminal.
    pub(crate) json: Option<bool>,
}

impl Logging {
    /// Whether a stream's lines are JSON.
    pub(crate) fn is_json(&self, stream: &impl std::io::IsTerminal) -> bool {
        self.json.unwrap_or_else(|| !stream.is_terminal())
    }
}

/// The gateway's own variables as they come; the layer's are read by the library.
#[derive(Deserialize)]
struct Raw {
    listen: Option<String>,
    admin_listen: Option<String>,
    upstream: Option<String>,
    connect_timeout_seconds: Option<String>,
    upstream_timeout_seconds: Option<String>,
    header_read_timeout_seconds: Option<String>,
    drain_seconds: Option<String>,
    log: Option<String>,
    log_format: Option<String>,
}

impl Config {
    /// Reads and validates everything.
    ///
    /// # Errors
    ///
    /// All problems at once, the library's and the gateway's.
    pub(crate) fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let vars: Vec<(OsString, OsString)> = vars.into_iter().collect();
        let digest = settings::digest(&vars);
        let environment = Environment::new(vars, &names());
        let raw: Raw = environment.fill("VOXGATE_")?;
        let mut problems = Vec::new();
        let auth = match Settings::from_environment(&environment) {
            Ok(settings) => Some(settings),
            Err(error) => {
                problems.extend(error.into_problems());
                None
            }
        };
        let redis = RedisSettings::read(&environment, &mut problems);
        let mut read = Reader { problems };
        let listen = read.address(LISTEN, raw.listen);
        let admin_listen = read.address(ADMIN_LISTEN, raw.admin_listen);
        if listen.is_some_and(|listen| listen.port() != 0) && listen == admin_listen {
            let message = format!("is the address of {LISTEN}; give it its own port");
            read.problem(ADMIN_LISTEN, message);
        }
        let upstreams = read.upstreams(raw.upstream);
        for (variable, address) in [(LISTEN, listen), (ADMIN_LISTEN, admin_listen)] {
            let circle = |upstreams: &Upstreams| address.is_some_and(|own| upstreams.contain(own));
            if upstreams.as_ref().is_some_and(circle) {
                let message = format!("is the address of {variable}: requests would go in circles");
                read.problem(UPSTREAM, message);
            }
        }
        let timeouts = Timeouts {
            connect: read.seconds(CONNECT_TIMEOUT, raw.connect_timeout_seconds, 1),
            upstream: read.seconds(UPSTREAM_TIMEOUT, raw.upstream_timeout_seconds, 1),
            header_read: read.seconds(HEADER_READ_TIMEOUT, raw.header_read_timeout_seconds, 1),
            drain: read.seconds(DRAIN, raw.drain_seconds, 0),
        };
        let logging = read.logging(raw.log, raw.log_format);
        let audit = Audit::read(&environment, &mut read.problems)?;
        let config = match (auth, listen, admin_listen, upstreams, logging, audit) {
            (
                Some(auth),
                Some(listen),
                Some(admin_listen),
                Some(upstreams),
                Some(logging),
                Some(audit),
            ) => Some(Self {
                auth,
                redis,
                listen,
                admin_listen,
                upstreams,
                timeouts,
                logging,
                digest,
                audit,
            }),
            _ => None,
        };
        ConfigError::check(config, read.problems)
    }
}

/// Reads one setting after the other, and collects what is wrong.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(variable, message));
    }

    fn address(&mut self, variable: &str, given: Option<String>) -> Option<SocketAddr> {
        let given = given.unwrap_or_else(|| default_of(variable).to_owned());
        let address = given.trim().parse().ok();
        if address.is_none() {
            self.problem(
                variable,
                "must be an IP address and a port, such as 0.0.0.0:8080 or [::]:8080",
            );
        }
        address
    }

    fn upstreams(&mut self, given: Option<String>) -> Option<Upstreams> {
        let Some(given) = given else {
            let message =
                "is not set; name the TTS server to forward to, such as http://127.0.0.1:8000";
            self.problem(UPSTREAM, message);
            return None;
        };
        match Upstreams::parse(&given) {
            Ok(upstreams) => Some(upstreams),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn seconds(&mut self, variable: &str, given: Option<String>, least: u32) -> Duration {
        const MOST: u32 = 86_400;
        let given = given.unwrap_or_else(|| default_of(variable).to_owned());
        match given.trim().parse::<u32>() {
            Ok(seconds) if (least..=MOST).contains(&seconds) => Duration::from_secs(seconds.into()),
            _ => {
                let message = format!("must be a whole number of seconds from {least} to {MOST}");
                self.problem(variable, message);
                Duration::ZERO
            }
        }
    }

    fn logging(&mut self, filter: Option<String>, format: Option<String>) -> Option<Logging> {
        let filter = filter.unwrap_or_else(|| default_of(LOG).to_owned());
        let readable = EnvFilter::builder().parse(filter.trim()).is_ok();
        if !readable {
            self.problem(
                LOG,
                "must be a level (error, warn, info, debug, trace), or a list of `target=level`",
            );
        }
        let json = match format.as_deref().map(str::trim) {
            None => Some(None),
            Some("json") => Some(Some(true)),
            Some("text") => Some(Some(false)),
            Some(_) => {
                self.problem(LOG_FORMAT, "must be `text` or `json`");
                None
            }
        };
        Some(Logging {
            filter: readable.then_some(filter)?,
            json: json?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
    }

    const KEYS: (&str, &str) = ("VOXGATE_API_KEYS", "a-long-enough-key-1");

    #[test]
    fn two_variables_are_enough() {
        let config = config(&[KEYS, (UPSTREAM, "http://127.0.0.1:8000")]).expect("enough");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8081");
        assert_eq!(config.timeouts.drain, Duration::from_secs(30));
        assert_eq!(config.logging.filter, "info");
    }

    #[test]
    fn every_problem_is_reported_with_its_variable_and_without_its_value() {
        let mut vars = vec![("VOXGATE_LISTNE", "hunter2")];
        let wrong = [
            LISTEN,
            ADMIN_LISTEN,
            UPSTREAM,
            CONNECT_TIMEOUT,
            UPSTREAM_TIMEOUT,
            HEADER_READ_TIMEOUT,
            DRAIN,
            LOG,
            LOG_FORMAT,
        ];
        vars.extend(wrong.map(|name| (name, "=hunter2=")));
        let error = config(&vars).expect_err("nothing is right");
        let places: Vec<_> = error.problems().iter().map(Problem::place).collect();
        let mut expected = vec!["VOXGATE_LISTNE", "VOXGATE_API_KEYS"];
        expected.extend(wrong);
        assert_eq!(places, expected, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_two_listeners_differ() {
        let vars = [
            KEYS,
            (UPSTREAM, "http://a"),
            (LISTEN, "127.0.0.1:1"),
            (ADMIN_LISTEN, "127.0.0.1:1"),
        ];
        let error = config(&vars).expect_err("one address for two");
        assert_eq!(error.problems().len(), 1, "{error}");
        let any = [
            KEYS,
            (UPSTREAM, "http://a"),
            (LISTEN, "127.0.0.1:0"),
            (ADMIN_LISTEN, "127.0.0.1:0"),
        ];
        assert!(config(&any).is_ok());
    }
}
