//! The upstreams, and the route of a request to one of them.

use std::net::SocketAddr;

use http::Uri;
use http::uri::{Authority, Scheme};
use voxgate::Problem;

use super::settings::UPSTREAM;

/// One TTS server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) authority: Authority,
    /// Uses only HTTP/2 (`h2c://`), with prior knowledge.
    pub(crate) http2: bool,
}

/// The TTS servers behind the gateway, each with its path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstreams(Vec<(String, Upstream)>);

impl Upstreams {
    /// Reads `url`, or a comma-separated list of `prefix=url`.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut routes: Vec<(String, Upstream)> = Vec::new();
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
                        "has the same prefix as another entry; remove one of them",
                    ));
                }
                Ok(route) => routes.push(route),
                Err(message) => problems.push(Problem::new(place, message)),
            }
        }
        // The longest prefix that matches decides.
        routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if problems.is_empty() {
            Ok(Self(routes))
        } else {
            Err(problems)
        }
    }

    /// The upstream with the longest prefix of whole segments that `path` begins with.
    pub(crate) fn route(&self, path: &str) -> Option<&Upstream> {
        let mut routes = self.0.iter();
        let found = routes.find(|(prefix, _)| match path.strip_prefix(prefix.as_str()) {
            Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
            None => false,
        });
        found.map(|(_, upstream)| upstream)
    }

    /// Whether one of the upstreams is `listener`, so that requests would loop.
    pub(crate) fn contain(&self, listener: SocketAddr) -> bool {
        let addresses = self
            .0
            .iter()
            .filter_map(|(_, upstream)| upstream.authority.as_str().parse().ok());
        addresses.into_iter().any(|upstream: SocketAddr| {
            let everywhere = listener.ip().is_unspecified() && upstream.ip().is_loopback();
            upstream.port() == listener.port() && (upstream.ip() == listener.ip() || everywhere)
        })
    }

    /// Describes the upstreams for people.
    pub(crate) fn describe(&self) -> String {
        let one = |(prefix, upstream): &(String, Upstream)| {
            let scheme = if upstream.http2 { "h2c" } else { "http" };
            let url = format!("{scheme}://{}", upstream.authority);
            if prefix == "/" {
                url
            } else {
                format!("{url} for {prefix}")
            }
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn parse_entry(entry: &str, needs_prefix: bool) -> Result<(String, Upstream), String> {
    let (prefix, url) = match entry.split_once('=') {
        Some((prefix, url)) if prefix.starts_with('/') => (prefix.trim(), url.trim()),
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
    // `Uri` would silently drop a fragment. The value is not shown, because a URL can contain a
    // password.
    let wrong = "must be a URL such as http://127.0.0.1:8000";
    let uri = Some(url)
        .filter(|url| !url.contains('#'))
        .and_then(|url| url.parse::<Uri>().ok());
    let uri = uri.ok_or_else(|| wrong.to_owned())?;
    let authority = uri.authority().cloned().ok_or_else(|| wrong.to_owned())?;
    let http2 = match uri.scheme().map(Scheme::as_str) {
        Some("http") => false,
        Some("h2c") => true,
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
    Ok((prefix.to_owned(), Upstream { authority, http2 }))
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
        let upstream = upstreams.route(path)?;
        Some(upstream.authority.to_string())
    }

    #[test]
    fn one_url_serves_every_path() {
        let one = Upstreams::parse("http://127.0.0.1:8000/").expect("a URL");
        assert_eq!(host(&one, "/any/path").as_deref(), Some("127.0.0.1:8000"));
        assert_eq!(one.describe(), "http://127.0.0.1:8000");
        let grpc = Upstreams::parse("h2c://tts:9000").expect("a URL");
        assert!(grpc.route("/").expect("an upstream").http2);
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
        ] {
            assert_eq!(
                Upstreams::parse(wrong).expect_err("not a URL").len(),
                1,
                "{wrong}"
            );
        }
    }
}
