//! A model of a request after its credential is stripped.

use http::{HeaderMap, Request};
use voxgate::Dialect;

use super::door::Door;
use super::model::{self, base64, bytes, latin, percent_decoded, without_region};

const PROTOCOL: &str = "sec-websocket-protocol";

/// The headers of all dialects that can contain a credential.
const HEADERS: [&str; 7] = [
    "authorization",
    "x-api-key",
    "x-sup-api-key",
    "xi-api-key",
    "ocp-apim-subscription-key",
    "x-goog-api-key",
    "x-vapi-secret",
];

/// The query parameters of all dialects.
const PARAMETERS: [&str; 3] = ["api_key", "access_token", "single_use_token"];

/// Whether some server reads this header as one of `HEADERS`.
fn is_carrier(name: &str) -> bool {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    HEADERS.contains(&&*name)
}

/// The query without `PARAMETERS`, in any case, and without parameters that repeat the secret. Only
/// Google has the parameter `key`.
fn query_without(
    dialect: Dialect,
    query: Option<&str>,
    is_secret: impl Fn(&[u8]) -> bool,
) -> Option<String> {
    let unwanted = |parameter: &&str| {
        let (name_given, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = percent_decoded(name_given).to_ascii_lowercase();
        PARAMETERS.contains(&&*name)
            || (matches!(dialect, Dialect::Google | Dialect::Auto) && name == "key")
            || [name_given, value]
                .iter()
                .any(|text| is_secret(&bytes(&percent_decoded(&latin(text.as_bytes())))))
    };
    let all: Vec<&str> = query?.split('&').collect();
    let left: Vec<&str> = all
        .iter()
        .copied()
        .filter(|parameter| !unwanted(parameter))
        .collect();
    (!left.is_empty()).then(|| left.join("&"))
}

fn offers(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let lines = headers.get_all(PROTOCOL).iter();
    let offers = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    offers.map(|offer| offer.trim_ascii().to_vec()).collect()
}

fn is_name(offer: &[u8]) -> bool {
    offer == b"token" || offer == b"bearer"
}

/// Inworld's, NVIDIA's and OpenAI's offers are removed completely. The names of Deepgram's pairs stay.
fn offers_without(mut offers: Vec<Vec<u8>>, is_secret: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let prefixes = ["bearer_", "realtime-token.", "openai-insecure-api-key."];
    let is_removed = |offer: &[u8]| {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| offer.starts_with(prefix.as_bytes()))
    };
    offers.retain(|offer| !is_removed(offer));
    let mut at = 0;
    while at < offers.len() {
        at += 1;
        if is_name(&offers[at - 1]) && at < offers.len() {
            offers.remove(at);
        }
    }
    offers.retain(|offer| !is_secret(offer));
    offers
}

/// The name of a pair stays, so that the server can select it. An offer after the pair now follows
/// the name, and is taken for the credential if the request is read again.
pub(crate) fn is_misread_when_read_again(headers: &HeaderMap) -> bool {
    let offers = offers(headers);
    offers.windows(2).any(|pair| is_name(&pair[0]))
}

/// Headers in which a copy stays.
const NEEDED: [&str; 18] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Whether a value holds one of these, as it is or percent-encoded; a short one must be all of it.
fn repeats(value: &[u8], forms: &[Vec<u8>]) -> bool {
    let mut readings = vec![latin(value)];
    for _ in 0..3 {
        let last = readings.last().expect("one at least");
        readings.push(percent_decoded(last));
    }
    forms.iter().any(|form| match form.len() {
        0..8 => value == form.as_slice(),
        _ => readings
            .iter()
            .any(|reading| reading.contains(&*latin(form))),
    })
}

