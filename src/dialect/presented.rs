//! The credentials that a request presents, and their copies elsewhere in it.
//!
//! A client may repeat its key where no dialect reads one: in its path, a cookie or a header of its
//! own. Such a copy must not get into a record, and need not reach the upstream.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONNECTION, CONTENT_ENCODING,
    CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, Entry, HOST, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use percent_encoding::percent_decode;
use subtle::ConstantTimeEq as _;
use voxgate_core::declassify::declassify;

use super::Dialect;

/// A shorter text counts as a copy only of a key that is in force, because ordinary words would be
/// copies of what a stranger sends as a key.
const PLAUSIBLE_BYTES: usize = 8;
/// Texts can be percent-encoded more than once.
const MAX_DECODINGS: usize = 3;
/// A client presents one credential, in a few forms and places. This bounds the work for a request
/// that presents more.
const MAX_PRESENTED: usize = 8;
/// What stands in place of a copy.
const MASK: &[u8] = b"***";

/// Headers whose absence could break a request. A copy in one of them stays.
const NEEDED: [HeaderName; 18] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    HOST,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Where to look for what a request presents.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Whose credential locations are looked at.
    pub(crate) dialect: Dialect,
    /// Whether the credential is one that is known, so that it counts however short it is.
    pub(crate) is_in_force: bool,
    /// Whether each word in a header counts, because the credential is not in its form.
    pub(crate) words: bool,
}

impl Search {
    /// Passes each credential that counts to `found`, as it was sent and as it is known. Nothing is
    /// allocated for a credential that is sent as it is known.
    fn each<B>(self, request: &Request<B>, found: &mut dyn FnMut(&[u8])) {
        let least = match self.is_in_force {
            true => 1,
            false => PLAUSIBLE_BYTES,
        };
        for dialect in self.dialect.each() {
            let profile = dialect.profile();
            for location in profile.credential_locations {
                location.each_value(request, self.words, &mut |value| {
                    let known = (profile.canonical)(value);
                    if value.len() >= least {
                        found(value);
                    }
                    if known.len() < value.len() && known.len() >= least {
                        found(known);
                    }
                });
            }
        }
    }
}

