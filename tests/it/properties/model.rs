//! A model of how a request presents a credential, written from the vendors' documentation and
//! without code of the library. The model may be slow, but it must be independent.
//!
//! Text is Latin-1 (one character per byte), so that every header is text.

use http::{Method, Request, Version};
use voxgate::Dialect;

/// The credential that the verifier receives, or the reason in the audit record.
pub(crate) type Reading = Result<Vec<u8>, &'static str>;

const MISSING: &str = "missing_credential";
const MALFORMED: &str = "malformed_credential";
const CONFLICTING: &str = "conflicting_credentials";
const UNRECOGNIZED: &str = "unrecognized_dialect";

/// The place of a credential.
enum Place {
    /// `Authorization: Scheme K`, with the scheme in any case.
    Scheme(&'static [&'static str]),
    /// The first scheme in exactly this case, or the second in any case.
    ExactScheme(&'static str, &'static str),
    /// `Authorization: Basic base64(id:secret)`, or `Bearer K`.
    BasicOrBearer,
    /// The whole value of this header.
    Raw(&'static str),
    /// A parameter in the query.
    AnyParameter(&'static str),
    /// A parameter in the query of an upgrade.
    Parameter(&'static str),
    /// On an upgrade, the subprotocol after one of these names.
    OfferBehind(&'static [&'static str]),
    /// On an upgrade, the rest of a subprotocol with this prefix.
    OfferRest(&'static str),
}

/// The places of a dialect, in the order that determines the reason of a refusal.
fn places(dialect: Dialect) -> Vec<Place> {
    use Place::{
        AnyParameter, BasicOrBearer, ExactScheme, OfferBehind, OfferRest, Parameter, Raw, Scheme,
    };
    match dialect {
        Dialect::Rime => vec![ExactScheme("Bearer", "api-key")],
        Dialect::Bearer => vec![Scheme(&["bearer"]), OfferRest("realtime-token.")],
        Dialect::OpenAi => vec![Scheme(&["bearer"]), OfferRest("openai-insecure-api-key.")],
        Dialect::Smallest => vec![Scheme(&["bearer", "token"])],
        Dialect::Google => vec![
            Raw("x-goog-api-key"),
            AnyParameter("key"),
            Scheme(&["bearer"]),
        ],
        Dialect::Supertone => vec![Raw("x-sup-api-key")],
        Dialect::ElevenLabs => vec![Raw("xi-api-key"), Parameter("single_use_token")],
        Dialect::Azure => vec![Raw("ocp-apim-subscription-key"), Scheme(&["bearer"])],
        Dialect::Kugel => vec![
            Scheme(&["bearer"]),
            Raw("x-api-key"),
            Parameter("api_key"),
            Raw("x-vapi-secret"),
        ],
        Dialect::Cartesia => vec![
            Scheme(&["bearer"]),
            Raw("x-api-key"),
            Parameter("api_key"),
            Parameter("access_token"),
        ],
        Dialect::Inworld => vec![BasicOrBearer, OfferRest("bearer_")],
        Dialect::Deepgram => vec![
            Scheme(&["token", "bearer"]),
            OfferBehind(&["token", "bearer"]),
        ],
        other => panic!("{other} is not modelled"),
    }
}

/// The vendors with this route. Covers all paths of the tests.
fn owners(method: &str, path: &str) -> &'static [Dialect] {
    use Dialect::{Azure, Cartesia, Deepgram, ElevenLabs, Google, Inworld, Kugel};
    use Dialect::{OpenAi, Rime, Smallest, Supertone};
    match (method, path) {
        ("POST", "/v1/rime-tts") | ("GET", "/ws" | "/ws2" | "/ws3") => &[Rime],
        ("POST", "/waves/v1/tts" | "/waves/v1/tts/live") | ("GET", "/waves/v1/tts/live") => {
            &[Smallest]
        }
        ("POST", "/v1/tts/generate") | ("GET", "/ws/tts") => &[Kugel],
        ("POST", "/tts/v1/voice") | ("GET", "/tts/v1/voice:streamBidirectional") => &[Inworld],
        ("POST", "/v1/audio/speech") | ("GET", "/v1/realtime") => &[OpenAi],
        ("POST", "/v1/text-to-speech/cove") => &[Supertone, ElevenLabs],
        ("POST", "/v1/speak") => &[Smallest, Deepgram],
        ("GET", "/v1/speak") => &[Deepgram],
        ("POST", "/tts/bytes") | ("GET", "/tts/websocket") => &[Cartesia],
        ("POST", "/cognitiveservices/v1") | ("GET", "/cognitiveservices/websocket/v1") => &[Azure],
        ("GET", "/v1/voices") => &[Supertone, Kugel, ElevenLabs, Google],
        ("POST", "/v1/text:synthesize") => &[Google],
        ("GET", "/v1/text-to-speech/cove/stream-input") => &[ElevenLabs],
        (_, "/v1/voices") => &[Kugel],
        ("GET", "/v1/models") => &[Kugel, OpenAi, ElevenLabs, Deepgram],
        _ => &[],
    }
}

/// The credential that `request` presents in `dialect`.
pub(crate) fn presented<B>(dialect: Dialect, request: &Request<B>) -> Reading {
    let dialect = match dialect {
        Dialect::Auto => spoken(request).ok_or(UNRECOGNIZED)?,
        one => one,
    };
    let mut found: Option<String> = None;
    for place in places(dialect) {
        let Some(mut credential) = held(&place, request)? else {
            continue;
        };
        if dialect == Dialect::Kugel {
            credential = without_region(credential);
        }
        if found.as_ref().is_some_and(|other| *other != credential) {
            return Err(CONFLICTING);
        }
        found = Some(credential);
    }
    Ok(bytes(&found.ok_or(MISSING)?))
}

/// The only vendor of the path. Of several vendors, the one whose places contain the most
/// credentials; then OpenAI or Deepgram; then the one whose first place contains a credential in its
/// first form.
fn spoken<B>(request: &Request<B>) -> Option<Dialect> {
    let owners = owners(request.method().as_str(), request.uri().path());
    let fit = |owner: &Dialect| {
        let places = places(*owner);
        let holds = |place: &&Place| matches!(held(place, request), Ok(Some(_)));
        let count = places.iter().filter(holds).count();
        let widespread = matches!(owner, Dialect::OpenAi | Dialect::Deepgram);
        let usual = count > 0 && holds(&&places[0]) && is_first_form(&places[0], request);
        (count, count > 0 && widespread, usual)
    };
    let best = owners.iter().map(fit).max()?;
    let mut fitting = owners.iter().filter(|owner| fit(owner) == best);
    let one = fitting.next()?;
    fitting.next().is_none().then_some(*one)
}

/// Whether the credential in this place has the first form of the place.
fn is_first_form<B>(place: &Place, request: &Request<B>) -> bool {
    let scheme = || {
        let value = one(values(request, "authorization")).ok()??;
        Some(scheme_and_token(&value)?.0.to_ascii_lowercase())
    };
    match place {
        Place::Scheme(schemes) => scheme().is_some_and(|scheme| scheme == schemes[0]),
        Place::ExactScheme(wanted, _) => {
            scheme().is_some_and(|scheme| scheme.eq_ignore_ascii_case(wanted))
        }
        Place::BasicOrBearer => scheme().is_some_and(|scheme| scheme == "basic"),
        _ => true,
    }
}

fn held<B>(place: &Place, request: &Request<B>) -> Result<Option<String>, &'static str> {
    let authorization = || one(values(request, "authorization"));
    let in_any_case = |value: &str, schemes: &[&str]| {
        let (scheme, token) = scheme_and_token(value)?;
        schemes
            .contains(&&*scheme.to_ascii_lowercase())
            .then_some(token)
    };
    let readable = |value: Option<String>, read: &dyn Fn(&str) -> Option<String>| match value {
        None => Ok(None),
        Some(value) => read(&value).map(Some).ok_or(MALFORMED),
    };
    match place {
        Place::Scheme(schemes) => readable(authorization()?, &|value| in_any_case(value, schemes)),
        Place::ExactScheme(wanted, other) => readable(authorization()?, &|value| {
            let (scheme, token) = scheme_and_token(value)?;
            let is_known = scheme == *wanted || scheme.eq_ignore_ascii_case(other);
            is_known.then_some(token)
        }),
        Place::BasicOrBearer => readable(authorization()?, &|value| {
            let pair = in_any_case(value, &["basic"]).and_then(|token| pair(&token));
            pair.or_else(|| in_any_case(value, &["bearer"]))
        }),
        Place::Raw(name) => readable(one(values(request, name))?, &word),
        Place::AnyParameter(name) => parameter(request, name),
        Place::Parameter(name) if is_upgrade(request) => parameter(request, name),
        Place::OfferBehind(names) if is_upgrade(request) => {
            let mut offers = offers(request).into_iter();
            let mut found = Vec::new();
            while let Some(offer) = offers.next() {
                if names.contains(&&*offer) {
                    found.push(offers.next().unwrap_or_default());
                }
            }
            one_offer(found)
        }
        Place::OfferRest(start) if is_upgrade(request) => {
            let offers = offers(request);
            let rests = offers.iter().filter_map(|offer| offer.strip_prefix(start));
            one_offer(rests.map(str::to_owned).collect())
        }
        Place::Parameter(_) | Place::OfferBehind(_) | Place::OfferRest(_) => Ok(None),
    }
}

