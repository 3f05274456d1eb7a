//! The address of Redis, and how to log in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use voxgate::{Problem, Secret};

use crate::tls;

const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const FORM: &str = "must be redis://[[<user>]:<password>@]<host>[:<port>][/<database>], rediss:// \
                    for TLS (valkey:// and valkeys:// mean the same), \
                    redis-cluster://<host>[:<port>],<host>[:<port>], \
                    redis-sentinel://<host>[:<port>],<host>[:<port>]/<service>[/<database>], or \
                    unix:///<path>[?db=<database>&user=<user>&pass=<password>]; \
                    write special characters such as / or # in a password as %xx";

/// A parsed URL.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) servers: Servers,
    pub(crate) login: Option<Login>,
    pub(crate) database: u32,
}

#[derive(Clone)]
pub(crate) enum Servers {
    One(Endpoint),
    /// Nodes of a cluster, which name all others.
    Cluster(Vec<Endpoint>),
    Sentinel(Sentinel),
}

/// Sentinels, which know the primary of a service.
#[derive(Clone)]
pub(crate) struct Sentinel {
    pub(crate) sentinels: Vec<Endpoint>,
    /// How to log in to a Sentinel, which has users of its own.
    pub(crate) login: Option<Login>,
    pub(crate) service: String,
}

#[derive(Clone)]
pub(crate) enum Endpoint {
    Tcp(String, u16),
    Tls(String, u16, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
    #[cfg(feature = "simulation")]
    Simulated(String, u16, crate::simulation::Dialer),
}

#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: String,
}

impl Address {
    /// Parses a URL. No problem shows any part of it.
    pub(crate) fn parse(
        url: &Secret,
        ca_file: Option<&Path>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        match Several::split(url.expose()) {
            Some(several) => several.parse(ca_file, problems),
            None => Self::parse_one(url.expose(), DEFAULT_PORT, ca_file, problems),
        }
    }

    /// Parses the URL of one server.
    fn parse_one(
        url: &str,
        default_port: u16,
        ca_file: Option<&Path>,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let mut wrong = |message: &str| {
            problems.push(Problem::new("url", message));
            None
        };
        let Some(url) = redis::parse_redis_url(url) else {
            return wrong(FORM);
        };
        // Such as `#insecure`, which would switch off the check of the certificate.
        if url.fragment().is_some() {
            return wrong("must not have a part after #; write # in a password as %23");
        }
        let is_unix = url.scheme().ends_with("unix");
        let text = |part: &str| match percent_decode_str(part).decode_utf8() {
            Ok(text) => Some(text.into_owned()),
            Err(_) => None,
        };
        let (mut user, mut password) = (text(url.username()), url.password().map(text));
        let mut database = url.path().trim_start_matches('/').to_owned();
        if is_unix {
            (user, password, database) = (Some(String::new()), None, String::new());
            for (name, value) in url.query_pairs() {
                match &*name {
                    "db" => database = value.into_owned(),
                    "user" => user = Some(value.into_owned()),
                    "pass" => password = Some(Some(value.into_owned())),
                    _ => return wrong("may have only db, user and pass after the ?"),
                }
            }
        } else if url.query().is_some() {
            return wrong("must not have a part after ?; write ? in a password as %3F");
        }
        let (Some(user), Some(password)) = (user, password.map_or(Some(String::new()), |it| it))
        else {
            return wrong("has a user or password that is not UTF-8; correct the %xx in it");
        };
        let login = match (user.is_empty(), password.is_empty()) {
            (true, true) => None,
            (_, false) => Some(Login {
                user: Some(user).filter(|it| !it.is_empty()),
                password,
            }),
            (false, true) => return wrong("has a user without a password; add the password"),
        };
        let Ok(database) = (if database.is_empty() { "0" } else { &database }).parse() else {
            return wrong("has a database that is not a number; write it as /0");
        };
        let endpoint = if is_unix {
            match url.to_file_path() {
                Ok(path) => Endpoint::Unix(path),
                Err(()) => return wrong("has no path; add the path of the socket"),
            }
        } else {
            let Some(host) = url.host_str().filter(|it| !it.is_empty()) else {
                return wrong("has no host; add it after the //");
            };
            // Only a URL has brackets around an IPv6 address.
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let port = url.port().unwrap_or(default_port);
            if matches!(url.scheme(), "rediss" | "valkeys") {
                let Ok(name) = ServerName::try_from(host.clone()) else {
                    return wrong(
                        "has a host that cannot be in a certificate; use a DNS name or an IP address",
                    );
                };
                Endpoint::Tls(host, port, name, tls::client(ca_file, problems)?)
            } else {
                Endpoint::Tcp(host, port)
            }
        };
        if ca_file.is_some() && !matches!(endpoint, Endpoint::Tls(..)) {
            let message =
                "is used with TLS only: begin the URL with rediss://, or remove the CA file";
            problems.push(Problem::new("ca_file", message));
            return None;
        }
        Some(Self {
            servers: Servers::One(endpoint),
            login,
            database,
        })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// The same servers, connected through a simulated network.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(mut self, dialer: &crate::simulation::Dialer) -> Self {
        let endpoints = match &mut self.servers {
            Servers::One(endpoint) => std::slice::from_mut(endpoint),
            Servers::Cluster(nodes) => nodes,
            Servers::Sentinel(sentinel) => &mut sentinel.sentinels,
        };
        for endpoint in endpoints {
            if let Endpoint::Tcp(host, port) | Endpoint::Tls(host, port, ..) = endpoint {
                *endpoint = Endpoint::Simulated(std::mem::take(host), *port, dialer.clone());
            }
        }
        self
    }
}

