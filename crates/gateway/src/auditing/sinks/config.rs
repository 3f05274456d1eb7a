//! The settings of the audit sinks.

use std::path::{Path, PathBuf};

use http::Uri;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use voxgate::ConfigError;
use voxgate::audit::DeliveryGuarantee;
use voxgate::env::Environment;

use super::http::{Collector, bearer};
use super::queue::Delivery;
use super::syslog::Server;
use crate::auditing::config::SettingsReader;
use crate::settings::{
    AUDIT, AUDIT_CA_FILE, AUDIT_DIR, AUDIT_HTTP, AUDIT_HTTP_TOKEN_FILE, AUDIT_REQUIRED,
    AUDIT_STDOUT, AUDIT_SYSLOG,
};
use crate::tls::{Roots, load_roots};

/// The ports of syslog over TCP (RFC 3195) and TLS (RFC 5425).
const TCP_PORT: u16 = 601;
const TLS_PORT: u16 = 6514;

/// The configured sinks, each with its delivery guarantee.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkSettings {
    pub(super) stdout: Option<Delivery>,
    pub(super) syslog: Option<(Server, Delivery)>,
    pub(super) http: Option<(Collector, Delivery)>,
    /// Empty when neither a sink nor the time-stamp authority uses TLS.
    pub(in crate::auditing) roots: Roots,
}

/// The values of the environment variables, not yet checked.
#[derive(Deserialize)]
struct RawSinkSettings {
    audit_syslog: Option<String>,
    audit_http: Option<String>,
    audit_http_token_file: Option<String>,
    audit_ca_file: Option<String>,
    audit_stdout: Option<String>,
    audit_required: Option<String>,
}

impl SinkSettings {
    /// Reads the settings, and collects what is wrong.
    ///
    /// # Errors
    ///
    /// When the environment cannot be read.
    pub(in crate::auditing) fn read(
        environment: &Environment,
        reading: &mut SettingsReader<'_>,
        has_directory: bool,
        guarantee: Option<DeliveryGuarantee>,
        has_secured_authority: bool,
    ) -> Result<Self, ConfigError> {
        let raw: RawSinkSettings = environment.fill("VOXGATE_")?;
        let stdout = reading.stdout(raw.audit_stdout.as_deref(), has_directory);
        let syslog = raw.audit_syslog.as_deref().and_then(|given| {
            let server = server(given.trim());
            if server.is_none() {
                let message = "must be unix:///path, tcp://host:port or tls://host:port";
                reading.problem(AUDIT_SYSLOG, message);
            }
            server
        });
        let url = raw.audit_http.as_deref().and_then(|given| {
            let url = http_url(given.trim());
            if url.is_none() {
                let message = "must be a URL such as https://host/path, without a user's name";
                reading.problem(AUDIT_HTTP, message);
            }
            url
        });
        if raw.audit_http.is_none() && raw.audit_http_token_file.is_some() {
            let message = format!("has no effect without {AUDIT_HTTP}; set both or neither");
            reading.problem(AUDIT_HTTP_TOKEN_FILE, message);
        }
        let token_file = reading.token_file(raw.audit_http_token_file, url.as_ref());
        let required = Required {
            primary: if has_directory { "file" } else { "stdout" },
            names: raw.audit_required.as_deref(),
            guarantee,
        };
        required.check(
            reading,
            &[
                ("stdout", stdout),
                ("syslog", raw.audit_syslog.is_some()),
                ("http", raw.audit_http.is_some()),
            ],
        );
        let is_secured = has_secured_authority
            || matches!(syslog, Some(Server::Tls(..)))
            || url
                .as_ref()
                .is_some_and(|url| url.scheme_str() == Some("https"));
        // A URL that is not valid may have been meant to use TLS.
        let is_readable = syslog.is_some() == raw.audit_syslog.is_some()
            && url.is_some() == raw.audit_http.is_some();
        let ca_file = raw.audit_ca_file.as_deref();
        Ok(Self {
            stdout: stdout.then(|| required.delivery("stdout")),
            syslog: syslog.map(|server| (server, required.delivery("syslog"))),
            http: url.map(|url| (Collector { url, token_file }, required.delivery("http"))),
            roots: reading.roots(ca_file, is_secured, is_readable),
        })
    }
}

/// The outputs that requests wait for.
struct Required<'a> {
    primary: &'static str,
    names: Option<&'a str>,
    guarantee: Option<DeliveryGuarantee>,
}