/// The value of this parameter.
fn parameter<B>(request: &Request<B>, name: &str) -> Result<Option<String>, &'static str> {
    let parameters = request.uri().query().unwrap_or_default().split('&');
    let named = parameters.filter(|parameter| {
        let given = parameter.split('=').next().unwrap_or_default();
        percent_decoded(&latin(given.as_bytes())) == name
    });
    let parameter = one(named.map(|parameter| latin(parameter.as_bytes())).collect())?;
    let Some(parameter) = parameter else {
        return Ok(None);
    };
    let value = (|| {
        let (_, value) = parameter.split_once('=')?;
        (!value.is_empty()).then(|| percent_decoded(value))
    })();
    value.map(Some).ok_or(MALFORMED)
}

/// Parses `scheme 1*SP token`, in which the token is one word.
fn scheme_and_token(value: &str) -> Option<(String, String)> {
    let (scheme, rest) = value.split_once(' ')?;
    Some((scheme.to_owned(), word(rest.trim_start_matches(' '))?))
}

fn word(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains([' ', '\t'])).then(|| text.to_owned())
}

/// Decodes `id:secret` from base64: the text with exactly this base64, if there is one.
fn pair(encoded: &str) -> Option<String> {
    let mut bits = Vec::new();
    for character in encoded.trim_end_matches('=').chars() {
        let value = ALPHABET
            .iter()
            .position(|own| char::from(*own) == character)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let octet = |bits: &[usize]| bits.iter().fold(0, |octet, bit| octet << 1 | *bit as u8);
    let decoded: Vec<u8> = bits.chunks_exact(8).map(octet).collect();
    let text = latin(&decoded);
    let (id, secret) = text.split_once(':')?;
    (base64(&decoded) == encoded && !id.is_empty() && !secret.is_empty()).then_some(text)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 §4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let groups = bytes.chunks(3).map(|group| {
        let octet = |at: usize| usize::from(group.get(at).copied().unwrap_or_default());
        let all = octet(0) << 16 | octet(1) << 8 | octet(2);
        let digit = |at: usize| match at <= group.len() {
            true => char::from(ALPHABET[all >> (18 - 6 * at) & 63]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    });
    groups.collect()
}

/// Invalid percent-encodings are kept unchanged.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|pair| pair.chars().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => decoded.extend([&*String::from(char::from(octet)), &part[2..]]),
            None => decoded.extend(["%", part]),
        }
    }
    decoded
}

