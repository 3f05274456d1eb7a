//! Where a credential travels, and how it is read from there.

use std::borrow::Cow;
use std::sync::LazyLock;

use http::header::{Entry, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request};
use voxgate_core::declassify::declassify;
use voxgate_core::denial::DenialKind;

use crate::secret::{RawCredential, Secret};
use crate::websocket::asks_for_websocket;

use super::Dialect;
use super::basic;
use super::grpc::is_grpc;
use super::query;
use super::subprotocol::Offer;

/// One place in a request that can hold a credential.
pub(super) enum CredentialLocation {
    /// A header, in one of these forms.
    Header(HeaderName, &'static [Form]),
    /// A query parameter, which counts only on a WebSocket upgrade: browsers can set no header
    /// there, and everybody else can.
    Query(&'static str),
    /// A query parameter, on every request.
    AnyQuery(&'static str),
    /// The subprotocols that a WebSocket upgrade offers, for the same reason.
    Subprotocol(Offer),
}

/// How a header's value holds a credential.
pub(super) enum Form {
    /// The value is the credential.
    Raw,
    /// `Scheme credential` (RFC 9110 §11.4).
    Scheme(&'static str, Case),
    /// `Basic base64(id:secret)` (RFC 7617); the credential is `id:secret`.
    Basic,
    /// `Scheme parameters`: a signature, which counts on these paths alone. It proves that the
    /// caller has a secret, and is never looked up as a key.
    Signature(&'static str, &'static [&'static str]),
}

/// Whether a scheme may be written in another case. RFC 9110 §11.1 says so; some vendors do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Any,
    Exact,
}

/// A credential that was found. It may have been decoded on the way.
pub(crate) struct Credential<'a> {
    bytes: Cow<'a, [u8]>,
    is_signature: bool,
}

impl Credential<'_> {
    pub(crate) fn presented(&self) -> RawCredential<'_> {
        match self.is_signature {
            true => RawCredential::signature(&self.bytes),
            false => RawCredential::new(&self.bytes),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        self.is_signature == other.is_signature
            && self
                .presented()
                .digest()
                .matches(&other.presented().digest())
    }
}

/// Reads the one credential that the request presents, as `canonical` has it. The same one on two
/// credential locations counts once; two of one credential location are refused whatever they hold, because servers
/// differ in which of them they read. The same value twice in a header of a gRPC call counts once.
pub(super) fn read<'a, B>(
    credential_locations: &[CredentialLocation],
    canonical: Canonical,
    request: &'a Request<B>,
) -> Result<Credential<'a>, DenialKind> {
    let upgrade = asks_for_websocket(request);
    let mut found: Option<Credential<'a>> = None;
    for carrier in credential_locations {
        let Some(held) = carrier.read(request, upgrade)? else {
            continue;
        };
        let is_signature = carrier.holds_signature(request);
        let bytes = match held {
            held if is_signature => held,
            Cow::Borrowed(bytes) => Cow::Borrowed(canonical(bytes)),
            Cow::Owned(bytes) => Cow::Owned(canonical(&bytes).to_vec()),
        };
        let credential = Credential {
            bytes,
            is_signature,
        };
        if let Some(other) = &found
            && !other.same_as(&credential)
        {
            return Err(DenialKind::ConflictingCredentials);
        }
        found = Some(credential);
    }
    found.ok_or(DenialKind::MissingCredential)
}

/// Whether a second value of a header is a copy of the first that a gRPC client made. NVIDIA's client
/// for Riva sends its metadata twice over TLS: as credentials of the channel, and with each call
/// (`riva/client/auth.py`).
fn is_copy_of_grpc(value: &HeaderValue, other: &HeaderValue, headers: &HeaderMap) -> bool {
    let digest = |value: &HeaderValue| RawCredential::new(value.as_bytes()).digest();
    is_grpc(headers) && digest(value).matches(&digest(other))
}

/// The names of the headers that are a credential location of any dialect.
static HEADERS: LazyLock<Vec<&'static HeaderName>> = LazyLock::new(|| {
    let dialects = Dialect::ALL.into_iter();
    let credential_locations = dialects.flat_map(|dialect| dialect.profile().credential_locations);
    let mut names: Vec<_> = credential_locations
        .filter_map(CredentialLocation::header)
        .collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names.dedup();
    names
});