impl Required<'_> {
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.names.unwrap_or(self.primary).split(',');
        names.map(str::trim).filter(|name| !name.is_empty())
    }

    fn delivery(&self, sink: &str) -> Delivery {
        match self.names().any(|name| name == sink) {
            true => Delivery::Required,
            false => Delivery::BestEffort,
        }
    }

    fn check(&self, reading: &mut SettingsReader<'_>, sinks: &[(&str, bool)]) {
        let Self { primary, .. } = self;
        let is_sink = |name: &str| sinks.contains(&(name, true));
        if self.names().any(|name| name != *primary && !is_sink(name)) {
            let sinks = sinks.iter().filter(|(_, is_set)| *is_set);
            let known: Vec<_> = sinks.map(|(name, _)| format!(" or `{name}`")).collect();
            let known = known.concat();
            let message = format!("names an output that is not configured; use `{primary}`{known}");
            reading.problem(AUDIT_REQUIRED, message);
        }
        if !self.names().any(|name| name == *primary) {
            let message = format!("must name `{primary}` as well: requests always wait for it");
            reading.problem(AUDIT_REQUIRED, message);
        }
        if self.guarantee == Some(DeliveryGuarantee::Counted) && self.names().any(is_sink) {
            let message = format!(
                "names a sink, but requests wait for no sink when {AUDIT} is `counted`; set {AUDIT} \
                 to `blocking` or `durable`"
            );
            reading.problem(AUDIT_REQUIRED, message);
        }
    }
}

impl SettingsReader<'_> {
    fn stdout(&mut self, given: Option<&str>, has_directory: bool) -> bool {
        match given.map(str::trim) {
            None | Some("false") => false,
            Some("true") if has_directory => true,
            Some("true") => {
                let message = format!(
                    "has no effect without {AUDIT_DIR}: records already go to standard output; remove it"
                );
                self.problem(AUDIT_STDOUT, message);
                false
            }
            Some(_) => {
                self.problem(AUDIT_STDOUT, "must be `true` or `false`");
                false
            }
        }
    }

    fn token_file(&mut self, given: Option<String>, url: Option<&Uri>) -> Option<PathBuf> {
        let given = given?;
        let token = self.file(AUDIT_HTTP_TOKEN_FILE, &given)?;
        if bearer(&token).is_none() {
            self.problem(
                AUDIT_HTTP_TOKEN_FILE,
                "holds no token; write one word of ASCII to the file",
            );
        }
        let in_the_clear = |url: &Uri| url.scheme_str() == Some("http") && !is_local(url);
        if url.is_some_and(in_the_clear) {
            let message = format!("would be sent in the clear; make {AUDIT_HTTP} an https:// URL");
            self.problem(AUDIT_HTTP_TOKEN_FILE, message);
        }
        Some(given.into())
    }

    fn roots(&mut self, ca_file: Option<&str>, is_secured: bool, is_readable: bool) -> Roots {
        match ca_file {
            Some(path) => {
                if !is_secured && is_readable {
                    let message = "has no effect without a tls:// or https:// sink or time-stamp authority; remove it or change the URL";
                    self.problem(AUDIT_CA_FILE, message);
                }
                load_roots(Some(Path::new(path))).unwrap_or_else(|error| {
                    let message = format!(
                        "cannot be used ({error}); set it to the path of a PEM file with CA certificates"
                    );
                    self.problem(AUDIT_CA_FILE, message);
                    Roots::new()
                })
            }
            None if is_secured => {
                let roots = load_roots(None).unwrap_or_default();
                if roots.is_empty() {
                    let message = "must be set: this system has no CA certificates";
                    self.problem(AUDIT_CA_FILE, message);
                }
                roots
            }
            None => Roots::new(),
        }
    }
}

/// Whether the host is this machine, so that no other host sees the traffic.
fn is_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn server(url: &str) -> Option<Server> {
    if let Some(path) = url.strip_prefix("unix://") {
        let path = Path::new(path);
        return path.is_absolute().then(|| Server::Unix(path.to_owned()));
    }
    let url: Uri = url.parse().ok()?;
    let authority = url.authority().filter(|it| !it.as_str().contains('@'))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return None;
    }
    let host = authority.host();
    let port = |default| match authority.as_str().len() == host.len() {
        true => Some(default),
        false => authority.port_u16(),
    };
    match url.scheme_str()? {
        "tcp" => Some(Server::Tcp(format!("{host}:{}", port(TCP_PORT)?))),
        "tls" => {
            let name = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let name = ServerName::try_from(name).ok()?;
            Some(Server::Tls(format!("{host}:{}", port(TLS_PORT)?), name))
        }
        _ => None,
    }
}

