//! The target for the screen of HTTP/2: a request passes if, and only if, a strict server accepts it.

use std::sync::LazyLock;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use voxgate::{Principal, RequestValidation};

use crate::door::{Door, KEY};

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    Door::build(Principal::new("key"), |layer| {
        layer.with_request_validation(RequestValidation::Proxy)
    })
});

/// The fields of a request in HTTP/2, one a line, as `name|value`.
pub fn screen(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').take(24);
    let fields: Vec<(&[u8], &[u8])> = lines.filter_map(split).collect();
    let Some(request) = request(&fields) else {
        return;
    };
    let expected = is_strict(&fields, &request);
    let answer = DOOR.ask(request);
    // A request that passes the screen is judged by its key, which is there.
    assert_eq!(
        answer.is_accepted(),
        expected,
        "{}: {fields:?}",
        answer.reason
    );
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let bar = line.iter().position(|byte| *byte == b'|')?;
    Some((&line[..bar], &line[bar + 1..]))
}

/// The request that `h2` makes of these fields; `None` if it resets the stream.
fn request(fields: &[(&[u8], &[u8])]) -> Option<Request<()>> {
    let pseudo = |name: &[u8]| {
        let mut values = fields.iter().filter(|(own, _)| *own == name);
        match (values.next(), values.next()) {
            (value, None) => Some(value.map(|(_, value)| *value)),
            (_, Some(_)) => None,
        }
    };
    let method = Method::from_bytes(pseudo(b":method")?.unwrap_or(b"POST")).ok()?;
    let scheme = Scheme::try_from(pseudo(b":scheme")?.unwrap_or(b"http")).ok()?;
    let authority = Authority::try_from(pseudo(b":authority")?.unwrap_or(b"a")).ok()?;
    let path = pseudo(b":path")?.unwrap_or(b"/").to_vec();
    let path = Some(path).filter(|path| !path.is_empty())?;
    let mut parts = http::uri::Parts::default();
    (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
        let name = HeaderName::from_lowercase(name).ok()?;
        let hop = [
            "connection",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
            "proxy-connection",
        ];
        if hop.contains(&name.as_str()) || name == "authorization" {
            return None;
        }
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let key = HeaderValue::try_from(format!("Bearer {KEY}")).ok()?;
    headers.insert("authorization", key);
    Some(request)
}

/// RFC 9113 §8.1.1, §8.2.1 and §8.3.1, and RFC 9110 §8.6, said a second time.
fn is_strict(fields: &[(&[u8], &[u8])], request: &Request<()>) -> bool {
    let of = |name: &[u8]| {
        let of = fields.iter().filter(move |(own, _)| *own == name);
        of.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let outer = |value: &[u8]| value.trim_ascii() != value;
    let regular = fields.iter().filter(|(name, _)| !name.starts_with(b":"));
    if regular.clone().any(|(_, value)| outer(value)) {
        return false;
    }
    let lengths = of(b"content-length");
    let canonical = |length: &[u8]| {
        let text = std::str::from_utf8(length).unwrap_or_default();
        text.parse::<u64>()
            .is_ok_and(|number| number.to_string() == text)
    };
    if lengths.len() > 1 || !lengths.iter().all(|length| canonical(length)) {
        return false;
    }
    let scheme = request
        .uri()
        .scheme_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if !["http", "https"].contains(&scheme.as_str()) {
        return false;
    }
    let method = request.method().as_str().to_ascii_uppercase();
    if ["TRACE", "TRACK", "CONNECT"].contains(&method.as_str()) {
        return false;
    }
    let authority = request
        .uri()
        .authority()
        .map(Authority::as_str)
        .unwrap_or_default();
    is_plain_authority(authority)
        && of(b"host")
            .iter()
            .all(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
        && of(b"host").len() < 2
        && is_plain_target(request)
}

fn is_plain_authority(authority: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    let port = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => Some(port),
        Some(("", _)) => return false,
        _ => None,
    };
    !authority.is_empty()
        && authority.len() <= 255
        && authority.bytes().all(plain)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_plain_target(request: &Request<()>) -> bool {
    let target = request
        .uri()
        .path_and_query()
        .map(PathAndQuery::as_str)
        .unwrap_or_default();
    if request.method() == Method::OPTIONS && target == "*" {
        return true;
    }
    let path = target.split('?').next().unwrap_or_default();
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    let decoded: Option<Vec<u8>> = octets(path);
    let Some(decoded) = decoded else {
        return false;
    };
    let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    let odd = |byte: &u8| byte.is_ascii_control() || *byte == b'\\' || *byte == b'%';
    if decoded.iter().any(odd) || slashes(&decoded) != slashes(path.as_bytes()) || !path.is_ascii()
    {
        return false;
    }
    // Overlong forms of UTF-8 (RFC 3629 §3). An octet beyond ASCII is encoded.
    let is_overlong = |pair: &[u8]| {
        let [first, next] = pair else { return false };
        match first {
            0xc0 | 0xc1 => (0x80..=0xbf).contains(next),
            0xe0 => (0x80..=0x9f).contains(next),
            0xf0 => (0x80..=0x8f).contains(next),
            _ => false,
        }
    };
    if decoded.windows(2).any(is_overlong) {
        return false;
    }
    let segments: Vec<&str> = segments.split('/').collect();
    let dots = |segment: &str| {
        // What follows a semicolon is a parameter, also for servers that decode before they split.
        let decoded = octets(segment).unwrap_or_default();
        let name = decoded.split(|byte| *byte == b';').next();
        matches!(name, Some(b"." | b".."))
    };
    let last = segments.len() - 1;
    !segments
        .iter()
        .enumerate()
        .any(|(at, segment)| dots(segment) || (segment.is_empty() && at < last))
}

/// The percent-decoded octets; `None` if the encoding is malformed.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut octets = Vec::new();
    while let Some(byte) = bytes.next() {
        octets.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?
            }
            byte => byte,
        });
    }
    Some(octets)
}
