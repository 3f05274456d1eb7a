//! Where Redis is, and how to introduce ourselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::error::Problem;
use crate::secret::Secret;

use super::tls;

const DEFAULT_PORT: u16 = 6379;
const FORM: &str = "must be redis://[[<user>]:<password>@]<host>[:<port>][/<database>], rediss:// \
                    for TLS (valkey:// and valkeys:// mean the same), or \
                    unix:///<path>[?db=<database>&user=<user>&pass=<password>]; \
                    what is special in a URL, such as / or # in a password, is written as %xx";

/// A URL, understood.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) login: Option<Login>,
    pub(super) database: u32,
}

#[derive(Clone)]
pub(super) enum Place {
    Tcp(String, u16),
    Tls(String, u16, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
}

#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

impl Address {
    /// Reads a URL. No problem shows any of it.
    pub(super) fn read(
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
        // Such as `#insecure`, which would do without the check of the certificate.
        if url.fragment().is_some() {
            return wrong("must have nothing after a #; one in a password is written as %23");
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
                    _ => return wrong("may have db, user and pass after the ?, and nothing else"),
                }
            }
        } else if url.query().is_some() {
            return wrong("must have nothing after a ?; one in a password is written as %3F");
        }
        let (Some(user), Some(password)) = (user, password.map_or(Some(String::new()), |it| it))
        else {
            return wrong("has a user or password that is no UTF-8");
        };
        let login = match (user.is_empty(), password.is_empty()) {
            (true, true) => None,
            (_, false) => Some(Login {
                user: Some(user).filter(|it| !it.is_empty()),
                password,
            }),
            (false, true) => return wrong("has a user without a password"),
        };
        let Ok(database) = (if database.is_empty() { "0" } else { &database }).parse() else {
            return wrong("has a database that is no number");
        };
        let place = if is_unix {
            match url.to_file_path() {
                Ok(path) => Place::Unix(path),
                Err(()) => return wrong("has no path of a socket"),
            }
        } else {
            let Some(host) = url.host_str().filter(|it| !it.is_empty()) else {
                return wrong("has no host");
            };
            // An IPv6 address stands in brackets only in a URL.
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let port = url.port().unwrap_or(DEFAULT_PORT);
            if matches!(url.scheme(), "rediss" | "valkeys") {
                let Ok(name) = ServerName::try_from(host.clone()) else {
                    return wrong("has a host that no certificate can be for");
                };
                Place::Tls(host, port, name, tls::client(ca_file, problems)?)
            } else {
                Place::Tcp(host, port)
            }
        };
        if ca_file.is_some() && !matches!(place, Place::Tls(..)) {
            let message = "is for TLS only: make the URL begin with rediss://, or remove it";
            problems.push(Problem::new("ca_file", message));
            return None;
        }
        Some(Self {
            place,
            login,
            database,
        })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) => write!(f, "redis://{host}:{port}"),
            Place::Tls(host, port, ..) => write!(f, "rediss://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
