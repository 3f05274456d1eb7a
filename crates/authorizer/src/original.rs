//! Reads the request that a proxy asks about over HTTP.

use std::fmt;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Uri, Version};

use crate::proxy::{ALL_FIELDS, Proxy};

/// With `with_request_body`, Envoy says whether the body is cut.
pub(crate) const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// The request that a proxy asks about.
#[non_exhaustive]
pub struct Original {
    /// Its method, target and headers.
    pub head: Parts,
    /// Whether the body of the question is the whole body of the request.
    pub has_body: bool,
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its headers have credentials.
        f.write_str("Original")
    }
}

/// Why it is not clear which request a proxy asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unclear {
    /// The field is missing.
    Missing(&'static str),
    /// The field occurs more than once.
    Repeated(&'static str),
    /// The field cannot be read in one way.
    Malformed(&'static str),
    /// The field belongs to another proxy.
    Foreign(&'static str),
    /// Two fields that must be equal differ.
    Differs(&'static str),
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "{field} is missing; have the proxy set it"),
            Self::Repeated(field) => write!(
                f,
                "{field} occurs more than once; have the proxy replace the client's own"
            ),
            Self::Malformed(field) => write!(f, "{field} cannot be read"),
            Self::Foreign(field) => write!(
                f,
                "{field} is a field of another proxy; have the proxy remove it from what its client sends"
            ),
            Self::Differs(field) => {
                write!(f, "{field} differs from the same value in another field")
            }
        }
    }
}

impl std::error::Error for Unclear {}

/// Reads the request that a proxy asks about, from the head of the question. `has_body` tells whether the
/// question has a body.
///
/// Only the fields of this proxy count. Each must be there once, and no field of another proxy.
///
/// # Errors
///
/// If the request is named in no way, or in two.
pub fn read(proxy: Proxy, mut head: Parts, has_body: bool) -> Result<Original, Unclear> {
    let own = proxy.fields();
    let is_own = |name: &HeaderName| {
        own.as_ref().is_some_and(|own| {
            [&own.method, &own.uri].contains(&name)
                || (own.upgrade.is_some()
                    && (*name == own.host || own.upgrade.as_ref() == Some(name)))
        })
    };
    let foreign = ALL_FIELDS
        .into_iter()
        .find(|name| !is_own(name) && head.headers.contains_key(name));
    if let Some(name) = foreign {
        return Err(Unclear::Foreign(named(&name)));
    }
    let has_body = has_body && proxy.sends_bodies();
    match own {
        Some(fields) => {
            if head.uri.query().is_some() {
                return Err(Unclear::Malformed("the path of the question"));
            }
            let method = Method::from_bytes(one(&head.headers, &fields.method)?.as_bytes())
                .map_err(|_| Unclear::Malformed(named(&fields.method)))?;
            let uri = target(one(&head.headers, &fields.uri)?.as_bytes())
                .ok_or(Unclear::Malformed(named(&fields.uri)))?;
            let host = one(&head.headers, &fields.host)?.clone();
            let upgrade = match &fields.upgrade {
                Some(name) if head.headers.contains_key(name) => {
                    Some(one(&head.headers, name)?.clone())
                }
                _ => None,
            };
            (head.method, head.uri) = (method, uri);
            head.headers.insert(HOST, host);
            for name in ALL_FIELDS {
                head.headers.remove(name);
            }
            match proxy {
                Proxy::Caddy => {}
                Proxy::Traefik => handshake(&mut head.headers),
                _ => set_upgrade(&mut head.headers, upgrade),
            }
        }
        None => {
            let path = head.uri.path_and_query().map_or("", |path| path.as_str());
            let path = path.strip_prefix(proxy.path());
            let uri = path.and_then(|path| target(path.as_bytes()));
            let uri = uri.ok_or(Unclear::Malformed("the path of the question"))?;
            let authority = head.uri.authority();
            let authority = authority.map(|own| HeaderValue::from_str(own.as_str()));
            match (authority, head.headers.contains_key(HOST)) {
                (Some(Ok(authority)), false) => _ = head.headers.insert(HOST, authority),
                (Some(Ok(authority)), true) if one(&head.headers, &HOST)? != authority => {
                    return Err(Unclear::Differs("Host"));
                }
                (Some(Err(_)), _) => return Err(Unclear::Malformed(":authority")),
                _ => _ = one(&head.headers, &HOST)?,
            }
            head.uri = uri;
            handshake(&mut head.headers);
        }
    }
    let has_body = match proxy {
        Proxy::EnvoyHttp => has_body && is_whole(&head.headers)?,
        _ => has_body,
    };
    head.headers.remove(PARTIAL_BODY);
    // They frame the question. The proxy has read the frame of the request.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    head.version = Version::HTTP_11;
    Ok(Original { head, has_body })
}

/// Whether Envoy says that the body is whole. Without a body in its settings, it says nothing.
pub(crate) fn is_whole(headers: &HeaderMap) -> Result<bool, Unclear> {
    match headers.contains_key(PARTIAL_BODY) {
        true => Ok(one(headers, &PARTIAL_BODY)?.as_bytes() == b"false"),
        false => Ok(false),
    }
}

/// The only value of a header.
pub(crate) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<&'a HeaderValue, Unclear> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        (Some(_), None) | (None, _) => Err(Unclear::Missing(named(name))),
        (Some(_), Some(_)) => Err(Unclear::Repeated(named(name))),
    }
}

