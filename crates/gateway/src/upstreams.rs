//! The upstreams, and the route of a request to one of them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::Semaphore;
use voxgate::Problem;
use voxgate_upstream::{Protocol, Server, Settings, Upstream};

use super::proxy::ForwardedBody;
use super::settings::UPSTREAM;

/// The URL of one TTS server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    authority: Authority,
    /// `h2c://` means HTTP/2 with prior knowledge.
    protocol: Protocol,
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
        workers: usize,
        permits: &Arc<Semaphore>,
    ) -> Routes {
        let settings = Arc::new(settings);
        let upstream = |urls: &Vec<UpstreamUrl>| {
            let server = |url: &UpstreamUrl| Server::new(url.authority.clone(), url.protocol);
            let servers = urls.iter().filter_map(server).collect();
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
    pub(crate) fn contain(&self, listener: SocketAddr) -> bool {
        let urls = self.iter().flatten();
        let mut addresses = urls.filter_map(|url| url.authority.as_str().parse().ok());
        addresses.any(|upstream: SocketAddr| {
            let everywhere = listener.ip().is_unspecified() && upstream.ip().is_loopback();
            upstream.port() == listener.port() && (upstream.ip() == listener.ip() || everywhere)
        })
    }

    /// Describes the upstreams for people.
    pub(crate) fn describe(&self) -> String {
        let url = |url: &UpstreamUrl| {
            let scheme = match url.protocol {
                Protocol::Http1 => "http",
                Protocol::Http2 => "h2c",
            };
            format!("{scheme}://{}", url.authority)
        };
        let one = |(prefix, urls): &(String, Vec<UpstreamUrl>)| {
            let urls: Vec<String> = urls.iter().map(url).collect();
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
    let uri = Some(url)
        .filter(|url| !url.contains('#'))
        .and_then(|url| url.parse::<Uri>().ok());
    let uri = uri.ok_or_else(|| wrong.to_owned())?;
    let authority = uri.authority().cloned().ok_or_else(|| wrong.to_owned())?;
    let protocol = match uri.scheme().map(Scheme::as_str) {
        Some("http") => Protocol::Http1,
        Some("h2c") => Protocol::Http2,
        Some("https") => {
            return Err(
                "is an https URL, and TLS to the TTS server is not supported yet; \
                        put the gateway beside it and use http://"
                    .to_owned(),
            );
        }
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
    Ok(UpstreamUrl {
        authority,
        protocol,
    })
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
        Some(urls.first()?.authority.to_string())
    }

    #[test]
    fn one_url_serves_every_path() {
        let one = Upstreams::parse("http://127.0.0.1:8000/").expect("a URL");
        assert_eq!(host(&one, "/any/path").as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(one.describe(), "http://127.0.0.1:8000");
        let grpc = Upstreams::parse("h2c://tts:9000").expect("a URL");
        let urls = grpc.route("/").expect("an upstream");
        assert_eq!(urls[0].protocol, Protocol::Http2);
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
        ] {
            let listener = listener.parse().expect("an address");
            assert_eq!(upstreams.contain(listener), expected, "{listener}");
        }
    }

    #[test]
    fn all_wrong_entries_are_named_without_their_value() {
        let text = "http://a:1,/x=https://b,/y=http://u:hunter2@c,/z=http://d/path,/z2=ftp://e,/w=http://f:99999,/v=http://a,/v=http://b";
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
        ] {
            assert_eq!(
                Upstreams::parse(wrong).expect_err("not a URL").len(),
                1,
                "{wrong}"
            );
        }
    }
}
