//! The headers of forwarded requests and answers.
//!
//! The order matters for security. Headers of one connection are removed first, so that a
//! `Connection` header cannot name a header that is set afterwards (CVE-2021-32813). Then headers
//! that the client sent under the gateway's names are removed. Only then are the gateway's own set.

use std::net::IpAddr;

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use voxgate::gateway::X_REQUEST_ID;
use voxgate::{Caller, Dialect, RequestId, Secret};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_VOXGATE_KEY_ID: HeaderName = HeaderName::from_static("x-voxgate-key-id");

/// Headers that apply to one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes headers that apply to one connection only, and those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// Turns the upstream's headers into the ones that the client sees.
pub(super) fn to_client(headers: &mut HeaderMap, request_id: RequestId) {
    remove_hop_by_hop(headers);
    let ours = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-voxgate-"));
    let ours: Vec<HeaderName> = ours.cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    headers.insert(X_REQUEST_ID, request_id.to_header_value());
}

/// Asks for a websocket, or agrees to one.
pub(super) fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// What the upstream is told about a request besides its own headers.
pub(super) struct Identity<'a> {
    pub(super) caller: &'a Caller,
    pub(super) peer: Option<IpAddr>,
    /// The authority that the client named, in `Host` or `:authority`.
    pub(super) host: Option<HeaderValue>,
    pub(super) dialect: Dialect,
    pub(super) deployment_key: Option<&'a Secret>,
}

/// Turns the client's headers, without its credential, into those that the upstream sees.
pub(super) fn to_upstream(headers: &mut HeaderMap, identity: Identity<'_>) {
    // gRPC asks for trailers with it, and servers demand it.
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers);
    remove_our_names(headers);
    // The upstream's own authority takes its place.
    headers.remove(HOST);
    // The gateway itself sends `100 Continue`.
    headers.remove(EXPECT);
    // The client's trailers are not passed on.
    headers.remove(TRAILER);
    join_cookies(headers);

    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(key) = identity.deployment_key {
        identity.dialect.add_deployment_key(key, headers);
    }
    if let Some(peer) = identity
        .peer
        .and_then(|peer| header_value(&peer.to_string()))
    {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    if let Some(host) = identity.host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_REQUEST_ID, identity.caller.request_id().to_header_value());
    if let Some(id) = header_value(identity.caller.key_id()) {
        headers.insert(X_VOXGATE_KEY_ID, id);
    }
}

/// Removes every header that an upstream could take for one of the gateway's. Some servers read `_`
/// or `.` as `-` (CVE-2025-64484).
fn remove_our_names(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

/// HTTP/2 may cut cookies into several fields; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Headers that could tell an upstream another caller, address, method or path than the gateway
/// checked.
const OURS: [&str; 23] = [
    "cf-connecting-ip",
    "client-ip",
    "forwarded",
    "proxy",
    "remote-user",
    "true-client-ip",
    "x-accel-redirect",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-original-path",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    "x-request-id",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-waws-unencoded-url",
];

fn is_ours(name: &HeaderName) -> bool {
    let plain = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            b'-'
        }
    };
    let bytes = name.as_str().as_bytes();
    let starts = |prefix: &str| {
        let prefix = prefix.bytes();
        bytes.len() >= prefix.len()
            && bytes
                .iter()
                .map(|byte| plain(*byte))
                .zip(prefix)
                .all(|(a, b)| a == b)
    };
    let is = |own: &str| bytes.len() == own.len() && starts(own);
    starts("x-voxgate-") || starts("x-forwarded-") || OURS.into_iter().any(is)
}

fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_go_and_those_that_connection_names() {
        let mut given = headers(&[
            ("connection", "close, X-Voxgate-Key-Id"),
            ("connection", "te,x-secret"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-secret", "1"),
            ("x-voxgate-key-id", "1"),
            ("x-kept", "1"),
        ]);
        remove_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("x-kept", "1")]));
    }

    #[test]
    fn every_spelling_of_our_names_is_ours() {
        for name in [
            "x-voxgate-key-id",
            "X_Voxgate_Key_Id",
            "x.voxgate.key.id",
            "x-voxgate_anything",
            "X-Forwarded-For",
            "x_forwarded_proto",
            "forwarded",
            "x-real-ip",
            "x_request_id",
            "X-Original-URL",
            "x_http_method_override",
            "proxy",
        ] {
            assert!(is_ours(&name.parse().expect("a name")), "{name}");
        }
        for name in ["x-voxgat", "forwarded2", "accept", "x-request-idx"] {
            assert!(!is_ours(&name.parse().expect("a name")), "{name}");
        }
    }
}
