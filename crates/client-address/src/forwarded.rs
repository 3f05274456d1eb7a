//! The header `Forwarded` (RFC 7239 §4).

use std::borrow::Cow;

/// What one proxy wrote about the request that it received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) node: Option<Cow<'a, str>>,
    pub(crate) proto: Option<Cow<'a, str>>,
    pub(crate) host: Option<Cow<'a, str>>,
}

/// Reads the elements of one line, from left to right. `None` if the line does not follow the grammar:
/// two readers could then cut it into elements in two ways.
pub(crate) fn parse(line: &str) -> Option<Vec<Element<'_>>> {
    let mut rest = Rest(line);
    let mut elements = vec![Element::default()];
    loop {
        rest.skip_space();
        // RFC 7239 §4: pairs and elements may be empty.
        if let Some(name) = rest.token() {
            rest.expect('=')?;
            let value = rest.value()?;
            let element = elements.last_mut()?;
            let field = match name {
                name if name.eq_ignore_ascii_case("for") => &mut element.node,
                name if name.eq_ignore_ascii_case("proto") => &mut element.proto,
                name if name.eq_ignore_ascii_case("host") => &mut element.host,
                _ => &mut None,
            };
            // RFC 7239 §4: each parameter occurs at most once in an element.
            if field.replace(value).is_some() {
                return None;
            }
            rest.skip_space();
        }
        match rest.next() {
            Some(';') => {}
            Some(',') => elements.push(Element::default()),
            Some(_) => return None,
            None => return Some(elements),
        }
    }
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<char> {
        let next = self.0.chars().next()?;
        self.0 = &self.0[next.len_utf8()..];
        Some(next)
    }

    fn expect(&mut self, expected: char) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// A token (RFC 9110 §5.6.2).
    fn token(&mut self) -> Option<&'a str> {
        let is_of_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let end = self.0.bytes().position(|byte| !is_of_token(byte));
        let (token, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token or a quoted string (RFC 9110 §5.6.4).
    fn value(&mut self) -> Option<Cow<'a, str>> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map(Cow::Borrowed);
        };
        self.0 = quoted;
        let mut value = String::new();
        loop {
            match self.next()? {
                '"' => return Some(Cow::Owned(value)),
                '\\' => value.push(self.next()?),
                other => value.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(line: &str) -> Option<Vec<Option<String>>> {
        let elements = parse(line)?.into_iter();
        Some(
            elements
                .map(|element| element.node.map(Cow::into_owned))
                .collect(),
        )
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (line, expected) in [
            ("for=\"_gazonk\"", &[Some("_gazonk")][..]),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                &[Some("[2001:db8:cafe::17]:4711")],
            ),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                &[Some("192.0.2.60")],
            ),
            (
                "for=192.0.2.43, for=198.51.100.17",
                &[Some("192.0.2.43"), Some("198.51.100.17")],
            ),
            ("for=192.0.2.43,by=_x", &[Some("192.0.2.43"), None]),
            ("for=\"a,for=b\"", &[Some("a,for=b")]),
            ("for=\"a\\\"b\"", &[Some("a\"b")]),
            ("", &[None]),
            (";,for=a;;", &[None, Some("a")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|node| node.map(str::to_owned))
                .collect();
            assert_eq!(nodes(line), Some(expected), "{line}");
        }
        let all = parse("host=\"a:80\";proto=https;for=b;ext=1").expect("one element");
        assert_eq!(all[0].host.as_deref(), Some("a:80"));
        assert_eq!(all[0].proto.as_deref(), Some("https"));
    }

    #[test]
    fn what_can_be_cut_in_two_ways_is_not_read() {
        for line in [
            "for=\"a",
            "for=\"a\\",
            "for=\"a\"b",
            "for=",
            "for",
            "for =a",
            "for= a",
            "=a",
            "for=a b",
            "for=a;for=b",
            "for=2001:db8::1",
            "for=a\u{e9}",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
