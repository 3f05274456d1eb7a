//! Request validation: a request with two possible meanings is refused.
//!
//! The path that the policy judges must be the path that is served. Gateways were bypassed where it
//! was not
//! (GHSA-p224-6x5r-fjpm, CVE-2019-9901), so an ambiguous path is refused, never
//! normalised.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, Version};

use crate::denial::DenialKind;

/// The checks of a request that run before its credential is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestValidation {
    /// For a server that answers requests itself: the path must be unambiguous.
    #[default]
    Server,
    /// For a proxy: additionally the `Host` rules of RFC 9112 §3.2 and
    /// RFC 9113 §8.3.1, and neither `TRACE` (it would echo the secret that is added on the way)
    /// nor `CONNECT`.
    Proxy,
}

impl RequestValidation {
    pub(crate) fn check(
        self,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<(), DenialKind> {
        if self == Self::Proxy {
            let refused = ["TRACE", "TRACK", "CONNECT"];
            if refused
                .iter()
                .any(|own| own.eq_ignore_ascii_case(method.as_str()))
            {
                return Err(DenialKind::MethodNotAllowed);
            }
            host_is_plain(uri, version, headers)?;
        }
        path_is_unambiguous(uri.path())
    }
}

/// Checks that the path is absolute and that each octet has one meaning (RFC 3986 §3.3, §6.2.2).
fn path_is_unambiguous(path: &str) -> Result<(), DenialKind> {
    let ambiguous = Err(DenialKind::AmbiguousPath);
    let Some(rest) = path.strip_prefix('/') else {
        return ambiguous;
    };
    let bytes = path.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    if !bytes.iter().all(plain) {
        return ambiguous;
    }
    if path.contains('%') {
        for (at, _) in path.match_indices('%') {
            match decode(&bytes[at..]) {
                None | Some(b'/' | b'\\' | b'%' | 0..=0x1f | 0x7f) => return ambiguous,
                Some(_) => {}
            }
        }
    }
    // An empty segment is `//`; only the last may be empty. `..;x` is a dot segment to servers
    // that know path parameters.
    let last = rest.matches('/').count();
    for (index, segment) in rest.split('/').enumerate() {
        let name = segment.split(';').next().unwrap_or_default();
        let name = name.replace("%2e", ".").replace("%2E", ".");
        if name == "." || name == ".." || (segment.is_empty() && index < last) {
            return ambiguous;
        }
    }
    Ok(())
}

/// The octet that `%XX` at the start of `bytes` stands for.
fn decode(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(1)? << 4 | digit(2)?).ok()
}

fn host_is_plain(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), DenialKind> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(plain_authority(host.as_bytes())?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(DenialKind::InvalidHost),
    };
    let target = match uri.authority() {
        Some(authority) => Some(plain_authority(authority.as_str().as_bytes())?),
        None => None,
    };
    match (host, target) {
        (None, None) if version != Version::HTTP_10 => Err(DenialKind::InvalidHost),
        (None, Some(_)) if version == Version::HTTP_11 => Err(DenialKind::InvalidHost),
        (Some(host), Some(target)) if host != target => Err(DenialKind::InvalidHost),
        _ => Ok(()),
    }
}

/// A host with an optional port and nothing else: no path, no userinfo, no list.
fn plain_authority(bytes: &[u8]) -> Result<Authority, DenialKind> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(plain) {
        return Err(DenialKind::InvalidHost);
    }
    let authority = Authority::try_from(bytes).map_err(|_| DenialKind::InvalidHost)?;
    let after_host = &authority.as_str()[authority.host().len()..];
    if authority.host().is_empty() || (!after_host.is_empty() && authority.port_u16().is_none()) {
        return Err(DenialKind::InvalidHost);
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn paths_with_one_reading_pass() {
        for path in [
            "/",
            "/v1/rime-tts",
            "/v1/",
            "/a.b/..c/...",
            "/voice%20one",
            "/tts/v1/voice:stream",
            "/%C3%A9",
        ] {
            assert_eq!(path_is_unambiguous(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "",
            "*",
            "v1",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%252e",
            "/a/..;x/b",
            "/a/%2e%2e;x/b",
            "/a\u{e9}",
            "/a\tb",
        ] {
            assert_eq!(
                path_is_unambiguous(path),
                Err(DenialKind::AmbiguousPath),
                "{path}"
            );
        }
    }

    fn proxy(method: &str, uri: &str, version: Version, hosts: &[&[u8]]) -> Result<(), DenialKind> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host).expect("a header value"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri: Uri = uri.parse().expect("a target");
        RequestValidation::Proxy.check(&method, &uri, version, &headers)
    }

    #[test]
    fn one_plain_host_passes() {
        for host in [
            "a",
            "a:80",
            "tts.example.com",
            "10.0.0.1:8080",
            "[::1]:80",
            "my_service",
        ] {
            let checked = proxy("GET", "/", Version::HTTP_11, &[host.as_bytes()]);
            assert_eq!(checked, Ok(()), "{host}");
        }
        assert_eq!(proxy("GET", "/", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(proxy("GET", "http://a/", Version::HTTP_2, &[]), Ok(()));
        assert_eq!(proxy("GET", "http://a/", Version::HTTP_11, &[b"a"]), Ok(()));
        assert_eq!(proxy("GET", "http://A/", Version::HTTP_11, &[b"a"]), Ok(()));
    }

    #[test]
    fn any_other_host_is_refused() {
        let refused = Err(DenialKind::InvalidHost);
        assert_eq!(proxy("GET", "/", Version::HTTP_11, &[]), refused);
        assert_eq!(proxy("GET", "/", Version::HTTP_11, &[b"a", b"a"]), refused);
        assert_eq!(proxy("GET", "http://a/", Version::HTTP_11, &[]), refused);
        assert_eq!(
            proxy("GET", "http://a/", Version::HTTP_11, &[b"b"]),
            refused
        );
        assert_eq!(proxy("GET", "http://a/", Version::HTTP_2, &[b"b"]), refused);
        let bad: [&[u8]; 14] = [
            b"", b" ", b"a/b", b"a@b", b"a,b", b"a b", b"a:", b"a:x", b"a:80:80", b":80", b"a#",
            b"a?", b"a\\b", b"a:99999",
        ];
        for host in bad {
            assert_eq!(
                proxy("GET", "/", Version::HTTP_11, &[host]),
                refused,
                "{host:?}"
            );
        }
        assert_eq!(
            proxy("GET", "/", Version::HTTP_11, &[&[b'a'; 256]]),
            refused
        );
    }

    #[test]
    fn trace_and_connect_do_not_pass_a_proxy() {
        let refused = Err(DenialKind::MethodNotAllowed);
        assert_eq!(proxy("TRACE", "/", Version::HTTP_11, &[b"a"]), refused);
        assert_eq!(proxy("CONNECT", "a:80", Version::HTTP_11, &[b"a"]), refused);
    }
}
