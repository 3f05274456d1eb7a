//! Names and values of a query or a URL-encoded form.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::names::is_alike;
use crate::reading::Fault;

/// The value of the only parameter with this name. A parameter in a spelling that servers might
/// take for it, or `;` between parameters, makes it ambiguous.
pub(crate) fn value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
    let mut found = None;
    if query.contains(';') {
        return Err(Fault::Ambiguous);
    }
    for parameter in query.split('&') {
        let (given, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let given = decoded(given)?;
        if !is_alike(&given, name) {
            continue;
        }
        if given != name || found.is_some() || !parameter.contains('=') {
            return Err(Fault::Ambiguous);
        }
        found = Some(decoded(value)?);
    }
    Ok(found)
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Fault> {
    let unescaped = |text: &str| {
        let bytes = percent_decode_str(text).decode_utf8();
        bytes.map(Cow::into_owned).map_err(|_| Fault::WrongType)
    };
    match text.contains(['%', '+']) {
        false => Ok(Cow::Borrowed(text)),
        true => unescaped(&text.replace('+', " ")).map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_must_be_unique_in_every_spelling() {
        for (query, expected) in [
            ("", Ok(None)),
            ("x=1", Ok(None)),
            ("speaker=a", Ok(Some("a"))),
            ("x=1&spe%61ker=a%20b+c", Ok(Some("a b c"))),
            ("speaker=a&Speaker=b", Err(Fault::Ambiguous)),
            ("speaker=a;speaker=b", Err(Fault::Ambiguous)),
            ("speaker=a&speaker[]=b", Err(Fault::Ambiguous)),
            ("speaker=a&+speaker=b", Err(Fault::Ambiguous)),
            ("speaker=a&speaker%00x=b", Err(Fault::Ambiguous)),
            ("speaker=a&speaker", Err(Fault::Ambiguous)),
            ("Speaker=a", Err(Fault::Ambiguous)),
            ("speaker=%ff", Err(Fault::WrongType)),
        ] {
            let found = value(query, "speaker");
            let found = found.as_ref().map(Option::as_deref);
            assert_eq!(found, expected.as_ref().map(|found| *found), "{query}");
        }
    }
}