/// KugelAudio's client removes one region prefix from a key; other clients do not.
pub(crate) fn without_region(key: String) -> String {
    let mut rests = ["eu-", "us-", "global-"]
        .iter()
        .filter_map(|region| key.strip_prefix(region));
    rests
        .next()
        .filter(|rest| !rest.is_empty())
        .map(str::to_owned)
        .unwrap_or(key)
}

fn is_upgrade<B>(request: &Request<B>) -> bool {
    let connection = values(request, "connection").join(",").to_ascii_lowercase();
    let mut options = connection
        .split(',')
        .map(|option| option.trim_matches([' ', '\t']));
    let upgrade = values(request, "upgrade");
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && options.any(|option| option == "upgrade")
        && upgrade.len() == 1
        && upgrade[0].eq_ignore_ascii_case("websocket")
}

fn offers<B>(request: &Request<B>) -> Vec<String> {
    let lines = values(request, "sec-websocket-protocol");
    let offers = lines.iter().flat_map(|line| line.split(','));
    offers
        .map(|offer| offer.trim_matches([' ', '\t']).to_owned())
        .collect()
}

/// At most one offer. The first wrong offer determines the reason.
fn one_offer(found: Vec<String>) -> Result<Option<String>, &'static str> {
    match found.as_slice() {
        [first, ..] if first.is_empty() => Err(MALFORMED),
        [_, second, ..] if second.is_empty() => Err(MALFORMED),
        _ => one(found),
    }
}

fn one(mut found: Vec<String>) -> Result<Option<String>, &'static str> {
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(CONFLICTING),
    }
}

fn values<B>(request: &Request<B>, name: &str) -> Vec<String> {
    let values = request.headers().get_all(name).iter();
    let mut values: Vec<String> = values.map(|value| latin(value.as_bytes())).collect();
    // NVIDIA's gRPC client sends its metadata twice.
    let kind = request.headers().get("content-type");
    if kind.is_some_and(|kind| kind == "application/grpc") {
        values.dedup();
    }
    values
}

pub(crate) fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| character as u8).collect()
}
