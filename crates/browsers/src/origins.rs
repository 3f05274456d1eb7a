//! The origins whose pages may send requests.

use std::fmt;

use http::{HeaderValue, Uri};

/// A list of origins (RFC 6454 §6.2), or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Option<Vec<String>>);

impl Origins {
    /// Parses `*`, or a list of origins such as `https://app.example`, separated by commas.
    ///
    /// # Errors
    ///
    /// If an entry is not written as browsers send it: they compare byte for byte.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        if text.trim() == "*" {
            return Ok(Self(None));
        }
        let each = text.split(',').map(str::trim);
        let origins = each.map(|entry| {
            let wrong = || InvalidOrigin(entry.to_owned());
            is_origin(entry).then(|| entry.to_owned()).ok_or_else(wrong)
        });
        origins
            .collect::<Result<_, _>>()
            .map(|list| Self(Some(list)))
    }

    /// Whether pages of this origin may send requests. `null`, the origin of files and of sandboxes, is
    /// no origin: only `*` allows it.
    #[must_use]
    pub fn allow(&self, origin: &HeaderValue) -> bool {
        let Some(list) = &self.0 else {
            return true;
        };
        list.iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }

    pub(crate) fn is_any(&self) -> bool {
        self.0.is_none()
    }
}

/// Whether a text is an origin as browsers serialize it: lower case, without the default port and
/// without a path.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let is_default = matches!(
        (scheme, authority.port_u16()),
        ("http", Some(80)) | ("https", Some(443))
    );
    let is_plain = !authority.as_str().contains(['@', '*']) && !authority.host().is_empty();
    let written = format!("{scheme}://{authority}");
    is_plain && !is_default && written == text && text == text.to_ascii_lowercase()
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(entry) = self;
        write!(
            f,
            "`{entry}` is not an origin; write it as browsers send it, in lower case and without a path \
             or a default port, such as https://app.example"
        )
    }
}

impl std::error::Error for InvalidOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        let origins = Origins::parse("https://app.example, http://localhost:3000").expect("a list");
        for (origin, expected) in [
            ("https://app.example", true),
            ("http://localhost:3000", true),
            ("https://app.example:443", false),
            ("http://app.example", false),
            ("https://app.example.evil", false),
            ("https://sub.app.example", false),
            ("https://APP.example", false),
            ("http://localhost:30001", false),
            ("null", false),
            ("", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(origins.allow(&origin), expected, "{origin:?}");
        }
        let any = Origins::parse(" * ").expect("any");
        assert!(any.allow(&HeaderValue::from_static("null")));
        for wrong in [
            "",
            "null",
            "app.example",
            "https://app.example/",
            "https://app.example/path",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://*.example",
            "https://user@app.example",
            "https://a.example,",
            "*,https://a.example",
        ] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
    }
}
