//! The upstreams, and the route of a request to one of them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use voxgate::Problem;
use voxgate_tls::ClientTls;
use voxgate_upstream::{Protocol, Server, Settings, Upstream};

use super::listener::ListenAddress;
use super::proxy::ForwardedBody;
use super::settings::UPSTREAM;

/// The URL of one TTS server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamUrl {
    /// `http://`, or `h2c://` for HTTP/2 with prior knowledge.
    Plain(Authority, Protocol),
    /// `https://`
    Tls(Authority),
    /// `unix:/path`, or `h2c+unix:/path`.
    Socket(PathBuf, Protocol),
}

impl UpstreamUrl {
    /// The server to send requests to. `tls` is there if one of the URLs is `https://`.
    fn server(&self, tls: Option<&ClientTls>) -> Option<Server> {
        match self {
            Self::Plain(authority, protocol) => Server::new(authority.clone(), *protocol),
            Self::Tls(authority) => Server::over_tls(authority.clone(), tls?.clone()),
            Self::Socket(path, protocol) => Server::at_socket(path, *protocol),
        }
    }

    /// The address, if the URL names one and not a host name.
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(authority, _) | Self::Tls(authority) => authority.as_str().parse().ok(),
            Self::Socket(..) => None,
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(authority, Protocol::Http2) => write!(f, "h2c://{authority}"),
            Self::Plain(authority, _) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Socket(path, Protocol::Http2) => write!(f, "h2c+unix:{}", path.display()),
            Self::Socket(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Something for each path prefix. The longest prefix is first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefixes<T>(Vec<(String, T)>);

/// The TTS servers behind the gateway.
pub(crate) type Upstreams = Prefixes<Vec<UpstreamUrl>>;

/// Where requests are sent.
pub(crate) type Routes = Prefixes<Arc<Upstream<ForwardedBody>>>;

impl<T> Prefixes<T> {
    /// What belongs to the longest prefix of whole segments that `path` begins with.
    pub(crate) fn route(&self, path: &str) -> Option<&T> {
        let mut routes = self.0.iter();
        let found = routes.find(|(prefix, _)| match path.strip_prefix(prefix.as_str()) {
            Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
            None => false,
        });
        found.map(|(_, found)| found)
    }

    /// What belongs to each prefix.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, own)| own)
    }
}

impl Upstreams {
    /// Reads the URLs of one upstream, or a comma-separated list of `prefix=URLs`. Several URLs of one
    /// prefix are separated by spaces.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut routes: Vec<(String, Vec<UpstreamUrl>)> = Vec::new();
        let mut problems = Vec::new();
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        for (index, entry) in entries.iter().enumerate() {
            let place = match entries.len() {
                1 => UPSTREAM.to_owned(),
                _ => format!("{UPSTREAM}, entry {}", index + 1),
            };
            match parse_entry(entry, entries.len() > 1) {
                Ok((prefix, _)) if routes.iter().any(|(taken, _)| *taken == prefix) => {
                    problems.push(Problem::new(
                        place,
                        "has the same prefix as another entry; remove one of them, or write the URLs of \
                         several servers behind one prefix, separated by spaces",
                    ));
                }
                Ok(route) => routes.push(route),
                Err(message) => problems.push(Problem::new(place, message)),
            }
        }
        // The longest prefix that matches decides.
        routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if problems.is_empty() {
            Ok(Prefixes(routes))
        } else {
            Err(problems)
        }
    }

    /// The upstreams to send requests to, for so many workers. All connections to them need one of
    /// `permits`.
    pub(crate) fn routes(
        &self,
        settings: Settings,
        tls: Option<&ClientTls>,
        workers: usize,
        permits: &Arc<Semaphore>,
    ) -> Routes {
        let settings = Arc::new(settings);
        let upstream = |urls: &Vec<UpstreamUrl>| {
            let servers = urls.iter().filter_map(|url| url.server(tls)).collect();
            Arc::new(Upstream::new(
                servers,
                Arc::clone(&settings),
                workers,
                Arc::clone(permits),
            ))
        };
        let routes = self.0.iter();
        Prefixes(
            routes
                .map(|(prefix, urls)| (prefix.clone(), upstream(urls)))
                .collect(),
        )
    }

    /// Whether one of the upstreams is `listener`, so that requests would loop.
    pub(crate) fn contain(&self, listener: &ListenAddress) -> bool {
        let listener = match listener {
            ListenAddress::Ip(address) => *address,
            ListenAddress::Unix(own) => {
                let is_own =
                    |url: &UpstreamUrl| matches!(url, UpstreamUrl::Socket(path, _) if path == own);
                return self.iter().flatten().any(is_own);
            }
        };
        let mut addresses = self.iter().flatten().filter_map(UpstreamUrl::address);
        addresses.any(|upstream| {
            let everywhere = listener.ip().is_unspecified() && upstream.ip().is_loopback();
            upstream.port() == listener.port() && (upstream.ip() == listener.ip() || everywhere)
        })
    }