/// A path with its query, or `*`. `None` for anything that is not read byte for byte.
pub(crate) fn target(bytes: &[u8]) -> Option<Uri> {
    let uri = Uri::try_from(bytes).ok()?;
    let is_target = uri.authority().is_none() && (bytes.first() == Some(&b'/') || bytes == b"*");
    // `http` drops a fragment.
    let same = uri
        .path_and_query()
        .is_some_and(|path| path.as_str().as_bytes() == bytes);
    (is_target && same).then_some(uri)
}

/// These proxies do not pass `Upgrade`. A handshake is one by what only handshakes have (RFC 6455 §4.1).
fn handshake(headers: &mut HeaderMap) {
    let is_handshake = headers.contains_key(SEC_WEBSOCKET_KEY);
    if !headers.contains_key(UPGRADE) {
        set_upgrade(
            headers,
            is_handshake.then_some(HeaderValue::from_static("websocket")),
        );
    }
}

pub(crate) fn set_upgrade(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

/// The name for messages.
fn named(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "x-original-method" => "X-Original-Method",
        "x-original-uri" => "X-Original-URI",
        "x-original-url" => "X-Original-URL",
        "x-original-host" => "X-Original-Host",
        "x-original-upgrade" => "X-Original-Upgrade",
        "x-forwarded-method" => "X-Forwarded-Method",
        "x-forwarded-uri" => "X-Forwarded-Uri",
        "x-forwarded-host" => "X-Forwarded-Host",
        "x-envoy-auth-partial-body" => "X-Envoy-Auth-Partial-Body",
        "host" => "Host",
        _ => "a header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Request;
    use proptest::prelude::*;

    const NGINX: [(&str, &str); 3] = [
        ("x-original-method", "POST"),
        ("x-original-uri", "/v1/tts?a=b"),
        ("x-original-host", "tts.example"),
    ];
    const TRAEFIK: [(&str, &str); 3] = [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/v1/tts?a=b"),
        ("x-forwarded-host", "tts.example"),
    ];

    fn ask(path: &str, fields: &[(&str, &str)]) -> Result<Original, Unclear> {
        let mut request = Request::get(path).header(HOST, "voxgate");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let proxy = Proxy::of_path(head.uri.path()).expect("a proxy");
        read(proxy, head, true)
    }

    #[test]
    fn each_proxy_names_the_request_in_its_own_fields() {
        for (path, fields) in [
            ("/authorize/nginx", NGINX),
            ("/authorize/haproxy", NGINX),
            ("/authorize/traefik", TRAEFIK),
            ("/authorize/caddy", TRAEFIK),
        ] {
            let original = ask(path, &fields).expect(path);
            assert_eq!(original.head.method, "POST");
            assert_eq!(original.head.uri, "/v1/tts?a=b");
            assert_eq!(original.head.headers[HOST], "tts.example");
            assert!(!original.head.headers.contains_key("x-original-uri"));
            assert!(!original.head.headers.contains_key("x-forwarded-uri"));
            assert_eq!(original.has_body, path.ends_with("traefik"));
        }
        let original = ask("/authorize/envoy_http/v1/tts?a=b", &[]).expect("a request");
        assert_eq!(original.head.uri, "/v1/tts?a=b");
        assert_eq!(original.head.headers[HOST], "voxgate");
        assert!(!original.has_body, "Envoy does not say that it is whole");
    }

    #[test]
    fn a_missing_repeated_or_foreign_field_is_refused() {
        for (path, own, other) in [
            ("/authorize/nginx", NGINX, TRAEFIK),
            ("/authorize/haproxy", NGINX, TRAEFIK),
            ("/authorize/traefik", TRAEFIK, NGINX),
            ("/authorize/caddy", TRAEFIK, NGINX),
        ] {
            for at in 0..own.len() {
                let mut fewer = own.to_vec();
                fewer.remove(at);
                let missing = ask(path, &fewer).expect_err("one is missing");
                assert!(matches!(missing, Unclear::Missing(_)), "{path}: {missing}");
                let mut more = own.to_vec();
                more.push((own[at].0, own[at].1));
                let repeated = ask(path, &more).expect_err("one is repeated");
                assert!(
                    matches!(repeated, Unclear::Repeated(_)),
                    "{path}: {repeated}"
                );
            }
            for foreign in &other[..2] {
                let mut both = own.to_vec();
                both.push(*foreign);
                let both = ask(path, &both).expect_err("a field of another proxy");
                assert!(matches!(both, Unclear::Foreign(_)), "{path}: {both}");
            }
        }
        for foreign in NGINX.iter().chain(&TRAEFIK[..2]) {
            let both = ask("/authorize/envoy_http/v1/tts", &[*foreign]);
            assert!(matches!(both, Err(Unclear::Foreign(_))), "{foreign:?}");
        }
    }

    #[test]
    fn a_target_that_is_not_read_byte_for_byte_is_refused() {
        for wrong in ["v1", "http://a/", "/a#b", "a:80", "**", ""] {
            assert!(target(wrong.as_bytes()).is_none(), "{wrong}");
        }
        for right in ["/", "/a?b", "*", "//a", "/a/../b", "/?"] {
            assert!(target(right.as_bytes()).is_some(), "{right}");
        }
    }

    #[test]
    fn an_upgrade_is_known_from_what_the_proxy_passes() {
        let upgrade = |path, more: &[(&'static str, &'static str)]| {
            let fields = if path == "/authorize/traefik" {
                TRAEFIK
            } else {
                NGINX
            };
            let original = ask(path, &[&fields[..], more].concat()).expect("a request");
            original.head.headers.get(UPGRADE).cloned()
        };
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert!(upgrade("/authorize/traefik", &[key]).is_some());
        assert!(upgrade("/authorize/traefik", &[]).is_none());
        let told = ("x-original-upgrade", "websocket");
        assert!(upgrade("/authorize/nginx", &[told]).is_some());
        // What a client writes is not what nginx says.
        assert!(upgrade("/authorize/nginx", &[("upgrade", "websocket")]).is_none());
    }

    proptest! {
        /// What is read is what the one right field says, whatever else there is.
        #[test]
        fn nothing_but_the_own_fields_counts(
            uri in "/[!-~]{0,20}",
            more in proptest::collection::vec(("(x-original|x-forwarded)-(uri|method|host|url|upgrade)|x-rewrite-url|x-other", "[!-~]{0,8}"), 0..4),
        ) {
            let own = [("x-original-method", "GET"), ("x-original-uri", &*uri), ("x-original-host", "a")];
            let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (&**name, &**value)).collect();
            let all = [&own[..], &more[..]].concat();
            if let Ok(original) = ask("/authorize/nginx", &all) {
                prop_assert_eq!(original.head.method, Method::GET);
                prop_assert_eq!(original.head.uri.to_string(), uri);
                prop_assert_eq!(&original.head.headers[HOST], "a");
                let names: Vec<_> = more.iter().map(|(name, _)| *name).collect();
                let harmless = ["x-other", "x-rewrite-url", "x-forwarded-host", "x-original-upgrade",
                    "x-forwarded-url", "x-forwarded-upgrade"];
                prop_assert!(names.iter().all(|name| harmless.contains(name)), "{names:?}");
            }
        }
    }
}
