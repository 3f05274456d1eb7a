//! How the limits are shared.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ConfigError, Problem};
use crate::secret::Secret;

use super::address::Address;
use super::keys::Keys;

const MAX_NAMESPACE_BYTES: usize = 64;
/// A heartbeat comes three times in a lease, and Redis gets a second to answer it.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);
/// Whoever asks is a request that waits.
const LONGEST_DEADLINE: Duration = Duration::from_secs(10);

/// What takes the time that an answer of Redis took. It is called on the thread of the limits, so
/// it must not block.
pub(crate) type OnRoundTrip = Box<dyn Fn(Duration) + Send>;

/// How the limits are shared. Its problems have the names of these fields as their places.
#[non_exhaustive]
pub struct SharedOptions {
    /// Where Redis is: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`, with the
    /// password.
    pub url: Secret,
    /// The authorities to trust with TLS, in PEM. Those of the system without it.
    pub ca_file: Option<PathBuf>,
    /// What the keys of this deployment begin with. Gateways that share limits share it.
    pub namespace: String,
    /// How long a slot stays taken that nobody renews.
    pub lease: Duration,
    /// How long Redis has to answer a question.
    pub deadline: Duration,
    /// What takes round-trip times, such as a histogram.
    pub(crate) on_round_trip: Option<OnRoundTrip>,
}

impl SharedOptions {
    /// A lease of 30 seconds and a deadline of 50 milliseconds, in the namespace `voxgate`.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            ca_file: None,
            namespace: "voxgate".to_owned(),
            lease: Duration::from_secs(30),
            deadline: Duration::from_millis(50),
            on_round_trip: None,
        }
    }

    /// What is wrong with them.
    pub(crate) fn problems(self) -> Vec<Problem> {
        let error = self.check().err();
        error.map(ConfigError::into_problems).unwrap_or_default()
    }

    pub(super) fn check(self) -> Result<Settings, ConfigError> {
        let mut problems = Vec::new();
        let address = Address::read(&self.url, self.ca_file.as_deref(), &mut problems);
        // Braces would end the hash tag, and an empty one is none.
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
            let message = "must be more than nothing, and ten seconds at most";
            problems.push(Problem::new("deadline", message));
        }
        let settings = address.map(|address| Settings {
            address,
            keys: Keys::new(&self.namespace),
            lease: self.lease,
            deadline: self.deadline,
            on_round_trip: self.on_round_trip,
        });
        ConfigError::check(settings, problems)
    }
}

impl fmt::Debug for SharedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedOptions")
            .field("url", &self.url)
            .field("ca_file", &self.ca_file)
            .field("namespace", &self.namespace)
            .field("lease", &self.lease)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Options that are right.
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) keys: Keys,
    pub(super) lease: Duration,
    pub(super) deadline: Duration,
    pub(super) on_round_trip: Option<OnRoundTrip>,
}

#[cfg(test)]
mod tests {
    use super::super::address::Place;
    use super::*;

    fn with_url(url: &str) -> SharedOptions {
        SharedOptions::new(Secret::new(url).expect("visible ASCII"))
    }

    fn places(options: SharedOptions) -> Vec<String> {
        let error = options.check().err().expect("problems");
        let text = error.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        let problems = error.problems().iter();
        problems.map(|problem| problem.place().to_owned()).collect()
    }

    #[test]
    fn urls_are_read_as_redis_has_them() {
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
            let has_tls = matches!(settings.address.place, Place::Tls(..));
            assert_eq!(has_tls, place.starts_with("rediss:"), "{url}");
        }
    }

    #[test]
    fn urls_that_are_none_are_refused_without_being_shown() {
        for url in [
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
    fn every_problem_is_told_at_once() {
        let options = SharedOptions {
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
        let options = SharedOptions {
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
    fn a_file_without_an_authority_is_none() {
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
            let options = SharedOptions {
                ca_file: Some(path),
                ..with_url("rediss://h")
            };
            assert_eq!(places(options), ["ca_file"], "{name}");
        }
    }
}
