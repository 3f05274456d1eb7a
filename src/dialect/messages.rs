//! WebSockets on which a message of the client may hold its credential. The gateway reads these
//! messages; the layer sees a request with the credential in the vendor's header.

use std::sync::LazyLock;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use voxgate_core::denial::DenialKind;

use crate::policy::{Policy, Rule};
use crate::secret::Digest;
use crate::websocket::asks_for_websocket;

use super::credential_location::{CredentialLocation, Form};
use super::{Dialect, elevenlabs, rime};

static WEBSOCKETS: LazyLock<[(Dialect, Policy); 2]> = LazyLock::new(|| {
    let policy = |paths: &[&str]| {
        let rules = paths.iter().map(|path| Rule::new("GET", path));
        rules.fold(Policy::default(), Policy::rule)
    };
    [
        (Dialect::Rime, policy(rime::CREDENTIAL_IN_MESSAGE)),
        (
            Dialect::ElevenLabs,
            policy(elevenlabs::CREDENTIAL_IN_MESSAGE),
        ),
    ]
});

impl Dialect {
    /// The vendor, if `request` asks for a WebSocket on which a message may hold the credential.
    #[doc(hidden)]
    #[must_use]
    pub fn of_credential_in_message<B>(self, request: &Request<B>) -> Option<Self> {
        if !asks_for_websocket(request) {
            return None;
        }
        let vendor = self.recognize(request)?;
        let (_, policy) = WEBSOCKETS.iter().find(|(dialect, _)| *dialect == vendor)?;
        let rule = policy.find(request.method(), request.uri().path());
        rule.map(|_| vendor)
    }

    /// Whether `request` presents no credential where this dialect reads one.
    #[doc(hidden)]
    #[must_use]
    pub fn lacks_credential<B>(self, request: &Request<B>) -> bool {
        matches!(self.credential(request), Err(DenialKind::MissingCredential))
    }

    /// The digest of the credential that `request` presents.
    #[doc(hidden)]
    #[must_use]
    pub fn presented_digest<B>(self, request: &Request<B>) -> Option<Digest> {
        let credential = self.credential(request).ok()?;
        Some(credential.presented().digest())
    }

    /// The digest of a header's value as a credential of this dialect.
    #[doc(hidden)]
    #[must_use]
    pub fn digest_of_value(self, value: &str) -> Option<Digest> {
        let mut request = Request::new(());
        self.present(value, request.headers_mut());
        self.presented_digest(&request)
    }

    /// Moves the credential in a header that the operator named to the header in which the vendor of
    /// `request` reads it. A value without the vendor's scheme gets it. The same credential in both
    /// headers counts once, as in any two locations; the named header twice is refused.
    #[doc(hidden)]
    pub fn adopt_header<B>(self, name: &HeaderName, request: &mut Request<B>) {
        let Entry::Occupied(entry) = request.headers_mut().entry(name) else {
            return;
        };
        let (_, values) = entry.remove_entry_mult();
        let values: Vec<HeaderValue> = values.collect();
        let Some(vendor) = self.recognize(request) else {
            return;
        };
        let mut locations = vendor.profile().credential_locations.iter();
        let form = locations.find_map(|location| match location {
            CredentialLocation::Header(_, forms) => Some(*forms),
            _ => None,
        });
        let before = vendor.presented_digest(request);
        let path = request.uri().path().to_owned();
        for value in &values {
            let value = value.to_str().unwrap_or_default();
            let value = in_form(form.unwrap_or_default(), value, &path);
            let repeats = values.len() == 1
                && before.as_ref().is_some_and(|before| {
                    let digest = vendor.digest_of_value(&value);
                    digest.is_some_and(|digest| digest.matches(before))
                });
            if !repeats {
                vendor.present(&value, request.headers_mut());
            }
        }
    }

    /// Adds a value to the header in which this dialect reads its credential. A value that no header
    /// can have is presented as a malformed one.
    #[doc(hidden)]
    pub fn present(self, value: &str, headers: &mut HeaderMap) {
        let mut locations = self.profile().credential_locations.iter();
        let Some(name) = locations.find_map(CredentialLocation::header) else {
            return;
        };
        let malformed = HeaderValue::from_static("");
        // A header has no white space around its value, a text in a message may have.
        let text = Some(value).filter(|value| value.trim() == *value);
        let value = text.and_then(|value| HeaderValue::from_str(value).ok());
        let mut value = value.unwrap_or(malformed);
        value.set_sensitive(true);
        headers.append(name, value);
    }
}

/// The value in one of these forms: as it is, or with the scheme of the first one.
fn in_form(forms: &[Form], value: &str, path: &str) -> String {
    let is_in_form = forms
        .iter()
        .any(|form| form.parse(value.as_bytes(), path).is_some());
    match forms.first() {
        Some(Form::Scheme(scheme, _)) if !is_in_form => format!("{scheme} {value}"),
        Some(Form::Basic) if !is_in_form => format!("Basic {value}"),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-rime-key");

    fn adopted(dialect: Dialect, path: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("a request");
        dialect.adopt_header(&NAME, &mut request);
        assert!(!request.headers().contains_key(NAME));
        let headers = request.headers().iter();
        headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn a_named_header_stands_for_the_vendors() {
        let named = |value: &'static str| ("x-rime-key", value);
        for (dialect, path, headers, expected) in [
            (
                Dialect::Rime,
                "/",
                &[named("k")][..],
                &["authorization: Bearer k"][..],
            ),
            (
                Dialect::Rime,
                "/",
                &[named("Bearer k")],
                &["authorization: Bearer k"],
            ),
            (
                Dialect::Rime,
                "/",
                &[named("api-key k")],
                &["authorization: api-key k"],
            ),
            (
                Dialect::Rime,
                "/",
                &[named("k k")],
                &["authorization: Bearer k k"],
            ),
            (Dialect::Rime, "/", &[], &[]),
            (Dialect::ElevenLabs, "/", &[named("k")], &["xi-api-key: k"]),
            (
                Dialect::Inworld,
                "/",
                &[named("aTpz")],
                &["authorization: Basic aTpz"],
            ),
            (
                Dialect::Auto,
                "/v1/rime-tts",
                &[named("k")],
                &["authorization: Bearer k"],
            ),
            (Dialect::Auto, "/unknown", &[named("k")], &[]),
            // The same credential counts once; another one, or the same header twice, does not.
            (
                Dialect::Rime,
                "/",
                &[named("k"), ("authorization", "Bearer k")],
                &["authorization: Bearer k"],
            ),
            (
                Dialect::Rime,
                "/",
                &[named("l"), ("authorization", "Bearer k")],
                &["authorization: Bearer k", "authorization: Bearer l"],
            ),
            (
                Dialect::Rime,
                "/",
                &[named("k"), named("k")],
                &["authorization: Bearer k", "authorization: Bearer k"],
            ),
        ] {
            assert_eq!(
                adopted(dialect, path, headers),
                expected,
                "{dialect} {headers:?}"
            );
        }
    }

    #[test]
    fn a_value_that_no_header_has_is_malformed() {
        for value in ["", " k", "k ", "a\nb"] {
            for dialect in [Dialect::Rime, Dialect::ElevenLabs] {
                let mut request = Request::new(());
                dialect.present(value, request.headers_mut());
                let read = dialect.credential(&request).err();
                assert_eq!(read, Some(DenialKind::MalformedCredential), "{value:?}");
                assert!(dialect.digest_of_value(value).is_none());
            }
        }
    }
}