    /// Whether one of the upstreams has an `https://` URL.
    pub(crate) fn need_tls(&self) -> bool {
        let mut urls = self.iter().flatten();
        urls.any(|url| matches!(url, UpstreamUrl::Tls(_)))
    }

    /// Describes the upstreams for people.
    pub(crate) fn describe(&self) -> String {
        let one = |(prefix, urls): &(String, Vec<UpstreamUrl>)| {
            let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
            let urls = urls.join(" ");
            match prefix.as_str() {
                "/" => urls,
                prefix => format!("{urls} for {prefix}"),
            }
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn parse_entry(entry: &str, needs_prefix: bool) -> Result<(String, Vec<UpstreamUrl>), String> {
    let (prefix, urls) = match entry.split_once('=') {
        Some((prefix, urls)) if prefix.starts_with('/') => (prefix.trim(), urls.trim()),
        _ if needs_prefix => {
            return Err("must be `prefix=url`, such as /ws=http://127.0.0.1:8002".to_owned());
        }
        _ => ("/", entry),
    };
    if !is_plain(prefix) {
        return Err(
            "has a prefix that is not a plain path, so no request would match it; use one such as /ws".to_owned(),
        );
    }
    let mut parsed: Vec<UpstreamUrl> = Vec::new();
    for url in urls.split_whitespace() {
        let url = parse_url(url)?;
        if parsed.contains(&url) {
            return Err("has the same URL twice; remove one of them".to_owned());
        }
        parsed.push(url);
    }
    match parsed.is_empty() {
        true => Err(NOT_A_URL.to_owned()),
        false => Ok((prefix.to_owned(), parsed)),
    }
}

const NOT_A_URL: &str = "must be a URL such as http://127.0.0.1:8000";

fn parse_url(url: &str) -> Result<UpstreamUrl, String> {
    // `Uri` would silently drop a fragment. The value is not shown, because a URL can contain a
    // password.
    let wrong = NOT_A_URL;
    for (scheme, protocol) in [("unix:", Protocol::Http1), ("h2c+unix:", Protocol::Http2)] {
        if let Some(path) = url.strip_prefix(scheme) {
            return parse_socket(path, protocol);
        }
    }
    let uri = Some(url)
        .filter(|url| !url.contains('#'))
        .and_then(|url| url.parse::<Uri>().ok());
    let uri = uri.ok_or_else(|| wrong.to_owned())?;
    let authority = uri.authority().cloned().ok_or_else(|| wrong.to_owned())?;
    let protocol = match uri.scheme().map(Scheme::as_str) {
        Some("http") => Protocol::Http1,
        Some("h2c") => Protocol::Http2,
        Some("https") => Protocol::Negotiated,
        _ => return Err(wrong.to_owned()),
    };
    if authority.as_str().contains('@') {
        return Err(
            "contains a user name or password; remove it and set the deployment key instead"
                .to_owned(),
        );
    }
    let port = &authority.as_str()[authority.host().len()..];
    let port_is_plain = port.is_empty() || authority.port_u16().is_some_and(|port| port != 0);
    if authority.host().is_empty() || !port_is_plain {
        return Err(wrong.to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("contains a path, but paths are forwarded unchanged; \
                    give only scheme, host and port"
            .to_owned());
    }
    let is_name = |host: &str| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(host).is_ok()
    };
    match protocol {
        Protocol::Negotiated if !is_name(authority.host()) => Err(
            "has a host that no certificate can name; use a DNS name or an IP address".to_owned(),
        ),
        Protocol::Negotiated => Ok(UpstreamUrl::Tls(authority)),
        protocol => Ok(UpstreamUrl::Plain(authority, protocol)),
    }
}

/// The path of a Unix socket, also as `unix:///path`. A relative one would depend on where the gateway is started.
fn parse_socket(path: &str, protocol: Protocol) -> Result<UpstreamUrl, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match path.starts_with('/') && !path.ends_with('/') {
        true => Ok(UpstreamUrl::Socket(PathBuf::from(path), protocol)),
        false => Err("must name a Unix socket by its absolute path, such as \
                      unix:/run/tts/tts.sock"
            .to_owned()),
    }
}

/// Whether request validation accepts this path, in exactly this spelling.
pub(crate) fn is_plain(prefix: &str) -> bool {
    let Some(inner) = prefix.strip_prefix('/') else {
        return false;
    };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte);
    let strange = |segment: &str| matches!(segment, "" | "." | "..");
    prefix == "/" || (inner.bytes().all(plain) && !inner.split('/').any(strange))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(upstreams: &Upstreams, path: &str) -> Option<String> {
        let urls = upstreams.route(path)?;
        let url = urls.first()?.to_string();
        Some(url.split_once("://")?.1.to_owned())
    }

    #[test]
    fn one_url_serves_every_path() {
        let one = Upstreams::parse("http://127.0.0.1:8000/").expect("a URL");
        assert_eq!(host(&one, "/any/path").as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(one.describe(), "http://127.0.0.1:8000");
        let grpc = Upstreams::parse("h2c://tts:9000").expect("a URL");
        let urls = grpc.route("/").expect("an upstream");
        assert!(matches!(urls[0], UpstreamUrl::Plain(_, Protocol::Http2)));
        let tls = Upstreams::parse("https://tts.example").expect("a URL");
        assert_eq!(tls.describe(), "https://tts.example");
        assert!(tls.need_tls() && !grpc.need_tls());
        let text = "/a=unix:///run/a.sock h2c+unix:/run/b.sock,/=https://[::1]:8443";
        let sockets = Upstreams::parse(text).expect("sockets");
        assert_eq!(
            sockets.describe(),
            "unix:/run/a.sock h2c+unix:/run/b.sock for /a, https://[::1]:8443"
        );
        let two = Upstreams::parse("http://a:1  http://b:2").expect("two URLs");
        assert_eq!(two.route("/").expect("an upstream").len(), 2);
        assert_eq!(two.describe(), "http://a:1 http://b:2");
        let text = "/ws=h2c://a:1 h2c://b:2, /=http://c:3";
        let both = Upstreams::parse(text).expect("two prefixes");
        assert_eq!(both.describe(), "h2c://a:1 h2c://b:2 for /ws, http://c:3");
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_decides() {
        let text = "/=http://a:1, /ws=http://b:2,/ws/deep=http://c:3";
        let several = Upstreams::parse(text).expect("three entries");
        for (path, expected) in [
            ("/", "a:1"),
            ("/ws", "b:2"),
            ("/ws/", "b:2"),
            ("/ws/x", "b:2"),
            ("/ws2", "a:1"),
            ("/ws/deep", "c:3"),
            ("/ws/deeper", "b:2"),
        ] {
            assert_eq!(host(&several, path).as_deref(), Some(expected), "{path}");
        }
        let partial = Upstreams::parse("/ws=http://b:2,/v1/=http://a:1").expect("two entries");
        assert_eq!(host(&partial, "/other"), None);
        assert_eq!(host(&partial, "/v1/tts").as_deref(), Some("a:1"));
    }

    #[test]
    fn a_listener_cannot_be_its_own_upstream() {
        let upstreams = Upstreams::parse("http://127.0.0.1:8080").expect("a URL");
        for (listener, expected) in [
            ("127.0.0.1:8080", true),
            ("0.0.0.0:8080", true),
            ("127.0.0.1:8081", false),
            ("10.0.0.1:8080", false),
            ("unix:/run/a.sock", false),
        ] {
            let listener = ListenAddress::parse(listener).expect("an address");
            assert_eq!(upstreams.contain(&listener), expected, "{listener}");
        }
        let upstreams = Upstreams::parse("unix:/run/a.sock").expect("a URL");
        let own = ListenAddress::parse("unix:///run/a.sock").expect("an address");
        assert!(upstreams.contain(&own));
    }

    #[test]
    fn all_wrong_entries_are_named_without_their_value() {
        let text = "http://a:1,/x=https://b_*!,/y=http://u:hunter2@c,/z=http://d/path,/z2=ftp://e,/w=http://f:99999,/v=http://a,/v=http://b";
        let problems = Upstreams::parse(text).expect_err("wrong entries");
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 7, "{shown:#?}");
        assert!(shown[0].starts_with("VOXGATE_UPSTREAM, entry 1: must be `prefix=url`"));
        assert!(!shown.concat().contains("hunter2"));
        for wrong in [
            "",
            "tts",
            "tts:80",
            "http://",
            "http://a?b",
            "http:///x",
            "http://a#f",
            "//=http://a",
            "/a/../b=http://a",
            "/a//b=http://a",
            "http://a http://a",
            "/=",
            "https://a/path",
            "https://u:p@a",
            "unix:",
            "unix:run/tts.sock",
            "unix:/run/",
            "unix://run/tts.sock",
        ] {
            assert_eq!(
                Upstreams::parse(wrong).expect_err("not a URL").len(),
                1,
                "{wrong}"
            );
        }
    }
}