/// Removes what repeats the credential from the headers: crumbs of cookies, and whole values of the
/// headers that a request can do without.
pub(super) fn remove_copies(headers: &mut HeaderMap, presented: &PresentedCredentials) {
    let repeats = |value: &[u8]| {
        presented.secrets.iter().any(|secret| match secret.len() {
            0..PLAUSIBLE_BYTES => value == secret,
            _ => is_copied(value, secret),
        })
    };
    let affected: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| {
            (!NEEDED.contains(name) || *name == COOKIE) && repeats(value.as_bytes())
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in affected {
        let Entry::Occupied(entry) = headers.entry(&name) else {
            continue;
        };
        let (name, values) = entry.remove_entry_mult();
        let left: Vec<HeaderValue> = match name == COOKIE {
            true => values
                .filter_map(|cookies| without_crumbs(&cookies, repeats))
                .collect(),
            false => values.filter(|value| !repeats(value.as_bytes())).collect(),
        };
        for value in left {
            headers.append(&name, value);
        }
    }
}

/// The cookies without those that repeat the credential (RFC 6265 §4.2.1); `None` if none is left, or
/// if the credential spans several.
fn without_crumbs(cookies: &HeaderValue, repeats: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    if !repeats(cookies.as_bytes()) {
        return Some(cookies.clone());
    }
    let crumbs = cookies.as_bytes().split(|byte| *byte == b';');
    let left: Vec<&[u8]> = crumbs
        .map(<[u8]>::trim_ascii)
        // An empty one would leave a space at the end.
        .filter(|crumb| !crumb.is_empty() && !repeats(crumb))
        .collect();
    let left = left.join(&b"; "[..]);
    let left = Some(left).filter(|left| !left.is_empty() && !repeats(left))?;
    HeaderValue::from_bytes(&left).ok()
}

/// Whether the text, as it is or percent-decoded, contains the secret.
fn is_copied(text: &[u8], secret: &[u8]) -> bool {
    position(text, secret).is_some()
        || decodings(text).any(|decoded| position(&decoded.bytes, secret).is_some())
}

/// Where the secret stands in the text. The time of a comparison does not depend on how much of the
/// secret matches; whether a place of the text matches is declared to be no secret, because both
/// are the caller's.
fn position(text: &[u8], secret: &[u8]) -> Option<usize> {
    if secret.is_empty() || text.len() < secret.len() {
        return None;
    }
    let (head, whole) = (first_bytes(secret), secret.len());
    let mut windows = text.windows(whole);
    windows.position(|window| {
        declassify(first_bytes(window).ct_eq(&head).into())
            && declassify(window.ct_eq(secret).into())
    })
}

/// Up to eight bytes as a number, so that most places cost one comparison.
fn first_bytes(text: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = text.len().min(first.len());
    first[..length].copy_from_slice(&text[..length]);
    u64::from_ne_bytes(first)
}

/// Whether a text can be percent-decoded. The loop has no branch, and takes many bytes at a time.
fn is_encoded(text: &[u8]) -> bool {
    text.iter()
        .fold(false, |found, byte| found | (*byte == b'%'))
}

/// A text that was percent-decoded, and where each of its bytes began.
struct Decoded {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// The text decoded once, twice, …, for as long as that changes it.
fn decodings(text: &[u8]) -> impl Iterator<Item = Decoded> {
    // Nothing is allocated for a text that is not encoded, as most are.
    let first = is_encoded(text).then(|| Decoded {
        bytes: text.to_vec(),
        starts: (0..=text.len()).collect(),
    });
    let first = first.as_ref().and_then(decode_once_more);
    std::iter::successors(first, decode_once_more).take(MAX_DECODINGS)
}

/// `None` if there is nothing to decode.
fn decode_once_more(before: &Decoded) -> Option<Decoded> {
    let encoded = before.bytes.contains(&b'%');
    let after = encoded.then(|| decode(before))?;
    (after.bytes.len() < before.bytes.len()).then_some(after)
}

fn decode(before: &Decoded) -> Decoded {
    let mut after = Decoded {
        bytes: Vec::with_capacity(before.bytes.len()),
        starts: Vec::with_capacity(before.starts.len()),
    };
    let mut at = 0;
    while at < before.bytes.len() {
        let rest = &before.bytes[at..];
        let triple = &rest[..rest.len().min(3)];
        let mut octets = percent_decode(triple);
        after.bytes.extend(octets.next());
        after.starts.push(before.starts[at]);
        let is_triple = triple.len() == 3 && triple[0] == b'%' && octets.next().is_none();
        at += if is_triple { 3 } else { 1 };
    }
    after.starts.push(before.starts[at]);
    after
}

/// The credentials that a request presents, to find their copies in its texts.
pub(crate) struct PresentedCredentials {
    /// The longest first.
    secrets: Vec<Vec<u8>>,
    /// Whether there are too many to look for each.
    too_many: bool,
}

impl PresentedCredentials {
    pub(crate) fn of<B>(search: Search, request: &Request<B>) -> Self {
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        let mut too_many = false;
        search.each(request, &mut |secret| {
            if secrets.iter().any(|known| known == secret) {
                return;
            }
            match secrets.len() < MAX_PRESENTED {
                true => secrets.push(secret.to_vec()),
                false => too_many = true,
            }
        });
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets, too_many }
    }

    /// The forms in which a credential that `dialect` reads may be copied: as it is known, and what
    /// Basic credentials consist of.
    pub(super) fn read(dialect: Dialect, known: &[u8]) -> Self {
        let mut secrets = vec![known.to_vec()];
        if dialect == Dialect::Inworld
            && let Some(colon) = known.iter().position(|byte| *byte == b':')
        {
            secrets.push(STANDARD.encode(known).into_bytes());
            secrets.push(known[colon + 1..].to_vec());
        }
        secrets.retain(|secret| !secret.is_empty());
        Self {
            secrets,
            too_many: false,
        }
    }

    /// The text with `***` in place of each copy, and of each place that `tokens` finds. Of a request
    /// that presents more credentials than a client does, nothing is shown.
    pub(crate) fn mask<'t>(&self, text: &'t [u8], tokens: TokenFinder) -> Cow<'t, [u8]> {
        if self.too_many {
            return Cow::Borrowed(MASK);
        }
        let mut places = Vec::new();
        self.find(text, tokens, &mut |place| places.push(place));
        for decoded in decodings(text) {
            self.find(&decoded.bytes, tokens, &mut |(start, end)| {
                places.push((decoded.starts[start], decoded.starts[end]));
            });
        }
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        places.sort_unstable();
        let (mut masked, mut shown_to) = (Vec::with_capacity(text.len()), 0);
        for (start, end) in places {
            if start >= shown_to {
                masked.extend_from_slice(&text[shown_to..start]);
                masked.extend_from_slice(MASK);
            }
            shown_to = shown_to.max(end);
        }
        masked.extend_from_slice(&text[shown_to..]);
        Cow::Owned(masked)
    }

    fn find(&self, text: &[u8], tokens: TokenFinder, found: &mut dyn FnMut((usize, usize))) {
        for secret in &self.secrets {
            let mut at = 0;
            while let Some(start) = position(&text[at..], secret) {
                found((at + start, at + start + secret.len()));
                at += start + secret.len();
            }
        }
        let mut at = 0;
        while let Some((start, end)) = tokens(&text[at..]) {
            found((at + start, at + end));
            at += end;
        }
    }
}

