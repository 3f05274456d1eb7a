//! The configuration of the program: read once, validated completely, with all problems reported.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use voxgate::env::{Environment, Settings};
use voxgate::{ConfigError, PeerAddr, Problem};
use voxgate_limits_redis::RedisSettings;

use super::auditing::Audit;
use super::settings::{
    self, ADMIN_LISTEN, CONNECT_TIMEOUT, CONNECTIONS_PER_CLIENT, DRAIN, HEADER_READ_TIMEOUT,
    LISTEN, LOG, LOG_FORMAT, METRICS_KEYS, UPSTREAM, UPSTREAM_TIMEOUT, default_of, names,
};
use super::upstreams::Upstreams;

/// The validated configuration of the gateway.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) auth: Settings,
    /// The store in which replicas share their limits.
    pub(crate) redis: Option<RedisSettings>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) upstreams: Upstreams,
    pub(crate) timeouts: Timeouts,
    /// Most connections of one client; `None` for the default.
    pub(crate) connections_per_client: Option<usize>,
    /// Most keys that have metrics of their own.
    pub(crate) metrics_keys: usize,
    pub(crate) logging: Logging,
    pub(crate) audit: Audit,
    /// Identifies this configuration. Secrets are not part of it.
    pub(crate) digest: String,
}

/// The timeouts of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) upstream: Duration,
    pub(crate) header_read: Duration,
    pub(crate) drain: Duration,
}

/// Which log lines are written, and in which format.
#[derive(Debug)]
pub(crate) struct Logging {
    /// A filter in the syntax of `EnvFilter`.
    pub(crate) filter: String,
    /// `None` means JSON unless the stream is a terminal.
    pub(crate) json: Option<bool>,
}

impl Logging {
    /// Whether lines on this stream are JSON.
    pub(crate) fn is_json(&self, stream: &impl std::io::IsTerminal) -> bool {
        self.json.unwrap_or_else(|| !stream.is_terminal())
    }
}

impl Config {
    /// Reads and validates the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, those of the library and those of the gateway.
    pub(crate) fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let vars: Vec<(OsString, OsString)> = vars.into_iter().collect();
        let digest = settings::digest(&vars);
        let environment = Environment::new(vars, &names());
        let mut problems = Vec::new();
        let auth = match Settings::from_environment(&environment) {
            Ok(settings) => Some(settings),
            Err(error) => {
                problems.extend(error.into_problems());
                None
            }
        };
        let redis = RedisSettings::read(&environment, &mut problems);
        let mut read = ConfigReader {
            environment: &environment,
            problems,
        };
        let listen = read.address(LISTEN);
        let admin_listen = read.address(ADMIN_LISTEN);
        if listen.is_some_and(|listen| listen.port() != 0) && listen == admin_listen {
            let message = format!("is also the address of {LISTEN}; give it its own port");
            read.problem(ADMIN_LISTEN, message);
        }
        let upstreams = read.upstreams();
        for (variable, address) in [(LISTEN, listen), (ADMIN_LISTEN, admin_listen)] {
            let is_own = |upstreams: &Upstreams| address.is_some_and(|own| upstreams.contain(own));
            if upstreams.as_ref().is_some_and(is_own) {
                let message = format!(
                    "is the address of {variable}, so the gateway would forward requests to \
                     itself; name the TTS server"
                );
                read.problem(UPSTREAM, message);
            }
        }
        let timeouts = Timeouts {
            connect: read.seconds(CONNECT_TIMEOUT, 1),
            upstream: read.seconds(UPSTREAM_TIMEOUT, 1),
            header_read: read.seconds(HEADER_READ_TIMEOUT, 1),
            drain: read.seconds(DRAIN, 0),
        };
        let connections_per_client = match environment.get(CONNECTIONS_PER_CLIENT) {
            Some(_) => read.number(CONNECTIONS_PER_CLIENT, 1),
            None => None,
        };
        let metrics_keys = read.number(METRICS_KEYS, 0).unwrap_or_default();
        let logging = read.logging();
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
                connections_per_client,
                metrics_keys,
                logging,
                digest,
                audit,
            }),
            _ => None,
        };
        ConfigError::check(config, read.problems)
    }
}

/// Reads settings one by one, and collects the problems.
struct ConfigReader<'a> {
    environment: &'a Environment,
    problems: Vec<Problem>,
}

impl<'a> ConfigReader<'a> {
    fn problem(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(variable, message));
    }

    /// The value of a setting, or its default.
    fn value(&self, variable: &str) -> &'a str {
        let given = self.environment.get(variable);
        given.unwrap_or_else(|| default_of(variable)).trim()
    }

    fn address(&mut self, variable: &str) -> Option<SocketAddr> {
        let address = self.value(variable).parse().map(PeerAddr).ok();
        let address = address.map(PeerAddr::canonical);
        if address.is_none() {
            self.problem(
                variable,
                "must be an IP address and a port, such as 0.0.0.0:8080 or [::]:8080",
            );
        }
        address
    }

    fn upstreams(&mut self) -> Option<Upstreams> {
        let Some(given) = self.environment.get(UPSTREAM) else {
            let message = "is not set; set it to the TTS server, such as http://127.0.0.1:8000";
            self.problem(UPSTREAM, message);
            return None;
        };
        match Upstreams::parse(given) {
            Ok(upstreams) => Some(upstreams),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn seconds(&mut self, variable: &str, least: u32) -> Duration {
        const MOST: u32 = 86_400;
        match self.value(variable).parse::<u32>() {
            Ok(seconds) if (least..=MOST).contains(&seconds) => Duration::from_secs(seconds.into()),
            _ => {
                let message = format!("must be a whole number of seconds from {least} to {MOST}");
                self.problem(variable, message);
                Duration::ZERO
            }
        }
    }

    fn number(&mut self, variable: &str, least: usize) -> Option<usize> {
        const MOST: usize = 10_000_000;
        let number = self.value(variable).parse().ok();
        let number = number.filter(|number| (least..=MOST).contains(number));
        if number.is_none() {
            let message = format!("must be a whole number from {least} to {MOST}");
            self.problem(variable, message);
        }
        number
    }

    fn logging(&mut self) -> Option<Logging> {
        let filter = self.value(LOG);
        let is_valid = EnvFilter::builder().parse(filter).is_ok();
        if !is_valid {
            self.problem(
                LOG,
                "must be a level (error, warn, info, debug, trace) or a list of `target=level`",
            );
        }
        let json = match self.environment.get(LOG_FORMAT).map(str::trim) {
            None => Some(None),
            Some("json") => Some(Some(true)),
            Some("text") => Some(Some(false)),
            Some(_) => {
                self.problem(LOG_FORMAT, "must be `text` or `json`");
                None
            }
        };
        Some(Logging {
            filter: is_valid.then(|| filter.to_owned())?,
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
            CONNECTIONS_PER_CLIENT,
            METRICS_KEYS,
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
        let mapped = [
            KEYS,
            (UPSTREAM, "http://a"),
            (LISTEN, "127.0.0.1:1"),
            (ADMIN_LISTEN, "[::ffff:127.0.0.1]:1"),
        ];
        assert!(config(&mapped).is_err(), "one address, written in two ways");
        let any = [
            KEYS,
            (UPSTREAM, "http://a"),
            (LISTEN, "127.0.0.1:0"),
            (ADMIN_LISTEN, "127.0.0.1:0"),
        ];
        assert!(config(&any).is_ok());
    }
}
