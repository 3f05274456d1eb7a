//! Credentials in the query of a URL.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::{percent_decode, percent_decode_str};

use voxgate_core::denial::DenialKind;

/// The value of the parameter `name`, percent-decoded. Some clients do not encode their key, so
/// that an invalid percent-encoding is kept unchanged.
pub(super) fn value<'a>(
    query: Option<&'a str>,
    name: &str,
) -> Result<Option<Cow<'a, [u8]>>, DenialKind> {
    let mut values = parameters(query).filter(|parameter| is_named(parameter, name));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(parameter), None) => match parameter.split_once('=') {
            Some((_, value)) if !value.is_empty() => Ok(Some(percent_decode_str(value).into())),
            _ => Err(DenialKind::MalformedCredential),
        },
        (Some(_), Some(_)) => Err(DenialKind::ConflictingCredentials),
    }
}

/// Passes the value of each parameter `name` to `found`, percent-decoded.
pub(super) fn each_value(query: Option<&str>, name: &str, found: &mut dyn FnMut(&[u8])) {
    for parameter in parameters(query).filter(|parameter| is_named(parameter, name)) {
        if let Some((_, value)) = parameter.split_once('=') {
            let value: Cow<'_, [u8]> = percent_decode_str(value).into();
            found(&value);
        }
    }
}

/// Removes every parameter `name`, in any case.
pub(super) fn remove(uri: &mut Uri, name: &str) {
    remove_if(uri, |parameter| {
        let given = parameter.split('=').next().unwrap_or_default();
        let given: Vec<u8> = percent_decode_str(given).collect();
        given.eq_ignore_ascii_case(name.as_bytes())
    });
}

/// Removes every parameter whose value, or name, is the secret.
pub(super) fn remove_values(uri: &mut Uri, is_secret: impl Fn(&[u8]) -> bool) {
    remove_if(uri, |parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        [name, value].into_iter().any(|text| {
            let text: Cow<'_, [u8]> = percent_decode_str(text).into();
            is_secret(&text)
        })
    });
}

/// Removes parameters. All others keep their bytes and their order.
fn remove_if(uri: &mut Uri, unwanted: impl Fn(&str) -> bool) {
    if !parameters(uri.query()).any(&unwanted) {
        return;
    }
    let left: Vec<&str> = parameters(uri.query())
        .filter(|parameter| !unwanted(parameter))
        .collect();
    let target = match left.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), left.join("&")),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // A part of a valid query is valid. If it were not, remove the whole query.
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = &str> {
    query.into_iter().flat_map(|query| query.split('&'))
}

/// Servers also decode names: `api%5Fkey` is the same as `api_key`.
fn is_named(parameter: &str, name: &str) -> bool {
    let given = parameter.split('=').next().unwrap_or_default();
    percent_decode(given.as_bytes()).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_parameter_is_read() {
        for (query, expected) in [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some("a=1&b"), Ok(None)),
            (Some("API_KEY=k"), Ok(None)),
            (Some("xapi_key=k&api_keyx=k"), Ok(None)),
            (Some("api_key=k"), Ok(Some("k"))),
            (Some("a=1&api_key=k-_%2B+%&b=2"), Ok(Some("k-_++%"))),
            (Some("api%5fkey=k"), Ok(Some("k"))),
            (Some("api_key=k=k"), Ok(Some("k=k"))),
            (Some("api_key="), Err(DenialKind::MalformedCredential)),
            (Some("api_key"), Err(DenialKind::MalformedCredential)),
            (
                Some("api_key=k&api_key=k"),
                Err(DenialKind::ConflictingCredentials),
            ),
            (
                Some("api_key=k&api%5Fkey=l"),
                Err(DenialKind::ConflictingCredentials),
            ),
        ] {
            let expected = expected.map(|value| value.map(|value| Cow::from(value.as_bytes())));
            assert_eq!(value(query, "api_key"), expected, "{query:?}");
        }
    }

    #[test]
    fn the_rest_of_the_query_is_unchanged() {
        for (before, after) in [
            ("/p", "/p"),
            ("/p?", "/p?"),
            ("/p?a=%2f&&b", "/p?a=%2f&&b"),
            ("/p?api_key=k", "/p"),
            ("/p?API_KEY=k&a", "/p?a"),
            ("/p?api_key=k&a=1", "/p?a=1"),
            ("/p?a=1&api_key=k&&b=%zz&api%5Fkey=l&=", "/p?a=1&&b=%zz&="),
            ("http://h:1/p?a&api_key=k", "http://h:1/p?a"),
        ] {
            let mut uri: Uri = before.parse().expect("a URI");
            remove(&mut uri, "api_key");
            assert_eq!(uri.to_string(), after, "{before}");
        }
    }
    #[test]
    fn a_secret_is_removed_under_any_name() {
        let mut uri: Uri = "/p?a=k&b=k+k&c&d=%6b%2Bk&k+k&k+k=1".parse().expect("a URI");
        remove_values(&mut uri, |value| value == b"k+k");
        assert_eq!(uri, "/p?a=k&c");
    }
}
