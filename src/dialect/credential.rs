//! Where a credential travels, and how it is read from there.

use http::header::{Entry, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::denial::DenialKind;
use crate::secret::{Presented, Secret};

/// One place in a request that can hold a credential.
pub(super) enum Carrier {
    /// `Header: Scheme credential` (RFC 9110 §11.4).
    Scheme {
        header: HeaderName,
        scheme: &'static str,
        /// RFC 9110 compares schemes without case; some vendors do not.
        exact_case: bool,
    },
}

impl Carrier {
    fn header(&self) -> &HeaderName {
        match self {
            Self::Scheme { header, .. } => header,
        }
    }

    fn parse<'a>(&self, value: &'a [u8]) -> Result<Presented<'a>, DenialKind> {
        match self {
            Self::Scheme {
                scheme, exact_case, ..
            } => after_scheme(value, scheme.as_bytes(), *exact_case).map(Presented::new),
        }
        .ok_or(DenialKind::MalformedCredential)
    }

    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(self.header());
    }

    pub(super) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        if let Entry::Occupied(mut entry) = headers.entry(self.header()) {
            for value in entry.iter_mut() {
                value.set_sensitive(true);
            }
        }
    }

    pub(super) fn write(&self, key: &Secret, headers: &mut HeaderMap) {
        let text = match self {
            Self::Scheme { scheme, .. } => format!("{scheme} {}", key.expose()),
        };
        // A `Secret` is visible ASCII, which every header value may hold.
        if let Ok(mut value) = HeaderValue::try_from(text) {
            value.set_sensitive(true);
            headers.insert(self.header(), value);
        }
    }
}

/// Reads the one credential that the request presents.
pub(super) fn read<'a>(
    carriers: &[Carrier],
    headers: &'a HeaderMap,
) -> Result<Presented<'a>, DenialKind> {
    let mut found = None;
    for carrier in carriers {
        for value in headers.get_all(carrier.header()) {
            // Whoever reads the first and whoever reads the last would serve different callers.
            if found.is_some() {
                return Err(DenialKind::ConflictingCredentials);
            }
            found = Some(carrier.parse(value.as_bytes()));
        }
    }
    found.unwrap_or(Err(DenialKind::MissingCredential))
}

/// What follows `scheme 1*SP`: neither empty nor holding white space (RFC 9110 §11.4).
fn after_scheme<'a>(value: &'a [u8], scheme: &[u8], exact_case: bool) -> Option<&'a [u8]> {
    let (given, rest) = value.split_at_checked(scheme.len())?;
    let same = match exact_case {
        true => given == scheme,
        false => given.eq_ignore_ascii_case(scheme),
    };
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let credential = &rest[spaces..];
    let plain =
        !credential.is_empty() && !credential.contains(&b' ') && !credential.contains(&b'\t');
    (same && spaces > 0 && plain).then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_followed_by_spaces_and_one_credential() {
        for (value, expected) in [
            ("Bearer k", Some("k")),
            ("Bearer   k", Some("k")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearerk", None),
            ("Bearer\tk", None),
            ("Bearer \tk", None),
            ("Bearer k k", None),
            ("bearer k", None),
            ("BEARER k", None),
            ("Basic k", None),
            ("k", None),
            ("", None),
        ] {
            let read = after_scheme(value.as_bytes(), b"Bearer", true);
            assert_eq!(read, expected.map(str::as_bytes), "{value:?}");
        }
        assert_eq!(after_scheme(b"bEARER k", b"Bearer", false), Some(&b"k"[..]));
    }
}