/// Removes every header that is a credential location of any dialect. Some servers read `_` or `.` as `-`.
pub(super) fn remove_headers(headers: &mut HeaderMap) {
    let plain = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            b'-'
        }
    };
    let is = |name: &HeaderName, carrier: &HeaderName| {
        let (name, carrier) = (name.as_str().as_bytes(), carrier.as_str().as_bytes());
        // Most names differ in length.
        name.len() == carrier.len() && name.iter().zip(carrier).all(|(a, b)| plain(*a) == *b)
    };
    let names = headers
        .keys()
        .filter(|name| HEADERS.iter().any(|carrier| is(name, carrier)));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Brings a credential into the one form in which it is known.
pub(super) type Canonical = fn(&[u8]) -> &[u8];

impl CredentialLocation {
    fn read<'a, B>(
        &self,
        request: &'a Request<B>,
        upgrade: bool,
    ) -> Result<Option<Cow<'a, [u8]>>, DenialKind> {
        match self {
            Self::Header(name, forms) => {
                let mut values = request.headers().get_all(name).iter();
                let Some(value) = values.next() else {
                    return Ok(None);
                };
                if !values.all(|other| is_copy_of_grpc(value, other, request.headers())) {
                    return Err(DenialKind::ConflictingCredentials);
                }
                forms
                    .iter()
                    .find_map(|form| form.parse(value.as_bytes(), request.uri().path()))
                    .ok_or(DenialKind::MalformedCredential)
                    .map(Some)
            }
            Self::AnyQuery(name) => query::value(request.uri().query(), name),
            Self::Query(name) if upgrade => query::value(request.uri().query(), name),
            Self::Subprotocol(offer) if upgrade => offer.value(request.headers()),
            Self::Query(_) | Self::Subprotocol(_) => Ok(None),
        }
    }

    /// Passes each value that stands here to `found`, whether or not it counts, in each form that it
    /// may be copied in; with `words`, each word of a header, too.
    pub(super) fn each_value<B>(
        &self,
        request: &Request<B>,
        words: bool,
        found: &mut dyn FnMut(&[u8]),
    ) {
        match self {
            Self::Header(name, forms) => {
                for value in request.headers().get_all(name) {
                    for form in *forms {
                        form.each_value(value.as_bytes(), found);
                    }
                    let ends_word = |byte: &u8| b" \t,;=\"".contains(byte);
                    if words {
                        value.as_bytes().split(ends_word).for_each(&mut *found);
                    }
                }
            }
            Self::Query(name) | Self::AnyQuery(name) => {
                query::each_value(request.uri().query(), name, found)
            }
            Self::Subprotocol(offer) => offer.each_value(request.headers(), found),
        }
    }

    /// Whether the header in use here holds a signature.
    fn holds_signature<B>(&self, request: &Request<B>) -> bool {
        let Self::Header(name, forms) = self else {
            return false;
        };
        let value = request.headers().get(name).map(HeaderValue::as_bytes);
        let path = request.uri().path();
        // The schemes of keys are others, so that a key is not read once more.
        let mut signatures = forms
            .iter()
            .filter(|form| matches!(form, Form::Signature(..)));
        value.is_some_and(|value| signatures.any(|form| form.parse(value, path).is_some()))
    }

    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name, _) => Some(name),
            Self::Query(_) | Self::AnyQuery(_) | Self::Subprotocol(_) => None,
        }
    }

    /// Whether nothing but a credential is found there in any vendor's API. A parameter that is
    /// called `key` may be anything.
    pub(super) fn is_distinctive(&self) -> bool {
        !matches!(self, Self::AnyQuery(_))
    }

    /// The index of the form in which this location holds a credential. `None` if it holds none, or
    /// nothing that can be read as one.
    pub(super) fn form_in_use<B>(&self, request: &Request<B>) -> Option<usize> {
        self.read(request, asks_for_websocket(request)).ok()??;
        match self {
            Self::Header(name, forms) => {
                let value = request.headers().get(name)?.as_bytes();
                let mut forms = forms.iter();
                forms.position(|form| form.parse(value, request.uri().path()).is_some())
            }
            Self::Query(_) | Self::AnyQuery(_) | Self::Subprotocol(_) => Some(0),
        }
    }

    /// Removes the credential, whether or not it counted, and nothing else. [`remove_headers`] removes
    /// what is in headers.
    pub(super) fn strip_besides_headers<B>(&self, request: &mut Request<B>) {
        match self {
            Self::Header(..) => {}
            Self::Query(name) | Self::AnyQuery(name) => query::remove(request.uri_mut(), name),
            Self::Subprotocol(offer) => offer.remove(request.headers_mut()),
        }
    }

    /// The subprotocol to agree on in place of the one that holds the credential.
    pub(super) fn subprotocol(&self, headers: &HeaderMap) -> Option<&'static str> {
        match self {
            Self::Subprotocol(offer) => offer.name(headers),
            Self::Header(..) | Self::Query(_) | Self::AnyQuery(_) => None,
        }
    }

    pub(super) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        let name = match self {
            Self::Header(name, _) => name,
            Self::Subprotocol(_) => &SEC_WEBSOCKET_PROTOCOL,
            Self::Query(_) | Self::AnyQuery(_) => return,
        };
        // `entry` makes room for a name that it may not find, which can move the whole map.
        let Some(value) = headers.get_mut(name) else {
            return;
        };
        value.set_sensitive(true);
        if headers.get_all(name).iter().nth(1).is_some()
            && let Entry::Occupied(mut entry) = headers.entry(name)
        {
            for value in entry.iter_mut() {
                value.set_sensitive(true);
            }
        }
    }
}

