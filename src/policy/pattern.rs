//! Patterns of paths.

use percent_encoding::percent_decode_str;

/// Compares decoded segments: `%C3%A9` equals `%c3%a9`, and `%3A` equals `:`. Request validation
/// has already refused encoded slashes and percent signs.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut segments = path.split('/');
    let mut wanted = pattern.split('/').peekable();
    while let Some(want) = wanted.next() {
        if want == "*" && wanted.peek().is_none() {
            return segments.next().is_some_and(|rest| !rest.is_empty());
        }
        match segments.next() {
            Some(segment) if same(segment, want) => {}
            Some(segment) if name_of(want).is_some() && !segment.is_empty() => {}
            _ => return false,
        }
    }
    segments.next().is_none()
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

/// Returns the name in a pattern segment of the form `{name}`.
pub(super) fn name_of(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Whether `pattern` has a parameter of this name.
pub(super) fn has_parameter(pattern: &str, name: &str) -> bool {
    pattern
        .split('/')
        .any(|segment| name_of(segment) == Some(name))
}

/// Whether any path can match this pattern. `*` must be the whole pattern or its last segment, and
/// `{name}` must be a whole segment.
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
    inner.is_ascii() && codes_are_whole(inner) && inner.split('/').enumerate().all(fits)
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
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
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
