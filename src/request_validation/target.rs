//! The target of a request: its scheme, and a path that can be read in only one way.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

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
/// `allows_slashes` is asked about a path with encoded slashes in it that is good otherwise.
pub(super) fn path_is_unambiguous(
    path: &str,
    allows_slashes: impl FnOnce() -> bool,
) -> Result<(), DenialKind> {
    let ambiguous = Err(DenialKind::AmbiguousPath);
    let Some(rest) = path.strip_prefix('/') else {
        return ambiguous;
    };
    let bytes = path.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    if !bytes.iter().all(plain) {
        return ambiguous;
    }
    let mut has_slash = false;
    if path.contains('%') {
        for (at, _) in path.match_indices('%') {
            match decode(&bytes[at..]) {
                None | Some(b'\\' | b'%' | 0..=0x1f | 0x7f) => return ambiguous,
                Some(b'/') => has_slash = true,
                Some(first) if is_overlong(first, &bytes[at + 3..]) => return ambiguous,
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
        if is_dot_segment_with_parameters(segment) {
            return ambiguous;
        }
    }
    match has_slash && !(slashes_are_unambiguous(rest) && allows_slashes()) {
        true => ambiguous,
        false => Ok(()),
    }
}

/// Whether the path has the same meaning for servers that decode `%2F` before they split the path,
/// except for the number of its segments: no part is empty or a dot segment.
fn slashes_are_unambiguous(path: &str) -> bool {
    let has_slash = |segment: &&str| segment.contains("%2F") || segment.contains("%2f");
    let mut segments = path.split('/').filter(has_slash);
    let is_part = |part: &str| !part.is_empty() && !is_dot_segment_with_parameters(part);
    let is_text = |part: &str| percent_decode_str(part).decode_utf8().is_ok();
    segments.all(|segment| {
        let mut parts = segment.split("%2F").flat_map(|part| part.split("%2f"));
        is_text(segment) && parts.all(is_part)
    })
}

/// Whether an encoded octet and the next one are the start of an overlong form of UTF-8 (RFC 3629
/// §3). Some decoders read `%C0%AF` as `/` and `%C0%AE` as a dot.
fn is_overlong(first: u8, rest: &[u8]) -> bool {
    let next = || {
        rest.first()
            .filter(|byte| **byte == b'%')
            .and_then(|_| decode(rest))
    };
    match first {
        0xc0 | 0xc1 => next().is_some_and(|byte| (0x80..=0xbf).contains(&byte)),
        0xe0 => next().is_some_and(|byte| (0x80..=0x9f).contains(&byte)),
        0xf0 => next().is_some_and(|byte| (0x80..=0x8f).contains(&byte)),
        _ => false,
    }
}

/// Whether the segment is `.` or `..`, with or without parameters (`..;x`), also if its `;` is
/// encoded.
fn is_dot_segment_with_parameters(segment: &str) -> bool {
    if !segment.starts_with(['.', '%']) {
        return false;
    }
    let name = segment.split(';').next().unwrap_or_default();
    let parts = name.split("%3B").next().unwrap_or_default();
    is_dot_segment(parts.split("%3b").next().unwrap_or_default())
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
            // Latin-1, and UTF-8 of three and four octets.
            "/%C0%41/%E9",
            "/%E2%82%AC/%F0%9F%8E%99",
        ] {
            assert_eq!(path_is_unambiguous(path, || false), Ok(()), "{path}");
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
            "/a/.;x",
            "/a/..%3bx",
            "/a/%2e%3B",
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
            "/a%c0%afb",
            "/a/%C0%AE%c0%ae/b",
            "/a%E0%80%AFb",
            "/a%f0%80%80%afb",
            "/a\tb",
        ] {
            assert_eq!(
                path_is_unambiguous(path, || false),
                Err(DenialKind::AmbiguousPath),
                "{path}"
            );
        }
    }

    #[test]
    fn an_encoded_slash_passes_where_it_is_allowed() {
        for path in [
            "/v1/models/org%2Fmodel",
            "/v1/models/org%2fmodel%2Fv1.0",
            "/v1/models/caf%C3%A9%2Fmodel/x",
            "/v1/models/.org%2F..model",
        ] {
            assert_eq!(path_is_unambiguous(path, || true), Ok(()), "{path}");
            let refused = Err(DenialKind::AmbiguousPath);
            assert_eq!(path_is_unambiguous(path, || false), refused, "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_does_not_hide_another_path() {
        for path in [
            "/a%2F..%2Fb",
            "/a%2f%2e%2E%2Fb",
            "/a/%2e%2e%2Fb",
            "/a/..%2fb",
            "/a/.%2fb",
            "/a/b%2F..",
            "/a/b%2F%2e",
            "/a/b%2F..;x%2Fc",
            "/a/b%2F%2Fc",
            "/a/b%2F",
            "/a/%2Fb",
            "/%2F",
            "/a/b%252Fc%2Fd",
            "/a/b%252F%2F..",
            "/a/b%2F%5C..",
            "/a/b%2F%00",
            "/a/b%2F%c0%ae%c0%ae",
            "/a/b%2F%ff",
            "/a/b%2",
            "/a/b%2Fc/../d",
            "/a//b%2Fc",
        ] {
            let refused = Err(DenialKind::AmbiguousPath);
            assert_eq!(path_is_unambiguous(path, || true), refused, "{path}");
        }
    }
}
