//! `tracestate`: a list of what tracing systems keep (W3C Trace Context §3.3).

use http::{HeaderMap, HeaderValue};
use voxgate_core::trace::TRACESTATE;

/// §3.3.1.1: a list has at most 32 members.
const MOST_MEMBERS: usize = 32;

/// Whether the lists of all lines together are a valid list, which is sent on as it is. The
/// specification lets a list with a fault be dropped as a whole (§3.3.1.5).
pub(crate) fn is_valid(headers: &HeaderMap) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    let lines = headers.get_all(TRACESTATE);
    let members = lines.iter().map(HeaderValue::as_bytes);
    for member in members.flat_map(|line| line.split(|byte| *byte == b',')) {
        let member = member.trim_ascii();
        // Empty members are allowed, because HTTP allows empty elements of lists.
        if member.is_empty() {
            continue;
        }
        let Some(at) = member.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (key, value) = (&member[..at], &member[at + 1..]);
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MOST_MEMBERS {
            return false;
        }
        keys.push(key);
    }
    true
}

/// A name, or a tenant and a system with `@` between them, as Level 1 has it (§3.3.1.3.1).
fn is_key(key: &[u8]) -> bool {
    let other = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &[u8], most, digits: bool| {
        let first = |byte: &u8| byte.is_ascii_lowercase() || (digits && byte.is_ascii_digit());
        name.len() <= most && name.first().is_some_and(first) && name.iter().all(other)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, 256, false),
        Some(at) => is_name(&key[..at], 241, true) && is_name(&key[at + 1..], 14, false),
    }
}

/// Printable ASCII without commas and `=`, which does not end with a space (§3.3.1.3.2).
fn is_value(value: &[u8]) -> bool {
    let is_of_value = |byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(byte);
    (1..=256).contains(&value.len()) && value.iter().all(is_of_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                TRACESTATE,
                HeaderValue::from_bytes(line.as_bytes()).expect("a value"),
            );
        }
        is_valid(&headers)
    }

    /// The cases of the test suite of W3C Trace Context (`test_tracestate_*`).
    #[test]
    fn a_list_is_valid_as_the_specification_says() {
        let many = |count| {
            let members: Vec<String> = (0..count).map(|n| format!("bar{n:02}=1")).collect();
            members.join(",")
        };
        let long = |length: usize| "z".repeat(length);
        for good in [
            &["foo=1"][..],
            &["foo=1,bar=2"],
            &["foo=1", "bar=2"],
            &["foo=1 \t , \t bar=2, \t baz=3"],
            &["foo=1,"],
            &["", "foo=1"],
            &["foo=1", ""],
            &["fw529a3039@dt=1"],
            &["0t@sys=1,a_-*/9=1"],
            &[&many(32)],
            &[&format!("{}=1", long(256))],
            &[&format!("{}@{}=1", long(241), long(14))],
            &[&format!("foo={}", long(256))],
            &["foo= 1 2"],
        ] {
            assert!(valid(good), "{good:?}");
        }
        for wrong in [
            &["foo"][..],
            &["foo "],
            &["foo=1;bar=2"],
            &["foo=1,bar"],
            &["foo@=1"],
            &["@foo=1"],
            &["foo@@bar=1"],
            &["foo@bar@baz=1"],
            &["FOO=1"],
            &["foo.bar=1"],
            &["foo =1"],
            &["9foo=1"],
            &["foo="],
            &["foo==1"],
            &["foo=bar=baz"],
            &["foo=1", "foo=2"],
            &["foo=1,foo=1"],
            &["foo=\u{e9}"],
            &[&many(33)],
            &[&format!("{}=1", long(257))],
            &[&format!("{}@v=1", long(242))],
            &[&format!("t@{}=1", long(15))],
            &[&format!("foo={}", long(257))],
        ] {
            assert!(!valid(wrong), "{wrong:?}");
        }
    }
}
