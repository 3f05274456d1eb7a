//! The target of a request: its scheme, and a path that can be read in only one way.

use http::{Method, Uri};

use voxgate_core::denial::DenialKind;

/// Checks the form of the target as the client wrote it (RFC 9112 §3.2): `http` or `https` if there
/// is a scheme, and a path that begins with `/`. `http` reads the path of `?query` as `/`, and
/// another server need not.
pub(super) fn check_form(uri: &Uri) -> Result<(), DenialKind> {
    let known = |scheme: &str| {
        ["http", "https"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(scheme))
    };
    if !uri.scheme_str().is_none_or(known) {
        return Err(DenialKind::InvalidScheme);
    }
    let written = uri.path_and_query().map(|target| target.as_str());
    match written.is_some_and(|target| target.starts_with('?')) {
        true => Err(DenialKind::AmbiguousPath),
        false => Ok(()),
    }
}

/// Whether the request asks about the server as a whole: `OPTIONS *` (RFC 9110 §9.3.7).
pub(super) fn is_server_wide_options(method: &Method, uri: &Uri) -> bool {
    method == Method::OPTIONS && uri.path() == "*" && uri.query().is_none()
}

/// Checks that the path is absolute and that each octet has one meaning (RFC 3986 §3.3, §6.2.2).
pub(super) fn path_is_unambiguous(path: &str) -> Result<(), DenialKind> {
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
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return ambiguous;
        }
        let may_be_dots = segment.starts_with(['.', '%']);
        if may_be_dots && is_dot_segment(segment.split(';').next().unwrap_or_default()) {
            return ambiguous;
        }
    }
    Ok(())
}

/// Whether the segment is `.` or `..`, with its dots encoded or not.
fn is_dot_segment(segment: &str) -> bool {
    let rest = after_dot(segment);
    rest.is_some_and(|rest| rest.is_empty() || after_dot(rest) == Some(""))
}

fn after_dot(text: &str) -> Option<&str> {
    let encoded = || {
        text.strip_prefix("%2e")
            .or_else(|| text.strip_prefix("%2E"))
    };
    text.strip_prefix('.').or_else(encoded)
}

/// The octet that `%XX` at the start of `bytes` stands for.
fn decode(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(1)? << 4 | digit(2)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
