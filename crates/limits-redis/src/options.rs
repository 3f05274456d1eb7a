//! The options of the store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use voxgate::{ConfigError, Problem, Secret};

use crate::address::Address;
use crate::keys::Keys;

const MAX_NAMESPACE_BYTES: usize = 64;
/// There are three heartbeats in a lease, and Redis has a second to answer each.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);
/// A request waits for the answer.
const LONGEST_DEADLINE: Duration = Duration::from_secs(10);

/// Receives the time of each answer, on the connection thread.
#[cfg(test)]
pub(crate) type OnRoundTrip = Box<dyn Fn(Duration) + Send>;

/// The options of a [`RedisStore`](crate::RedisStore). Problems name these fields.
#[non_exhaustive]
pub struct RedisOptions {
    /// The URL of Redis with the password: `redis://`, `rediss://`, `valkey://`, `valkeys://` or
    /// `unix://`; for a cluster `redis-cluster://host:port,host:port`, and for Sentinel
    /// `redis-sentinel://host:port,host:port/service`, or the same with `rediss`, `valkey` or
    /// `valkeys`.
    pub url: Secret,
    /// CA bundle (PEM) used to verify Redis. Without it, the certificate authorities of the system.
    pub ca_file: Option<PathBuf>,
    /// Prefix of all keys in Redis. Gateways that share limits use the same prefix.
    pub namespace: String,
    /// How long a slot stays taken after its gateway has failed.
    pub lease: Duration,
    /// How long Redis may take to answer a request.
    pub deadline: Duration,
    #[cfg(test)]
    pub(crate) on_round_trip: Option<OnRoundTrip>,
}

impl RedisOptions {
    /// A lease of 30 seconds and a deadline of 50 milliseconds, in the namespace `voxgate`.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            ca_file: None,
            namespace: "voxgate".to_owned(),
            lease: Duration::from_secs(30),
            deadline: Duration::from_millis(50),
            #[cfg(test)]
            on_round_trip: None,
        }
    }

    /// Returns the problems of the options.
    pub(crate) fn problems(self) -> Vec<Problem> {
        let error = self.check().err();
        error.map(ConfigError::into_problems).unwrap_or_default()
    }

    pub(crate) fn check(self) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let address = Address::parse(&self.url, self.ca_file.as_deref(), &mut problems);
        // Braces would end the hash tag, and an empty tag is ignored.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        let namespace = &self.namespace;
        if namespace.is_empty()
            || namespace.len() > MAX_NAMESPACE_BYTES
            || !namespace.bytes().all(plain)
        {
            let message =
                format!("must be 1 to {MAX_NAMESPACE_BYTES} characters of A-Z a-z 0-9 . _ : / -");
            problems.push(Problem::new("namespace", message));
        }
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&self.lease) {
            problems.push(Problem::new("lease", "must be one second to one hour"));
        }
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            let message = "must be more than zero and at most ten seconds";
            problems.push(Problem::new("deadline", message));
        }
        let settings = address.map(|address| Config {
            keys: Keys::new(&self.namespace, address.is_cluster()),
            address,
            lease: self.lease,
            deadline: self.deadline,
            #[cfg(test)]
            on_round_trip: self.on_round_trip,
        });
        ConfigError::check(settings, problems)
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &self.url)
            .field("ca_file", &self.ca_file)
            .field("namespace", &self.namespace)
            .field("lease", &self.lease)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Valid options.