/// Finds a token of ours in a text, as its start and its end.
pub(crate) type TokenFinder = fn(&[u8]) -> Option<(usize, usize)>;

/// Whether a text may have to be masked. `any` passes each text to the function and says whether one
/// is such a text. Nothing is allocated for texts without percent-encoding, which are most.
pub(crate) fn may_be_copied<B>(
    search: Search,
    request: &Request<B>,
    tokens: TokenFinder,
    any: impl Fn(&dyn Fn(&[u8]) -> bool) -> bool,
) -> bool {
    let is_encoded = any(&is_encoded);
    let has_token = |text: &[u8]| {
        tokens(text).is_some()
            || (is_encoded && decodings(text).any(|decoded| tokens(&decoded.bytes).is_some()))
    };
    let (mut copied, mut presented) = (any(&has_token), 0);
    let has_copy = |text: &[u8], secret: &[u8]| match is_encoded {
        true => is_copied(text, secret),
        false => position(text, secret).is_some(),
    };
    search.each(request, &mut |secret| {
        presented += 1;
        copied = copied || presented > MAX_PRESENTED || any(&|text: &[u8]| has_copy(text, secret));
    });
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"k3y-of-a-caller";

    fn key() -> PresentedCredentials {
        PresentedCredentials {
            secrets: vec![KEY.to_vec(), b"short".to_vec()],
            too_many: false,
        }
    }

    fn masked(text: &str) -> String {
        let masked = key().mask(text.as_bytes(), |_| None);
        String::from_utf8(masked.into_owned()).expect("text")
    }

    #[test]
    fn every_copy_is_masked_and_nothing_else() {
        for (text, expected) in [
            ("", ""),
            ("/v1/rime-tts", "/v1/rime-tts"),
            ("k3y-of-a-caller", "***"),
            ("/v1/k3y-of-a-caller/x", "/v1/***/x"),
            ("k3y-of-a-callerk3y-of-a-caller", "******"),
            ("k3y-of-a-call", "k3y-of-a-call"),
            ("/%6b3y-of-a-caller", "/***"),
            ("/%6B3y%2Dof-a-caller%2f", "/***%2f"),
            ("/%256b3y-of-a-caller", "/***"),
            ("/%25256b3y-of-a-caller", "/***"),
            ("/%k3y-of-a-caller%", "/%***%"),
            ("/%zz%6b", "/%zz%6b"),
            ("k3y-of-a-caller/%6b3y-of-a-caller/short", "***/***/***"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    fn search(dialect: Dialect, is_in_force: bool) -> Search {
        Search {
            dialect,
            is_in_force,
            words: false,
        }
    }

    fn presents(dialect: Dialect, request: &Request<()>) -> Vec<String> {
        let presented = PresentedCredentials::of(search(dialect, true), request);
        presented
            .secrets
            .into_iter()
            .map(|secret| String::from_utf8(secret).expect("text"))
            .collect()
    }

    #[test]
    fn what_is_presented_is_found_also_where_it_does_not_count() {
        let request = |name: &str, value: &str| {
            let request = Request::get("/ws?api_key=que%72y").header(name, value);
            request.body(()).expect("a request")
        };
        let bearer = request("authorization", "Bearer  k");
        assert_eq!(presents(Dialect::Rime, &bearer), ["k"]);
        assert_eq!(presents(Dialect::Kugel, &bearer), ["query", "k"]);
        let regional = request("x-api-key", "eu-k");
        assert_eq!(presents(Dialect::Kugel, &regional), ["query", "eu-k", "k"]);
        let basic = request("authorization", "Basic aWQ6c2VjcmV0");
        let expected = ["aWQ6c2VjcmV0", "id:secret", "secret"];
        assert_eq!(presents(Dialect::Inworld, &basic), expected);
        let malformed = request("authorization", "Basic k");
        assert_eq!(presents(Dialect::Inworld, &malformed), ["k"]);
        let subprotocol = request("sec-websocket-protocol", "token, k");
        assert_eq!(presents(Dialect::Deepgram, &subprotocol), ["k"]);
        let mut twice = bearer;
        let other = HeaderValue::from_static("Bearer other");
        twice.headers_mut().append("authorization", other);
        assert_eq!(presents(Dialect::Rime, &twice), ["other", "k"]);
    }

    #[test]
    fn a_request_with_many_credentials_shows_nothing() {
        let mut request = Request::new(());
        for number in 0..100 {
            let value = HeaderValue::try_from(format!("Bearer credential-{number}"));
            let headers = request.headers_mut();
            headers.append("authorization", value.expect("a value"));
        }
        let presented = PresentedCredentials::of(search(Dialect::Rime, false), &request);
        assert_eq!(&*presented.mask(b"/any", |_| None), MASK);
        let search = search(Dialect::Rime, false);
        assert!(may_be_copied(search, &request, |_| None, |_| false));
    }

    #[test]
    fn each_word_of_a_malformed_credential_counts() {
        let request = Request::get("/").header("authorization", "bearer k3y-of-a-caller x");
        let request = request.body(()).expect("a request");
        let search = Search {
            words: true,
            ..search(Dialect::Rime, false)
        };
        let presented = PresentedCredentials::of(search, &request);
        let masked = presented.mask(b"/k3y-of-a-caller/x", |_| None);
        assert_eq!(&*masked, b"/***/x");
    }

    /// A stranger could otherwise hide a path from the record.
    #[test]
    fn a_short_credential_of_a_stranger_masks_nothing() {
        let request = Request::get("/").header("authorization", "Bearer v1");
        let request = request.body(()).expect("a request");
        let stranger = PresentedCredentials::of(search(Dialect::Rime, false), &request);
        assert_eq!(&*stranger.mask(b"/v1/x", |_| None), b"/v1/x");
        let caller = PresentedCredentials::of(search(Dialect::Rime, true), &request);
        assert_eq!(&*caller.mask(b"/v1/x", |_| None), b"/***/x");
    }

    fn left(name: &'static str, values: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_copies(&mut headers, &key());
        let left = headers.get_all(name).iter();
        left.map(|value| value.to_str().expect("text").to_owned())
            .collect()
    }

    #[test]
    fn copies_are_removed_where_a_request_can_do_without() {
        let none: [&str; 0] = [];
        assert_eq!(left("x-a", &["k3y-of-a-caller"]), none);
        assert_eq!(left("x-a", &["Bearer k3y-of-a-caller"]), none);
        assert_eq!(left("x-a", &["%6b3y-of-a-caller"]), none);
        assert_eq!(left("x-a", &["1", "k3y-of-a-caller", "2"]), ["1", "2"]);
        assert_eq!(left("x-a", &["short"]), none);
        assert_eq!(left("x-a", &["shorter"]), ["shorter"]);
        assert_eq!(
            left("cookie", &["a=1; b=k3y-of-a-caller;c=2"]),
            ["a=1; c=2"]
        );
        assert_eq!(left("cookie", &["a=1;b=k3y-of-a-caller; "]), ["a=1"]);
        assert_eq!(left("cookie", &["b=k3y-of-a-caller"]), none);
        assert_eq!(left("cookie", &["a=1;c=2"]), ["a=1;c=2"]);
        assert_eq!(
            left("content-type", &["a/k3y-of-a-caller"]),
            ["a/k3y-of-a-caller"]
        );
    }
}
