//! The headers of forwarded requests and answers.
//!
//! The order matters for security. Headers of one connection are removed first, so that a
//! `Connection` header cannot name a header that is set afterwards (CVE-2021-32813). Then headers
//! that the client sent under the gateway's names are removed. Only then are the gateway's own set.

mod allowed;
mod location;
mod proxies;
mod reserved;

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use voxgate::gateway::{TRACEPARENT, X_REQUEST_ID};
use voxgate::{Caller, Dialect, RequestId, Secret, TraceContext};
use voxgate_client_address::ForwardedFields;
use voxgate_upstream::Upstream;

pub(crate) use self::allowed::{ALLOWED, BY_DIALECT, ForwardedHeaders, has_another_meaning};
pub(crate) use self::proxies::ProxyFields;
pub(crate) use self::reserved::RESERVED;
use self::reserved::{is_plain, is_reserved};
use super::ForwardedBody;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
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

/// Removes the headers that apply to one connection only, those that `Connection` names, and those that
/// are not wanted, in one pass.
fn retain(headers: &mut HeaderMap, is_wanted: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let stays =
        |name: &HeaderName| !HOP_BY_HOP.contains(name) && !named.contains(name) && is_wanted(name);
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !stays(name))
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Removes `Content-Length` from an answer in chunks: the chunks are its length (RFC 9112 §6.3). With
/// both, two clients could cut the connection into answers in two ways.
fn remove_length_of_chunks(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
}

/// What the client is told about an answer besides the upstream's own headers.
#[derive(Clone, Copy)]
pub(super) struct AnswerContext<'a> {
    pub(super) request_id: RequestId,
    pub(super) upstream: &'a Upstream<ForwardedBody>,
    pub(super) proxy_fields: &'a ProxyFields,
}

/// Turns the upstream's headers into the ones that the client sees.
pub(super) fn to_client<B>(response: &mut Response<B>, context: AnswerContext<'_>) {
    let (status, version) = (response.status(), response.version());
    let headers = response.headers_mut();
    remove_length_of_chunks(headers);
    // It names the protocols that the client could use (RFC 9110 §15.5.22).
    let required = match status {
        StatusCode::UPGRADE_REQUIRED => headers.get(UPGRADE).cloned(),
        _ => None,
    };
    retain(headers, |name| !name.as_str().starts_with("x-voxgate-"));
    if let Some(required) = required {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, required);
    }
    let upstream = context.upstream;
    location::hide_upstream(headers, |authority| upstream.is_named(authority));
    context.proxy_fields.add_via(headers, version);
    headers.insert(X_REQUEST_ID, context.request_id.to_header_value());
}

/// Asks for a websocket, or agrees to one.
pub(super) fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// What the upstream is told about a request besides its own headers.
pub(super) struct Identity<'a> {
    pub(super) caller: &'a Caller,
    pub(super) client: Option<IpAddr>,
    /// What trusted proxies say about the client.
    pub(super) fields: Option<ForwardedFields>,
    /// The authority that the client named, in `Host` or `:authority`.
    pub(super) host: Option<HeaderValue>,
    pub(super) dialect: Dialect,
    /// The request's place in a trace, as the upstream is told.
    pub(super) trace: Option<TraceContext>,
    /// The path of the request, which can decide the form of the deployment key.
    pub(super) path: &'a str,
    pub(super) deployment_key: Option<&'a Secret>,
    /// Which of the client's headers are forwarded.
    pub(super) forwarded: &'a ForwardedHeaders,
    pub(super) proxy_fields: &'a ProxyFields,
    /// The version in which the request came.
    pub(super) version: Version,
    /// The scheme that the client uses.
    pub(super) scheme: &'static str,
}

/// Turns the client's headers, without its credential, into those that the upstream sees.
pub(super) fn to_upstream(headers: &mut HeaderMap, identity: Identity<'_>) {
    // gRPC asks for trailers with it, and servers demand it.
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let dialect = identity.dialect.as_str();
    retain(headers, |name| {
        is_forwarded(name, identity.forwarded, dialect)
    });
    join_cookies(headers);

    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(key) = identity.deployment_key {
        identity
            .dialect
            .add_deployment_key_for(identity.path, key, headers);
    }
    let client = identity.client;
    let (chain, proto, host, port) = match identity.fields {
        Some(fields) => (Some(fields.chain), fields.proto, fields.host, fields.port),
        None => {
            let client = client.and_then(|client| header_value(&client.to_string()));
            (client, None, None, None)
        }
    };
    let host = host.or(identity.host);
    let proto = proto.unwrap_or(HeaderValue::from_static(identity.scheme));
    let scheme = proto.to_str().unwrap_or(identity.scheme);
    let proxy_fields = identity.proxy_fields;
    proxy_fields.add_forwarded(headers, client, host.as_ref(), scheme);
    proxy_fields.add_via(headers, identity.version);
    for (name, value) in [
        (X_FORWARDED_FOR, chain),
        (X_FORWARDED_HOST, host),
        (X_FORWARDED_PORT, port),
        (X_FORWARDED_PROTO, Some(proto)),
    ] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if let Some(trace) = identity.trace {
        headers.insert(TRACEPARENT, trace.to_header_value());
    }
    headers.insert(X_REQUEST_ID, identity.caller.request_id().to_header_value());
    if let Some(id) = header_value(identity.caller.key_id()) {
        headers.insert(X_VOXGATE_KEY_ID, id);
    }
}

/// The client's headers that the gateway handles itself: the upstream's own authority takes the place
/// of `Host`, the gateway sends `100 Continue`, and trailers are not passed on.
const HANDLED: [HeaderName; 3] = [HOST, EXPECT, TRAILER];

/// Whether a header of the client's is forwarded. Names that servers read in more than one way are not,
/// nor [reserved](RESERVED) ones, nor, with a list of allowed headers, those that it does not name.
fn is_forwarded(name: &HeaderName, forwarded: &ForwardedHeaders, dialect: &str) -> bool {
    !HANDLED.contains(name)
        && is_plain(name)
        && !is_reserved(name)
        && forwarded.contain(name, dialect)
}

/// HTTP/2 may cut cookies into several fields; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            // An empty one would leave a space at the end.
            .filter(|crumb| !crumb.is_empty())
            .collect();
        if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
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
        retain(&mut given, |_| true);
        assert_eq!(given, headers(&[("x-kept", "1")]));
    }

    #[test]
    fn an_answer_in_chunks_has_no_length() {
        let mut given = headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        remove_length_of_chunks(&mut given);
        assert_eq!(given, headers(&[("transfer-encoding", "chunked")]));
        let mut given = headers(&[("content-length", "3")]);
        remove_length_of_chunks(&mut given);
        assert_eq!(given, headers(&[("content-length", "3")]));
    }
}
