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
const FORM: &str = "must be redis://[[<user>]:<password>@]<host>[:<port>][/<database>], rediss:// \
                    for TLS (valkey:// and valkeys:// mean the same), or \
                    unix:///<path>[?db=<database>&user=<user>&pass=<password>]; \
                    write special characters such as / or # in a password as %xx";

/// A parsed URL.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    pub(crate) login: Option<Login>,
    pub(crate) database: u32,
}

#[derive(Clone)]
pub(crate) enum Endpoint {
    Tcp(String, u16),
    Tls(String, u16, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
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
        let mut wrong = |message: &str| {
            problems.push(Problem::new("url", message));
            None
        };
        let Some(url) = redis::parse_redis_url(url.expose()) else {
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
            let port = url.port().unwrap_or(DEFAULT_PORT);
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
            endpoint,
            login,
            database,
        })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Endpoint::Tls(host, port, ..) => write!(f, "rediss://{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
