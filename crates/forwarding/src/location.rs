//! Answers that name the upstream's address.
//!
//! A server that builds absolute URLs from its `Host` header names its own address in them. Clients
//! cannot reach it, and should not learn it. The URL is made relative, so that it is the gateway's
//! (RFC 9110 §10.2.2, §8.7).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderValue};

/// Makes `Location` and `Content-Location` relative when they name the upstream.
pub(super) fn hide_upstream(headers: &mut HeaderMap, is_upstream: impl Fn(&str) -> bool) {
    for name in [LOCATION, CONTENT_LOCATION] {
        let value = headers.get(&name).and_then(|value| value.to_str().ok());
        let relative = value.and_then(|value| relative(value, &is_upstream));
        if let Some(relative) = relative.and_then(|path| HeaderValue::from_str(&path).ok()) {
            headers.insert(name, relative);
        }
    }
}

/// The URL without scheme and authority, if it names the upstream.
fn relative(url: &str, is_upstream: impl Fn(&str) -> bool) -> Option<String> {
    let (scheme, rest) = url.split_once("//")?;
    let is_http = ["", "http:", "https:"]
        .iter()
        .any(|own| scheme.eq_ignore_ascii_case(own));
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // What stands before the `@` is not part of the address.
    let address = authority.rsplit('@').next().unwrap_or(authority);
    if !is_http || !is_upstream(address) {
        return None;
    }
    // A path that begins with two slashes would be read as an authority (RFC 3986 §4.2). Browsers read
    // backslashes as slashes.
    let mut bytes = path.bytes();
    let is_slash = |byte: Option<u8>| matches!(byte, Some(b'/' | b'\\'));
    Some(match (bytes.next(), is_slash(bytes.next())) {
        (Some(b'/'), false) => path.to_owned(),
        (Some(b'/' | b'\\'), _) => format!("/.{path}"),
        _ => format!("/{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_the_upstream_becomes_relative() {
        for (url, expected) in [
            ("http://tts:8000/v1/x?a=b#c", Some("/v1/x?a=b#c")),
            ("HTTP://tts:8000", Some("/")),
            ("https://tts:8000?a", Some("/?a")),
            ("//tts:8000/x", Some("/x")),
            ("http://user@tts:8000/x", Some("/x")),
            // A client must not read the path as another host.
            (
                "http://tts:8000//evil.example/x",
                Some("/.//evil.example/x"),
            ),
            ("http://tts:8000/\\evil.example", Some("/./\\evil.example")),
            ("http://tts:8000\\evil.example", Some("/.\\evil.example")),
            ("http://other:8000/x", None),
            ("http://other/?next=http://tts:8000/", None),
            ("ftp://tts:8000/x", None),
            ("/x", None),
            ("x//tts:8000", None),
            ("", None),
        ] {
            let found = relative(url, |address| address == "tts:8000");
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }
}