/// Without the values, and the cookies, that repeat the credential.
fn without_copies(headers: &HeaderMap, forms: &[Vec<u8>]) -> HeaderMap {
    let mut left = HeaderMap::new();
    for (name, value) in headers {
        let value = value.as_bytes();
        if name == "cookie" && repeats(value, forms) {
            let crumbs = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let crumbs: Vec<&[u8]> = crumbs
                .filter(|crumb| !crumb.is_empty() && !repeats(crumb, forms))
                .collect();
            let crumbs = crumbs.join(&b"; "[..]);
            if !crumbs.is_empty() && !repeats(&crumbs, forms) {
                let crumbs = crumbs.try_into().expect("a part of a value");
                left.append(name, crumbs);
            }
        } else if NEEDED.contains(&name.as_str()) || !repeats(value, forms) {
            left.append(name, value.try_into().expect("a value"));
        }
    }
    left
}

pub(crate) fn stripped(dialect: Dialect, request: &Request<()>) -> Request<()> {
    let mut request = request.clone();
    dialect.strip_credential(&mut request);
    request
}

/// Strips `request`. Checks that everything else is unchanged, and that `door` finds no credential.
pub(crate) fn check(dialect: Dialect, door: &Door, before: &Request<()>) {
    let presented = match dialect {
        // `auto` has no credential locations; the recognized dialect strips its own.
        Dialect::Auto => None,
        _ => model::presented(dialect, before).ok(),
    };
    let is_secret = |value: &[u8]| {
        let known = match dialect {
            Dialect::Kugel => bytes(&without_region(latin(value))),
            _ => value.to_vec(),
        };
        // Also remove Basic credentials in their encoded form.
        let has_two_parts = |text: &[u8]| {
            let colon = text.iter().position(|byte| *byte == b':');
            colon.is_some_and(|colon| colon > 0 && colon + 1 < text.len())
        };
        presented.as_ref().is_some_and(|presented| {
            let encoded = has_two_parts(presented) && base64(presented).as_bytes() == value;
            *presented == known || encoded
        })
    };
    let after = stripped(dialect, before);
    assert_eq!(after.method(), before.method());
    assert_eq!(after.version(), before.version());
    assert_eq!(after.uri().path(), before.uri().path());
    assert_eq!(after.uri().authority(), before.uri().authority());
    let query = query_without(dialect, before.uri().query(), is_secret);
    assert_eq!(after.uri().query(), query.as_deref(), "{dialect}");

    let offered = offers_without(offers(before.headers()), is_secret);
    let mut left = after.headers().clone();
    let mut expected = before.headers().clone();
    let credential_locations = before
        .headers()
        .keys()
        .filter(|name| is_carrier(name.as_str()));
    credential_locations.for_each(|name| _ = expected.remove(name));
    if let Some(presented) = &presented {
        let mut forms = vec![presented.clone()];
        let colon = presented.iter().position(|byte| *byte == b':');
        if let Some(colon) = colon.filter(|_| dialect == Dialect::Inworld) {
            let secret = presented[colon + 1..].to_vec();
            forms.extend([base64(presented).into_bytes(), secret]);
            forms.retain(|form| !form.is_empty());
        }
        expected = without_copies(&expected, &forms);
    }
    if offered != offers(before.headers()) {
        // Header lines that lost an offer are joined into one line.
        assert_eq!(
            offers(after.headers()).concat(),
            offered.concat(),
            "{dialect}"
        );
        left.remove(PROTOCOL);
        expected.remove(PROTOCOL);
    }
    assert_eq!(left, expected, "{dialect}");

    if is_misread_when_read_again(after.headers()) {
        return;
    }
    let again = stripped(dialect, &after);
    assert_eq!(again.uri(), after.uri(), "{dialect}");
    assert_eq!(again.headers(), after.headers(), "{dialect}");
    let last_is_name = offers(after.headers())
        .last()
        .is_some_and(|offer| is_name(offer));
    let answer = door.ask(after);
    assert_eq!(answer.presented, None, "{dialect}");
    match (dialect, answer.reason) {
        (Dialect::Auto, "unrecognized_dialect") | (_, "missing_credential") => {}
        // Only the name of a pair.
        (Dialect::Auto | Dialect::Deepgram, "malformed_credential") if last_is_name => {}
        (_, reason) => panic!("{dialect}: {reason}"),
    }
}
