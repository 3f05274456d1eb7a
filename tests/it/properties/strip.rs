//! What is left of a request when its credential is stripped, said a second time.

use http::{HeaderMap, Request};
use voxgate::Dialect;

use super::door::Door;
use super::model::percent_decoded;

const PROTOCOL: &str = "sec-websocket-protocol";

/// The headers that are the dialect's own, and the parameters.
fn own(dialect: Dialect) -> (&'static [&'static str], &'static [&'static str]) {
    match dialect {
        Dialect::Supertone => (&["x-sup-api-key"], &[]),
        Dialect::ElevenLabs => (&["xi-api-key"], &[]),
        Dialect::Azure => (&["ocp-apim-subscription-key"], &[]),
        Dialect::Kugel => (&["authorization", "x-api-key"], &["api_key"]),
        Dialect::Cartesia => (
            &["authorization", "x-api-key"],
            &["api_key", "access_token"],
        ),
        Dialect::Auto => (
            &[
                "authorization",
                "x-api-key",
                "x-sup-api-key",
                "xi-api-key",
                "ocp-apim-subscription-key",
            ],
            &["api_key", "access_token"],
        ),
        _ => (&["authorization"], &[]),
    }
}

fn query_without(query: Option<&str>, names: &[&str]) -> Option<String> {
    let name = |parameter: &&str| percent_decoded(parameter.split('=').next().unwrap_or_default());
    let own = |parameter: &&str| names.contains(&&*name(parameter));
    let all: Vec<&str> = query?.split('&').collect();
    let left: Vec<&str> = all
        .iter()
        .copied()
        .filter(|parameter| !own(parameter))
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

/// Inworld's offers go as a whole; of Deepgram's pairs, the names stay.
fn offers_without(dialect: Dialect, mut offers: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if matches!(dialect, Dialect::Inworld | Dialect::Auto) {
        offers.retain(|offer| !offer.starts_with(b"bearer_"));
    }
    if matches!(dialect, Dialect::Deepgram | Dialect::Auto) {
        let mut at = 0;
        while at < offers.len() {
            at += 1;
            if is_name(&offers[at - 1]) && at < offers.len() {
                offers.remove(at);
            }
        }
    }
    offers
}

/// The name of a pair stays, so that the server can agree on it. When an offer stood behind the
/// pair, it now stands behind the name, and whoever reads the request again takes it for the
/// credential.
pub(crate) fn is_misread_when_read_again(dialect: Dialect, headers: &HeaderMap) -> bool {
    let pairs = matches!(dialect, Dialect::Deepgram | Dialect::Auto);
    let offers = offers(headers);
    pairs && offers.windows(2).any(|pair| is_name(&pair[0]))
}

pub(crate) fn stripped(dialect: Dialect, request: &Request<()>) -> Request<()> {
    let mut request = request.clone();
    dialect.strip_credential(&mut request);
    request
}

/// Strips `request`, and asks that all else is as it was, and that `door` finds no credential then.
pub(crate) fn check(dialect: Dialect, door: &Door, before: &Request<()>) {
    let (headers, parameters) = own(dialect);
    let after = stripped(dialect, before);
    assert_eq!(after.method(), before.method());
    assert_eq!(after.version(), before.version());
    assert_eq!(after.uri().path(), before.uri().path());
    assert_eq!(after.uri().authority(), before.uri().authority());
    let query = query_without(before.uri().query(), parameters);
    assert_eq!(after.uri().query(), query.as_deref(), "{dialect}");

    let offered = offers_without(dialect, offers(before.headers()));
    let mut left = after.headers().clone();
    let mut expected = before.headers().clone();
    headers.iter().for_each(|name| _ = expected.remove(*name));
    if offered != offers(before.headers()) {
        // Lines of offers that lost one are written anew, as one line.
        assert_eq!(
            offers(after.headers()).concat(),
            offered.concat(),
            "{dialect}"
        );
        left.remove(PROTOCOL);
        expected.remove(PROTOCOL);
    }
    assert_eq!(left, expected, "{dialect}");

    if is_misread_when_read_again(dialect, after.headers()) {
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
        // The name of a pair, alone.
        (Dialect::Auto | Dialect::Deepgram, "malformed_credential") if last_is_name => {}
        (_, reason) => panic!("{dialect}: {reason}"),
    }
}
