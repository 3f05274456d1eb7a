//! WebSockets on which a message of the client may hold its credential. The gateway reads these
//! messages; the layer sees a request with the credential in the vendor's header.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Request};
use voxgate_core::denial::DenialKind;

use crate::policy::{Policy, Rule};
use crate::secret::Digest;
use crate::websocket::asks_for_websocket;

use super::credential_location::CredentialLocation;
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
