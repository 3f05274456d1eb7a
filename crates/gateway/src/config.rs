//! The configuration of the program: read once, validated completely, with all problems reported.

use std::ffi::OsString;
use std::time::Duration;

use voxgate::env::{Environment, Settings};
use voxgate::{ConfigError, Problem, RequestValidation, SpeechOptions};
use voxgate_browsers::BrowserLayer;
use voxgate_forwarding::{ForwardedHeaders, HeaderRules, ProxyFields};
use voxgate_limits_redis::RedisSettings;
use voxgate_request_tracing::TraceContextLayer;
use voxgate_tls::{ClientTls, ServerTls};
use voxgate_upstream::{HealthCheck, InvalidHealthCheck};

use super::auditing::Audit;
use super::connection::ClientAddresses;
use super::control::ControlSettings;
use super::credential_header::CredentialHeader;
use super::key_watch::KeyWatchSettings;
use super::listener::ListenAddress;
use super::log_filter;
use super::minting::MintSettings;
use super::settings::authorizer::{AUTHORIZE_LISTEN, AuthorizerSettings};
use super::settings::{
    self, ADMIN_LISTEN, BODY_HELD, BODY_INSPECT, CLIENT_IDLE_TIMEOUT, CONNECT_TIMEOUT,
    CONNECTIONS_PER_CLIENT, CREDENTIAL_HEADER, DRAIN, FILTER_LISTS, FIRST_MESSAGE_CONNECTIONS,
    FORWARD_HEADERS, FORWARD_HEADERS_ALSO, FORWARDED, HEADER_NAMES, HEADER_READ_TIMEOUT, LISTEN,
    LISTEN_MODE, LOG, LOG_FORMAT, METRICS_KEYS, REQUEST_TIMEOUT, SettingDigests,
    TUNNEL_IDLE_TIMEOUT, UPSTREAM, UPSTREAM_CONNECTION_AGE, UPSTREAM_HEALTH, UPSTREAM_IDLE_TIMEOUT,
    UPSTREAM_RESOLVE, UPSTREAM_TIMEOUT, VIA, default_of,
};
use super::spans::SpanExport;
use super::tokens::TokenSettings;
use super::upstreams::Upstreams;
use super::usage::UsageSettings;

/// The validated configuration of the gateway.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) auth: Settings,
    /// Which Secrets hold the callers' keys, if they are watched.
    pub(crate) key_watch: Option<KeyWatchSettings>,
    /// The store in which replicas share their limits.
    pub(crate) redis: Option<RedisSettings>,
    pub(crate) listen: ListenAddress,
    /// The permissions of the files of Unix sockets.
    pub(crate) listen_mode: u32,
    /// TLS of the data listener; `None` if it speaks none.
    pub(crate) tls: Option<ServerTls>,
    /// TLS of the admin listener; `None` if it speaks none.
    pub(crate) admin_tls: Option<ServerTls>,
    /// How the address of a client is found.
    pub(crate) clients: ClientAddresses,
    /// The listener for proxies that only ask.
    pub(crate) authorizer: Option<AuthorizerSettings>,
    /// What pages of other origins may do.
    pub(crate) browsers: BrowserLayer,
    /// Which traces of callers are continued.
    pub(crate) traces: TraceContextLayer,
    /// Where spans are exported to.
    pub(crate) spans: SpanExport,
    pub(crate) admin_listen: ListenAddress,
    pub(crate) upstreams: Upstreams,
    /// TLS to the upstreams; `None` if none has an `https://` URL.
    pub(crate) upstream_tls: Option<ClientTls>,
    /// How requests are sent to the upstreams.
    pub(crate) forwarding: voxgate_upstream::Settings,
    pub(crate) timeouts: Timeouts,
    pub(crate) request_validation: RequestValidation,
    pub(crate) headers: HeaderRules,
    /// Whether lists of voices and models have only those that the key may use.
    pub(crate) filters_lists: bool,
    /// Most connections of one client; `None` for the default.
    pub(crate) connections_per_client: Option<usize>,
    /// A further header in which callers send their key.
    pub(crate) credential_header: Option<CredentialHeader>,
    /// Most WebSockets that wait for a credential in their first message; `0` accepts none.
    pub(crate) first_message_connections: usize,
    /// Most keys that have metrics of their own.
    pub(crate) metrics_keys: usize,
    pub(crate) speech: SpeechOptions,
    pub(crate) logging: Logging,
    pub(crate) audit: Audit,
    pub(crate) usage: UsageSettings,
    /// The tokens that are made for callers.
    pub(crate) minting: MintSettings,
    /// The tokens that are accepted in place of keys.
    pub(crate) tokens: TokenSettings,
    /// Where commands reach this gateway, if it follows a keys file.
    pub(crate) control: Option<ControlSettings>,
    /// Identifies this configuration. Secrets are not part of it.
    pub(crate) digest: String,
    /// The settings in force, without secrets.
    pub(crate) effective: serde_json::Value,
    /// What tells at the next start which settings have changed.
    pub(crate) digests: SettingDigests,
}

