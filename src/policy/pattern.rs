//! Patterns of paths.

use percent_encoding::percent_decode_str;

/// What `{name%2F}` has after its name.
const ENCODED_SLASH: &str = "%2F";

/// Compares decoded segments: `%C3%A9` equals `%c3%a9`, and `%3A` equals `:`. Only `{name%2F}`
/// matches a segment with an encoded slash. Request validation has already refused encoded percent
/// signs.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    if pattern == "*" {
        return !has_encoded_slash(path);
    }
    plain_match(pattern, path).unwrap_or_else(|| matches_by_segment(pattern, path))
}

/// Whether they match, if that shows before a parameter, `*` or an encoded character.
fn plain_match(pattern: &str, path: &str) -> Option<bool> {
    let mut bytes = path.bytes();
    for wanted in pattern.bytes() {
        match bytes.next() {
            _ if matches!(wanted, b'{' | b'*' | b'%') => return None,
            Some(b'%') => return None,
            Some(byte) if byte == wanted => {}
            _ => return Some(false),
        }
    }
    match bytes.next() {
        Some(b'%') => None,
        rest => Some(rest.is_none()),
    }
}

fn matches_by_segment(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let mut wanted = pattern.split('/').peekable();
    while let Some(want) = wanted.next() {
        if want == "*" && wanted.peek().is_none() {
            let is_first = segments
                .next()
                .is_some_and(|first| !first.is_empty() && !has_encoded_slash(first));
            return is_first && !segments.any(has_encoded_slash);
        }
        match segments.next() {
            Some(segment) if same(segment, want) => {}
            Some(segment) if is_parameter_for(want, segment) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

fn is_parameter_for(want: &str, segment: &str) -> bool {
    let may_be = || !has_encoded_slash(segment) || want.ends_with("%2F}");
    name_of(want).is_some() && !segment.is_empty() && may_be()
}

/// Whether the text contains `%2F` in either case.
fn has_encoded_slash(text: &str) -> bool {
    text.contains("%2F") || text.contains("%2f")
}

/// The path as a server reads it that decodes slashes before it looks for a route.
pub(super) fn with_decoded_slashes(path: &str) -> String {
    path.replace("%2F", "/").replace("%2f", "/")
}

fn same(one: &str, other: &str) -> bool {
    one == other || percent_decode_str(one).eq(percent_decode_str(other))
}

/// How specific a pattern is. Patterns that match the same path are compared by segment: a literal
/// segment is more specific than `{name}`, and `{name}` is more specific than the rest of a path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Specificity(Vec<SegmentKind>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SegmentKind {
    Rest,
    Parameter,
    Literal,
}

impl Specificity {
    pub(crate) fn of(pattern: &str) -> Self {
        let kind = |segment| match segment {
            "*" => SegmentKind::Rest,
            _ if name_of(segment).is_some() => SegmentKind::Parameter,
            _ => SegmentKind::Literal,
        };
        Self(pattern.split('/').map(kind).collect())
    }
}

/// Returns the name in a pattern segment of the form `{name}` or `{name%2F}`.
pub(super) fn name_of(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.strip_suffix(ENCODED_SLASH).unwrap_or(name))
}

/// Whether `pattern` has a parameter of this name.
pub(super) fn has_parameter(pattern: &str, name: &str) -> bool {
    pattern
        .split('/')
        .any(|segment| name_of(segment) == Some(name))
}

/// Whether any path can match this pattern. `*` must be the whole pattern or its last segment, and
/// `{name}` and `{name%2F}` must be a whole segment.
pub(super) fn can_match(pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some(inner) = pattern.strip_prefix('/') else {
        return false;
    };
    let last = inner.split('/').count() - 1;
    let plain = |segment: &str| {
        !segment.contains(['*', '{', '}', '?', '#', ';', '\\']) && !matches!(segment, "." | "..")
    };
    let fits = |(index, segment): (usize, &str)| match (segment, name_of(segment)) {
        ("" | "*", _) => index == last,
        (_, Some(name)) => !name.is_empty() && plain(name),
        (_, None) => plain(segment),
    };
    let codes = inner.replace("%2F}", "}");
    inner.is_ascii() && codes_are_whole(&codes) && inner.split('/').enumerate().all(fits)
}

/// Whether every `%` starts a valid code of a character that a path may contain encoded.
fn codes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let code = rest
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_some_and(|byte| !byte.is_ascii_control() && !b"/\\%".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, path, expected) in [
            ("/v1/rime-tts", "/v1/rime-tts", true),
            ("/v1/rime-tts", "/v1/rime%2Dtts", true),
            ("/v1/rime-tts", "/v1/rime-tts/", false),
            ("/v1/rime-tts", "/v1/Rime-TTS", false),
            ("/v1/{voice}/stream", "/v1/a/stream", true),
            ("/v1/{voice}/stream", "/v1//stream", false),
            ("/v1/{voice}", "/v1/a/b", false),
            ("/data/voices/*", "/data/voices/a.json", true),
            ("/data/voices/*", "/data/voices/a/b", true),
            ("/data/voices/*", "/data/voices/", false),
            ("/data/voices/*", "/data/voices", false),
            ("/*", "/", false),
            ("/", "/", true),
            ("*", "/any/path", true),
            ("/caf%C3%A9", "/caf%c3%a9", true),
            ("/a:b", "/a%3Ab", true),
            ("/%70remium", "/premium", true),
            ("/v1/models/{model%2F}", "/v1/models/org%2Fmodel", true),
            ("/v1/models/{model%2F}", "/v1/models/org%2fmodel%2Fv2", true),
            ("/v1/models/{model%2F}", "/v1/models/model", true),
            ("/v1/models/{model%2F}", "/v1/models/", false),
            ("/v1/models/{model%2F}", "/v1/models/org/model", false),
            ("/v1/{a%2F}/{b}", "/v1/x%2Fy/z", true),
            ("/v1/{a%2F}/{b}", "/v1/x/y%2Fz", false),
            ("/v1/models/{model}", "/v1/models/org%2Fmodel", false),
            ("/v1/models/*", "/v1/models/org%2Fmodel", false),
            ("/v1/models/*", "/v1/models/a/org%2fmodel", false),
            ("*", "/v1/models/org%2Fmodel", false),
            ("/a", "/%2Fa", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn what_shows_early_is_what_the_segments_say(
            pattern in "(/(a|b|%61|[{]c[}]|[{]c%2F[}]|[*])?){1,3}",
            path in "(/(a|b|ab|%61|%2F|[{]|[*])?){1,3}",
        ) {
            if let Some(plain) = plain_match(&pattern, &path) {
                prop_assert_eq!(plain, matches_by_segment(&pattern, &path));
            }
        }
    }

    #[test]
    fn patterns_are_ordered_by_specificity() {
        let patterns = ["*", "/*", "/a/*", "/a/{b}", "/a/b/*", "/a/b/c"];
        assert!(patterns.is_sorted_by_key(|pattern| Specificity::of(pattern)));
        assert_eq!(Specificity::of("/a/{b}"), Specificity::of("/c/{d}"));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_detected() {
        for (pattern, expected) in [
            ("*", true),
            ("/", true),
            ("/a/*", true),
            ("/a/", true),
            ("/a/{b}/c", true),
            ("/a/{b%2F}/c", true),
            ("/a/{b%2f}/c", false),
            ("/a/{%2F}", false),
            ("/a/{b%2Fc}", false),
            ("/a/b%2F", false),
            ("/a%20b", true),
            ("a", false),
            ("/a*", false),
            ("/*/a", false),
            ("/x-{a}", false),
            ("/{}", false),
            ("/a?b", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/a%2fb", false),
            ("/a%", false),
        ] {
            assert_eq!(can_match(pattern), expected, "{pattern}");
        }
    }
}