/// A URL of HTTP without a user.
pub(in crate::auditing) fn http_url(url: &str) -> Option<Uri> {
    let url: Uri = url.parse().ok()?;
    let has_user = url.authority()?.as_str().contains('@');
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    (is_http && !has_user).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditing::Audit;
    use crate::settings::settings;

    #[test]
    fn a_syslog_server_is_a_path_or_a_host() {
        let tcp = |address: &str| Some(Server::Tcp(address.to_owned()));
        assert_eq!(
            server("unix:///dev/log"),
            Some(Server::Unix("/dev/log".into()))
        );
        assert_eq!(server("tcp://10.0.0.1:514"), tcp("10.0.0.1:514"));
        assert_eq!(server("tcp://logs"), tcp("logs:601"));
        assert_eq!(server("tcp://[::1]:5140/"), tcp("[::1]:5140"));
        for (url, address, name) in [
            ("tls://logs.example", "logs.example:6514", "logs.example"),
            ("tls://[::1]:99", "[::1]:99", "::1"),
        ] {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            assert_eq!(server(url), Some(Server::Tls(address.to_owned(), name)));
        }
        for wrong in [
            "",
            "logs:514",
            "udp://logs",
            "unix://dev/log",
            "unix://",
            "tcp://",
            "tcp://user@logs",
            "tcp://logs/path",
            "tcp://logs:99999",
            "tcp://logs?x=1",
            "tls://logs:x",
        ] {
            assert_eq!(server(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_collector_is_a_url_without_a_user() {
        for good in ["http://127.0.0.1:8088/a?b=c", "https://logs.example"] {
            assert!(http_url(good).is_some(), "{good}");
        }
        for wrong in ["", "/path", "ftp://logs", "https://me:pass@logs", "logs"] {
            assert_eq!(http_url(wrong), None, "{wrong}");
        }
    }

    /// What is wrong with these settings, and where.
    fn problems(vars: &[(&str, &str)]) -> Vec<String> {
        let environment = Environment::new(vars.iter().copied(), settings());
        assert_eq!(environment.problems().len(), 0);
        let mut problems = Vec::new();
        let audit = Audit::read(&environment, &mut problems);
        assert!(audit.is_ok(), "the environment can be read");
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_reported_without_its_value() {
        let found = problems(&[
            (AUDIT_SYSLOG, "hunter2"),
            (AUDIT_HTTP, "https://hunter2@logs"),
            (AUDIT_HTTP_TOKEN_FILE, "hunter2"),
            (AUDIT_CA_FILE, "hunter2"),
            (AUDIT_STDOUT, "hunter2"),
            (AUDIT_REQUIRED, "hunter2"),
        ]);
        let place = |problem: &String| problem.split(':').next().map(str::to_owned);
        let mut places: Vec<String> = found.iter().filter_map(place).collect();
        places.dedup();
        assert_eq!(
            places,
            [
                AUDIT_STDOUT,
                AUDIT_SYSLOG,
                AUDIT_HTTP,
                AUDIT_HTTP_TOKEN_FILE,
                AUDIT_REQUIRED,
                AUDIT_CA_FILE
            ]
        );
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }

    #[test]
    fn only_configured_outputs_can_be_required() {
        let syslog = (AUDIT_SYSLOG, "tcp://logs");
        let (directory, blocking) = ((AUDIT_DIR, "/audit"), (AUDIT, "blocking"));
        for (vars, wrong) in [
            (
                vec![syslog, directory, (AUDIT_REQUIRED, "file, syslog")],
                None,
            ),
            (vec![syslog, directory, (AUDIT_REQUIRED, "file")], None),
            (
                vec![syslog, blocking, (AUDIT_REQUIRED, "stdout,syslog")],
                None,
            ),
            (
                vec![syslog, directory, (AUDIT_REQUIRED, "file,http")],
                Some("use `file` or `syslog`"),
            ),
            (
                vec![syslog, directory, (AUDIT_REQUIRED, "syslog")],
                Some("must name `file` as well"),
            ),
            (
                vec![syslog, (AUDIT_REQUIRED, "stdout,syslog")],
                Some("requests wait for no sink when VOXGATE_AUDIT is `counted`"),
            ),
            (
                vec![(AUDIT_STDOUT, "true")],
                Some("has no effect without VOXGATE_AUDIT_DIR"),
            ),
            (vec![directory, (AUDIT_STDOUT, "true")], None),
        ] {
            let found = problems(&vars);
            let expected = wrong.map_or(0, |_| 1);
            assert_eq!(found.len(), expected, "{vars:?}: {found:?}");
            assert!(
                found.concat().contains(wrong.unwrap_or_default()),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear_to_another_host() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        std::fs::write(&file, "hunter2-token\n").expect("a file");
        let token = (AUDIT_HTTP_TOKEN_FILE, file.to_str().expect("text"));
        for local in ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"] {
            assert_eq!(problems(&[(AUDIT_HTTP, local), token]).len(), 0, "{local}");
        }
        let found = problems(&[(AUDIT_HTTP, "http://logs/"), token]);
        assert!(
            found.len() == 1 && found[0].contains("in the clear"),
            "{found:?}"
        );
        assert_eq!(problems(&[token]).len(), 1, "no collector");
    }
}