/// The timeouts of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) upstream: Duration,
    /// `None` for no limit.
    pub(crate) request: Option<Duration>,
    /// `None` for no limit.
    pub(crate) tunnel_idle: Option<Duration>,
    pub(crate) header_read: Duration,
    pub(crate) client_idle: Duration,
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
        let (effective, digests) = (settings::effective(&vars), SettingDigests::of(&vars));
        let environment = Environment::new(vars, settings::settings());
        let mut problems = Vec::new();
        let key_watch = KeyWatchSettings::read(&environment, &mut problems);
        let auth = match key_watch {
            Some(_) => Settings::with_keys_from_elsewhere(&environment),
            None => Settings::from_environment(&environment),
        };
        let auth = match auth {
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
        let is_chosen = |address: &ListenAddress| address.ip().is_some_and(|ip| ip.port() == 0);
        if listen.as_ref().is_some_and(|own| !is_chosen(own)) && listen == admin_listen {
            let message = format!("is also the address of {LISTEN}; give it its own port");
            read.problem(ADMIN_LISTEN, message);
        }
        let listen_mode = read.listen_mode();
        let tls = settings::tls::read(&environment, &mut read.problems);
        let admin_tls = settings::tls::read_admin(&environment, &mut read.problems);
        let clients = settings::clients::read(&environment, &mut read.problems);
        let authorizer = settings::authorizer::read(
            &environment,
            auth.as_ref(),
            clients.has_proxies(),
            &mut read.problems,
        );
        for (variable, address) in [(LISTEN, &listen), (ADMIN_LISTEN, &admin_listen)] {
            let address = address.as_ref().and_then(ListenAddress::ip);
            let own = authorizer
                .map(|own| own.listen)
                .filter(|own| own.port() != 0);
            if own.is_some() && own == address {
                let message = format!("is also the address of {variable}; give it its own port");
                read.problem(AUTHORIZE_LISTEN, message);
            }
        }
        let browsers = settings::browsers::read(&environment, &mut read.problems);
        let traces = settings::tracing::read(&environment, &mut read.problems);
        let spans = SpanExport::read(&environment, &mut read.problems);
        let upstreams = read.upstreams();
        // If the URLs cannot be read, it is not known whether TLS is needed.
        let upstream_tls = upstreams.as_ref().and_then(|upstreams| {
            let problems = &mut read.problems;
            settings::upstream_tls::read(&environment, upstreams.need_tls(), problems)
        });
        for (variable, address, has_tls) in [
            (LISTEN, &listen, tls.is_some()),
            (ADMIN_LISTEN, &admin_listen, admin_tls.is_some()),
        ] {
            if has_tls && matches!(address, Some(ListenAddress::Unix(_))) {
                let message = "is a Unix socket, which speaks no TLS; remove the settings of the \
                               certificate, or name an IP address";
                read.problem(variable, message);
            }
            let is_own =
                |upstreams: &Upstreams| address.as_ref().is_some_and(|own| upstreams.contain(own));
            if upstreams.as_ref().is_some_and(is_own) {
                let message = format!(
                    "is the address of {variable}, so the gateway would forward requests to \
                     itself; name the TTS server"
                );
                read.problem(UPSTREAM, message);
            }
        }
        let forwarding = voxgate_upstream::Settings {
            connect_timeout: read.seconds(CONNECT_TIMEOUT, 1),
            resolve_every: read.seconds(UPSTREAM_RESOLVE, 1),
            longest_connection_age: read.optional_seconds(UPSTREAM_CONNECTION_AGE),
            answer_pause: read.optional_seconds(UPSTREAM_IDLE_TIMEOUT),
            health: read.health_check(),
        };
        let timeouts = Timeouts {
            upstream: read.seconds(UPSTREAM_TIMEOUT, 1),
            request: read.optional_seconds(REQUEST_TIMEOUT),
            tunnel_idle: read.optional_seconds(TUNNEL_IDLE_TIMEOUT),
            header_read: read.seconds(HEADER_READ_TIMEOUT, 1),
            client_idle: read.seconds(CLIENT_IDLE_TIMEOUT, 1),
            drain: read.seconds(DRAIN, 0),
        };
        let speech = read.speech();
        let request_validation = read.request_validation();
        let headers = HeaderRules {
            forwarded: read.forwarded_headers(),
            proxy_fields: read.proxy_fields(),
            scheme: if tls.is_some() { "https" } else { "http" },
        };
        let filters_lists = read.filters_lists();
        let connections_per_client = match environment.get(CONNECTIONS_PER_CLIENT) {
            Some(_) => read.number(CONNECTIONS_PER_CLIENT, 1),
            None => None,
        };
        let credential_header = read.credential_header();
        let first_message_connections = read
            .number(FIRST_MESSAGE_CONNECTIONS, 0)
            .unwrap_or_default();
        let metrics_keys = read.number(METRICS_KEYS, 0).unwrap_or_default();
        let logging = read.logging();
        let usage = UsageSettings::read(&environment, &mut read.problems);
        let mode = auth.as_ref().map(Settings::mode);
        let minting = MintSettings::read(&environment, mode, &mut read.problems);
        let makes_tokens = minting.are_made();
        let auth = match makes_tokens {
            true => auth.map(Settings::with_minting),
            false => auth,
        };
        let tokens = TokenSettings::read(&environment, makes_tokens, &mut read.problems);
        let control = ControlSettings::read(&environment, key_watch.is_some(), &mut read.problems);
        let audit = Audit::read(&environment, &mut read.problems)?;
        let config = match (auth, listen, admin_listen, upstreams, logging, audit, usage) {
            (
                Some(auth),
                Some(listen),
                Some(admin_listen),
                Some(upstreams),
                Some(logging),
                Some(audit),
                Some(usage),
            ) => Some(Self {
                auth,
                key_watch,
                redis,
                listen,
                listen_mode,
                tls,
                admin_tls,
                clients,
                authorizer,
                browsers,
                traces,
                spans,
                admin_listen,
                upstreams,
                upstream_tls,
                forwarding,
                timeouts,
                request_validation,
                headers,
                filters_lists,
                connections_per_client,
                credential_header,
                first_message_connections,
                metrics_keys,
                speech,
                logging,
                digest,
                effective,
                digests,
                minting,
                tokens,
                audit,
                usage,
                control,
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

    fn address(&mut self, variable: &str) -> Option<ListenAddress> {
        let address = ListenAddress::parse(self.value(variable));
        if address.is_none() {
            self.problem(
                variable,
                "must be an IP address and a port, such as 0.0.0.0:8080 or [::]:8080, or the \
                 absolute path of a Unix socket, such as unix:/run/voxgate.sock",
            );
        }
        address
    }

    fn listen_mode(&mut self) -> u32 {
        let mode = u32::from_str_radix(self.value(LISTEN_MODE), 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            self.problem(LISTEN_MODE, "must be permissions in octal, such as 0660");
        }
        mode.unwrap_or_default()
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

    /// A time limit that 0 disables.
    fn optional_seconds(&mut self, variable: &str) -> Option<Duration> {
        Some(self.seconds(variable, 0)).filter(|limit| !limit.is_zero())
    }

    fn health_check(&mut self) -> Option<HealthCheck> {
        let check = self.environment.get(UPSTREAM_HEALTH)?.parse();
        match check {
            Ok(check) => Some(check),
            Err(error) => {
                self.problem(UPSTREAM_HEALTH, InvalidHealthCheck::to_string(&error));
                None
            }
        }
    }

    fn request_validation(&mut self) -> RequestValidation {
        match self.value(HEADER_NAMES) {
            "drop" => RequestValidation::Proxy,
            "refuse" => RequestValidation::StrictProxy,
            _ => {
                self.problem(HEADER_NAMES, "must be `drop` or `refuse`");
                RequestValidation::StrictProxy
            }
        }
    }

    fn forwarded_headers(&mut self) -> ForwardedHeaders {
        let also = self.environment.get(FORWARD_HEADERS_ALSO);
        let also = also.map(ForwardedHeaders::listed);
        match (self.value(FORWARD_HEADERS), also) {
            ("all", None) => ForwardedHeaders::All,
            ("all", Some(_)) => {
                let message = format!(
                    "has no effect without {FORWARD_HEADERS}=listed; set that, or remove this setting"
                );
                self.problem(FORWARD_HEADERS_ALSO, message);
                ForwardedHeaders::default()
            }
            ("listed", None) => ForwardedHeaders::Listed(Vec::new()),
            ("listed", Some(Ok(listed))) => listed,
            ("listed", Some(Err(message))) => {
                self.problem(FORWARD_HEADERS_ALSO, message);
                ForwardedHeaders::default()
            }
            _ => {
                self.problem(FORWARD_HEADERS, "must be `all` or `listed`");
                ForwardedHeaders::default()
            }
        }
    }

    fn proxy_fields(&mut self) -> ProxyFields {
        let forwarded = match self.value(FORWARDED) {
            "off" => false,
            "on" => true,
            _ => {
                self.problem(FORWARDED, "must be `on` or `off`");
                false
            }
        };
        let via = self.environment.get(VIA).map(ProxyFields::via);
        let via = via.transpose().unwrap_or_else(|message| {
            self.problem(VIA, message);
            None
        });
        ProxyFields { forwarded, via }
    }

    fn filters_lists(&mut self) -> bool {
        match self.value(FILTER_LISTS) {
            "on" => true,
            "off" => false,
            _ => {
                self.problem(FILTER_LISTS, "must be `on` or `off`");
                true
            }
        }
    }

    fn credential_header(&mut self) -> Option<CredentialHeader> {
        let name = self.environment.get(CREDENTIAL_HEADER)?.trim();
        let header = CredentialHeader::parse(name);
        header
            .map_err(|message| self.problem(CREDENTIAL_HEADER, message))
            .ok()
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

    fn speech(&mut self) -> SpeechOptions {
        let body = self.number(BODY_INSPECT, 1).unwrap_or_default();
        let held = self.number(BODY_HELD, 1).unwrap_or_default();
        SpeechOptions::default()
            .with_body_bytes(body.saturating_mul(1024))
            .with_held_bytes(held.saturating_mul(1024 * 1024))
            .with_message_reading()
    }

    fn logging(&mut self) -> Option<Logging> {
        let filter = self.value(LOG);
        let checked = log_filter::check(filter);
        let is_valid = checked.is_ok();
        if let Err(message) = checked {
            self.problem(LOG, message);
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
            UPSTREAM_RESOLVE,
            UPSTREAM_CONNECTION_AGE,
            UPSTREAM_IDLE_TIMEOUT,
            UPSTREAM_HEALTH,
            UPSTREAM_TIMEOUT,
            REQUEST_TIMEOUT,
            TUNNEL_IDLE_TIMEOUT,
            HEADER_READ_TIMEOUT,
            CLIENT_IDLE_TIMEOUT,
            DRAIN,
            BODY_INSPECT,
            BODY_HELD,
            HEADER_NAMES,
            FORWARD_HEADERS,
            FORWARDED,
            VIA,
            FILTER_LISTS,
            CONNECTIONS_PER_CLIENT,
            CREDENTIAL_HEADER,
            FIRST_MESSAGE_CONNECTIONS,
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
    fn a_blank_secret_path_or_url_is_never_off() {
        for setting in settings::settings() {
            let mut vars = vec![KEYS, (UPSTREAM, "http://tts:8000")];
            vars.retain(|(name, _)| *name != setting.variable);
            vars.push((setting.variable, " "));
            let found = config(&vars).err().map(ConfigError::into_problems);
            let found = found.unwrap_or_default();
            let blank = format!("{}: is empty or blank", setting.variable);
            let is_named = |problem: &Problem| problem.to_string().starts_with(&blank);
            let is_refused = found.iter().any(is_named);
            assert_eq!(is_refused, setting.refuses_blank(), "{found:?}");
            // A setting with a default gets it.
            assert!(is_refused || found.is_empty(), "{found:?}");
            let is_secret = setting.secret || ["PATH", "URL"].contains(&setting.value);
            assert!(!is_secret || is_refused, "{}", setting.variable);
        }
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

    #[test]
    fn headers_to_forward_are_names_that_may_be_forwarded() {
        let upstream = (UPSTREAM, "http://a");
        let listed = (FORWARD_HEADERS, "listed");
        let read = |also| config(&[KEYS, upstream, listed, (FORWARD_HEADERS_ALSO, also)]);
        let good = read("X-Tenant, cookie").expect("two names");
        let names = ["x-tenant", "cookie"].map(|name| name.parse().expect("a name"));
        let expected = ForwardedHeaders::Listed(names.to_vec());
        assert_eq!(good.headers.forwarded, expected);
        for wrong in [
            "x y",
            "x_tenant",
            "x-a,,x-b",
            "x-forwarded-for",
            "te",
            "host",
        ] {
            let error = read(wrong).expect_err(wrong);
            assert_eq!(error.problems().len(), 1, "{error}");
            assert_eq!(error.problems()[0].place(), FORWARD_HEADERS_ALSO);
        }
        let alone = config(&[KEYS, upstream, (FORWARD_HEADERS_ALSO, "x-tenant")]);
        let error = alone.expect_err("a list that has no effect");
        assert!(error.to_string().contains(FORWARD_HEADERS), "{error}");
    }
}
