//! Request validation: a request with two possible meanings is refused.
//!
//! The path that the policy judges must be the path that is served. Gateways were bypassed where it
//! was not
//! (GHSA-p224-6x5r-fjpm, CVE-2019-9901), so an ambiguous path is refused, never
//! normalised.

mod fields;
mod host;
mod target;

use http::{HeaderMap, Method, Uri, Version};

use voxgate_core::denial::DenialKind;

/// The checks of a request that run before its credential is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestValidation {
    /// For a server that answers requests itself: the path must be unambiguous.
    #[default]
    Server,
    /// For a proxy: additionally
    ///
    /// - the `Host` rules of RFC 9112 §3.2 and RFC 9113 §8.3.1, and the scheme `http` or `https`;
    /// - neither `TRACE` (it would echo the secret that is added on the way) nor `CONNECT`;
    /// - no header value that begins or ends with a space or a tab (RFC 9113 §8.2.1);
    /// - one `Content-Length` at most, in the one form of RFC 9110 §8.6 without leading zeros;
    /// - no `Transfer-Encoding` but `chunked` (RFC 9112 §6.1).
    Proxy,
    /// As [`Proxy`](Self::Proxy). Additionally, a request with a header name that servers confuse
    /// with another is refused: a name may consist of letters, digits and `-`.
    StrictProxy,
}

impl RequestValidation {
    /// `allows_encoded_slashes` is asked only about a path that has them.
    pub(crate) fn check(
        self,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        allows_encoded_slashes: impl FnOnce() -> bool,
    ) -> Result<(), DenialKind> {
        if self == Self::Server {
            return target::path_is_unambiguous(uri.path(), allows_encoded_slashes);
        }
        let refused = ["TRACE", "TRACK", "CONNECT"];
        if refused
            .iter()
            .any(|own| own.eq_ignore_ascii_case(method.as_str()))
        {
            return Err(DenialKind::MethodNotAllowed);
        }
        host::check(uri, version, headers)?;
        target::check_form(uri)?;
        if !target::is_server_wide_options(method, uri) {
            target::path_is_unambiguous(uri.path(), allows_encoded_slashes)?;
        }
        if self == Self::StrictProxy {
            fields::check_names(headers)?;
        }
        fields::check(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HOST;

    fn proxy(method: &str, uri: &str, version: Version, hosts: &[&[u8]]) -> Result<(), DenialKind> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host).expect("a header value"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri: Uri = uri.parse().expect("a target");
        RequestValidation::Proxy.check(&method, &uri, version, &headers, || false)
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

    #[test]
    fn a_target_has_a_known_scheme_and_a_path() {
        for uri in ["http://a/", "https://a/", "HTTP://a/", "http://a"] {
            assert_eq!(proxy("GET", uri, Version::HTTP_2, &[]), Ok(()), "{uri}");
        }
        for uri in ["ftp://a/", "ws://a/", "x://a/"] {
            let refused = Err(DenialKind::InvalidScheme);
            assert_eq!(proxy("GET", uri, Version::HTTP_2, &[]), refused, "{uri}");
        }
        let refused = Err(DenialKind::AmbiguousPath);
        assert_eq!(proxy("GET", "http://a?x", Version::HTTP_2, &[]), refused);
        assert_eq!(proxy("GET", "*", Version::HTTP_11, &[b"a"]), refused);
        assert_eq!(proxy("OPTIONS", "*", Version::HTTP_11, &[b"a"]), Ok(()));
        assert_eq!(proxy("OPTIONS", "/", Version::HTTP_11, &[b"a"]), Ok(()));
    }
}