pub(crate) struct Config {
    pub(crate) address: Address,
    pub(crate) keys: Keys,
    pub(crate) lease: Duration,
    pub(crate) deadline: Duration,
    #[cfg(test)]
    pub(crate) on_round_trip: Option<OnRoundTrip>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Endpoint, Servers};

    fn with_url(url: &str) -> RedisOptions {
        RedisOptions::new(Secret::new(url).expect("visible ASCII"))
    }

    fn places(options: RedisOptions) -> Vec<String> {
        let error = options.check().err().expect("problems");
        let text = error.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        let problems = error.problems().iter();
        problems.map(|problem| problem.place().to_owned()).collect()
    }

    #[test]
    fn urls_are_parsed_as_by_redis() {
        for (url, place, user, password, database) in [
            ("redis://h", "redis://h:6379", None, None, 0),
            ("redis://h:1/", "redis://h:1", None, None, 0),
            (
                "valkey://10.0.0.1/7",
                "redis://10.0.0.1:6379",
                None,
                None,
                7,
            ),
            ("redis://[::1]:2", "redis://::1:2", None, None, 0),
            ("redis://:p@h", "redis://h:6379", None, Some("p"), 0),
            (
                "redis://u:p%2F%40%23@h",
                "redis://h:6379",
                Some("u"),
                Some("p/@#"),
                0,
            ),
            (
                "rediss://u%3A:p@h:3/1",
                "rediss://h:3",
                Some("u:"),
                Some("p"),
                1,
            ),
            ("valkeys://h", "rediss://h:6379", None, None, 0),
            ("unix:///run/r.sock", "unix:///run/r.sock", None, None, 0),
            (
                "redis+unix:///r?db=4&user=u&pass=p%20q",
                "unix:///r",
                Some("u"),
                Some("p q"),
                4,
            ),
        ] {
            let settings = with_url(url).check().expect(url);
            assert_eq!(format!("{:?}", settings.address), place, "{url}");
            let login = settings.address.login.as_ref();
            let login = login.map(|it| (it.user.as_deref(), it.password.as_str()));
            assert_eq!(login, password.map(|password| (user, password)), "{url}");
            assert_eq!(settings.address.database, database, "{url}");
            let has_tls = matches!(settings.address.servers, Servers::One(Endpoint::Tls(..)));
            assert_eq!(has_tls, place.starts_with("rediss:"), "{url}");
        }
    }

    #[test]
    fn urls_name_several_hosts() {
        for (url, place, login, database) in [
            ("redis-cluster://a", "redis-cluster://a:6379", "", 0),
            (
                "rediss-cluster://u:p%2C@a,b:1,[::1]:2/",
                "rediss-cluster://a:6379,b:1,::1:2",
                "u:p,",
                0,
            ),
            ("valkey-cluster://:p@a/0", "redis-cluster://a:6379", ":p", 0),
            (
                "redis-sentinel://a,b:1/main",
                "redis-sentinel://a:26379,b:1/main",
                "",
                0,
            ),
            (
                "valkeys-sentinel://u:p@a/main/3?sentinel_user=v&sentinel_pass=q",
                "rediss-sentinel://a:26379/main",
                "u:p v:q",
                3,
            ),
            (
                "redis-sentinel://a/main?sentinel_pass=q%40",
                "redis-sentinel://a:26379/main",
                " :q@",
                0,
            ),
        ] {
            let address = with_url(url).check().expect(url).address;
            assert_eq!(format!("{address:?}"), place, "{url}");
            let show = |login: &Option<crate::address::Login>| match login {
                Some(it) => format!("{}:{}", it.user.as_deref().unwrap_or_default(), it.password),
                None => String::new(),
            };
            let mut logins = show(&address.login);
            if let Servers::Sentinel(sentinel) = &address.servers
                && sentinel.login.is_some()
            {
                logins = format!("{logins} {}", show(&sentinel.login));
            }
            assert_eq!(logins, login, "{url}");
            assert_eq!(address.database, database, "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused_without_being_shown() {
        for url in [
            "redis-cluster://",
            "redis-cluster://:s3cret@a,",
            "redis-cluster://:s3cret@a/1",
            "redis-cluster://:s3cret@a?db=0",
            "redis-cluster://:s3cret@a#insecure",
            "redis-cluster://s3cret@a",
            "redis-cluster://:s3cret@a:99999",
            "redis-sentinel://:s3cret@a",
            "redis-sentinel://:s3cret@a/",
            "redis-sentinel://:s3cret@a/main/s3cret",
            "redis-sentinel://:s3cret@a/main?pass=s3cret",
            "redis-sentinel://:s3cret@a/main?sentinel_user=s3cret",
            "redis-sentinel://:s3cret@a/main#insecure",
            "unix-cluster:///s3cret",
            "redis-other://:s3cret@a",
            "h:6379",
            "s3cret",
            "http://:s3cret@h",
            "redis://",
            "redis:///3",
            "redis://:s3cret@",
            "redis://:s3cret#tail@h",
            "redis://:s3cret?tail@h",
            "rediss://:s3cret@h#insecure",
            "redis://:s3cret@h?protocol=resp3",
            "redis://:s3cret@h/s3cret",
            "redis://:s3cret@h/-1",
            "redis://:s3cret@h:99999",
            "redis://s3cret@h",
            "redis://:%FFs3cret@h",
            "rediss://:s3cret@a_b%20c",
            "unix:///r?pass=s3cret&password=s3cret",
            "unix:///r?user=s3cret",
            "unix:///r?db=s3cret",
        ] {
            assert_eq!(places(with_url(url)), ["url"], "{url}");
        }
    }

    #[test]
    fn all_problems_are_reported_together() {
        let options = RedisOptions {
            ca_file: Some("/nowhere".into()),
            namespace: "a}b".to_owned(),
            lease: Duration::from_millis(999),
            deadline: Duration::ZERO,
            ..with_url("rediss://:s3cret@h")
        };
        assert!(!format!("{options:?}").contains("s3cret"));
        assert_eq!(
            places(options),
            ["ca_file", "namespace", "lease", "deadline"]
        );
        let options = RedisOptions {
            ca_file: Some("/nowhere".into()),
            namespace: String::new(),
            lease: Duration::from_secs(3601),
            deadline: Duration::from_secs(11),
            ..with_url("redis://:s3cret@h")
        };
        assert_eq!(
            places(options),
            ["ca_file", "namespace", "lease", "deadline"]
        );
    }

    #[test]
    fn a_ca_file_without_a_valid_certificate_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in [
            ("empty", ""),
            ("text", "no certificate"),
            ("cut", "-----BEGIN CERTIFICATE-----\nMIIB"),
            (
                "odd",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            let options = RedisOptions {
                ca_file: Some(path),
                ..with_url("rediss://h")
            };
            assert_eq!(places(options), ["ca_file"], "{name}");
        }
    }
}