impl Form {
    /// Passes what may be the credential in this header value to `found`: also of a value that is
    /// malformed, so that a copy of it is found all the same.
    fn each_value(&self, value: &[u8], found: &mut dyn FnMut(&[u8])) {
        let scheme = match self {
            Self::Raw => return found(value),
            Self::Scheme(scheme, _) | Self::Signature(scheme, _) => scheme,
            Self::Basic => "Basic",
        };
        let Some((given, rest)) = value.split_at_checked(scheme.len()) else {
            return;
        };
        if !given.eq_ignore_ascii_case(scheme.as_bytes()) {
            return;
        }
        let is_space = |byte: &&u8| declassify(**byte == b' ');
        let sent = &rest[rest.iter().take_while(is_space).count()..];
        found(sent);
        if let Self::Basic = self
            && let Some(decoded) = basic::decode(sent)
        {
            found(&decoded);
            let colon = decoded.iter().position(|byte| *byte == b':');
            found(&decoded[colon.map_or(0, |colon| colon + 1)..]);
        }
    }

    /// The credential in a header's value: neither empty nor holding white space.
    pub(super) fn parse<'a>(&self, value: &'a [u8], path: &str) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Signature(scheme, paths) => paths
                .contains(&path)
                .then(|| after_scheme(value, scheme, Case::Exact))?
                .map(Cow::Borrowed),
            Self::Raw => plain(value).map(Cow::Borrowed),
            Self::Scheme(scheme, case) => after_scheme(value, scheme, *case).map(Cow::Borrowed),
            Self::Basic => basic::decode(after_scheme(value, "Basic", Case::Any)?).map(Cow::Owned),
        }
    }

    /// The header's value that presents `key`.
    pub(super) fn write(&self, key: &Secret) -> Option<HeaderValue> {
        let text = match self {
            Self::Raw => key.expose().to_owned(),
            Self::Scheme(scheme, _) => format!("{scheme} {}", key.expose()),
            Self::Basic => format!("Basic {}", basic::encode(key)),
            // A key is not a signature.
            Self::Signature(..) => return None,
        };
        // A `Secret` is visible ASCII, which every header value may hold.
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn plain(credential: &[u8]) -> Option<&[u8]> {
    // One fact of the whole: the loop has no branch, and takes many bytes at a time.
    let white = credential.iter().fold(false, |found, byte| {
        found | (*byte == b' ') | (*byte == b'\t')
    });
    (!declassify(white) && !credential.is_empty()).then_some(credential)
}

/// What follows `scheme 1*SP` (RFC 9110 §11.4).
fn after_scheme<'a>(value: &'a [u8], scheme: &str, case: Case) -> Option<&'a [u8]> {
    let (given, rest) = value.split_at_checked(scheme.len())?;
    let same = match case {
        Case::Exact => given == scheme.as_bytes(),
        Case::Any => given.eq_ignore_ascii_case(scheme.as_bytes()),
    };
    let is_space = |byte: &&u8| declassify(**byte == b' ');
    let spaces = rest.iter().take_while(is_space).count();
    plain(&rest[spaces..]).filter(|_| same && spaces > 0)
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
            let read = after_scheme(value.as_bytes(), "Bearer", Case::Exact);
            assert_eq!(read, expected.map(str::as_bytes), "{value:?}");
        }
        assert_eq!(
            after_scheme(b"bEARER k", "Bearer", Case::Any),
            Some(&b"k"[..])
        );
    }
}