/// A URL with several hosts, taken apart.
struct Several<'a> {
    /// The scheme of one such server.
    scheme: &'a str,
    is_cluster: bool,
    /// With the `@`.
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Several<'a> {
    /// `None` if it is a URL of one server.
    fn split(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (scheme, kind) = scheme.rsplit_once('-')?;
        let is_known = matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys");
        let is_cluster = kind == "cluster";
        if !is_known || !(is_cluster || kind == "sentinel") {
            return None;
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
        Some(Self {
            scheme,
            is_cluster,
            login: authority.strip_suffix(hosts).unwrap_or_default(),
            hosts,
            path,
            query,
        })
    }

    fn parse(&self, ca_file: Option<&Path>, problems: &mut Vec<Problem>) -> Option<Address> {
        let mut wrong = |message: &str| {
            problems.push(Problem::new("url", message));
            None
        };
        if self.path.contains('#') || self.query.contains('#') {
            return wrong("must not have a part after #; write # in a password as %23");
        }
        let (service, database) = self.path.split_once('/').unwrap_or((self.path, ""));
        let mut sentinel_login = "".to_owned();
        let default_port = if self.is_cluster {
            if !self.query.is_empty() {
                return wrong("must not have a part after ?; write ? in a password as %3F");
            }
            if !matches!(self.path, "" | "0") {
                return wrong("must not have a database: a cluster has only the database 0");
            }
            DEFAULT_PORT
        } else {
            if service.is_empty() {
                return wrong(
                    "has no service; add the name under which Sentinel monitors the primary, \
                     such as /mymaster, after the hosts",
                );
            }
            let (mut user, mut password) = ("", "");
            for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
                match pair.split_once('=') {
                    Some(("sentinel_user", value)) => user = value,
                    Some(("sentinel_pass", value)) => password = value,
                    _ => return wrong("may have only sentinel_user and sentinel_pass after the ?"),
                }
            }
            if !user.is_empty() || !password.is_empty() {
                sentinel_login = format!("{user}:{password}@");
            }
            SENTINEL_PORT
        };
        let database = if self.is_cluster { "" } else { database };
        let Ok(service) = percent_decode_str(service).decode_utf8() else {
            return wrong("has a service that is not UTF-8; correct the %xx in it");
        };
        let mut endpoints = Vec::new();
        let mut first = None;
        for host in self.hosts.split(',') {
            let url = format!("{}://{}{host}/{database}", self.scheme, self.login);
            let one = Address::parse_one(&url, default_port, ca_file, problems)?;
            if let Servers::One(endpoint) = &one.servers {
                endpoints.push(endpoint.clone());
            }
            first.get_or_insert(one);
        }
        let mut address = first?;
        address.servers = if self.is_cluster {
            Servers::Cluster(endpoints)
        } else {
            let url = format!("{}://{sentinel_login}host", self.scheme);
            let login = Address::parse_one(&url, default_port, ca_file, problems)?.login;
            Servers::Sentinel(Sentinel {
                sentinels: endpoints,
                login,
                service: service.into_owned(),
            })
        };
        Some(address)
    }
}

impl Endpoint {
    /// The same kind of endpoint at another host and port. `None` if a certificate cannot have this
    /// host.
    pub(crate) fn at(&self, host: &str, port: u16) -> Option<Self> {
        let host = host.to_owned();
        Some(match self {
            Self::Tcp(..) | Self::Unix(_) => Self::Tcp(host, port),
            Self::Tls(_, _, _, config) => {
                let name = ServerName::try_from(host.clone()).ok()?;
                Self::Tls(host, port, name, Arc::clone(config))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(_, _, dialer) => Self::Simulated(host, port, dialer.clone()),
        })
    }

    /// The host, or nothing for a socket.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp(host, _) | Self::Tls(host, ..) => host,
            #[cfg(feature = "simulation")]
            Self::Simulated(host, ..) => host,
            Self::Unix(_) => "",
        }
    }

    /// The host and port, as a cluster names its nodes.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tcp(host, port) | Self::Tls(host, port, ..) => format!("{host}:{port}"),
            Self::Unix(path) => path.display().to_string(),
            #[cfg(feature = "simulation")]
            Self::Simulated(host, port, _) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Tcp(..) => "redis",
            Self::Tls(..) => "rediss",
            Self::Unix(_) => "unix",
            #[cfg(feature = "simulation")]
            Self::Simulated(..) => "redis",
        };
        write!(f, "{scheme}://{}", self.name())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, endpoints, service) = match &self.servers {
            Servers::One(endpoint) => return endpoint.fmt(f),
            Servers::Cluster(endpoints) => ("cluster", endpoints, ""),
            Servers::Sentinel(sentinel) => ("sentinel", &sentinel.sentinels, &*sentinel.service),
        };
        let has_tls = matches!(endpoints.first(), Some(Endpoint::Tls(..)));
        let scheme = if has_tls { "rediss" } else { "redis" };
        let names: Vec<_> = endpoints.iter().map(Endpoint::name).collect();
        write!(f, "{scheme}-{kind}://{}", names.join(","))?;
        match service {
            "" => Ok(()),
            service => write!(f, "/{service}"),
        }
    }
}
