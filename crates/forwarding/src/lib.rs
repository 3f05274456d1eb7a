//! The header fields of forwarded requests and answers.
//!
//! The order matters for security. Fields of one connection are removed first, so that a `Connection`
//! field cannot name a field that is set afterwards (CVE-2021-32813). Then fields that the client sent
//! under the proxy's names are removed. Only then are the proxy's own set.

mod allowed;
mod location;
mod proxy_fields;
mod reserved;

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use voxgate::gateway::{TRACEPARENT, X_REQUEST_ID};
use voxgate::{AuthMethod, Caller, ClientAddr, Dialect, RequestId, Secret, TraceContext};
use voxgate_client_address::ForwardedFields;

pub use self::allowed::{ALLOWED, BY_DIALECT, ForwardedHeaders, has_another_meaning};
pub use self::proxy_fields::{ProxyFields, ViaName};
pub use self::reserved::RESERVED;
use self::reserved::{is_plain, is_reserved};

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

/// Asks for a WebSocket, or agrees to one (RFC 6455 §4).
pub fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// What the upstream is told about an accepted request besides the client's own fields.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The caller that the authentication layer found.
    pub caller: &'a Caller,
    /// The dialect of the request, which says where the credential stands.
    pub dialect: Dialect,
    /// The request's place in a trace, as the upstream is told.
    pub trace: Option<TraceContext>,
    /// The key that the upstream asks for. A public request does not get it.
    pub deployment_key: Option<&'a Secret>,
}

/// How the fields of requests and answers are forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    /// Which of the client's fields are forwarded.
    pub forwarded: ForwardedHeaders,
    /// The fields by which proxies tell of themselves.
    pub proxy_fields: ProxyFields,
    /// The scheme that clients use, for `X-Forwarded-Proto`.
    pub scheme: &'static str,
}

impl Default for HeaderRules {
    /// All fields of clients that use `http`, and no fields about the proxy.
    fn default() -> Self {
        Self {
            forwarded: ForwardedHeaders::default(),
            proxy_fields: ProxyFields::default(),
            scheme: "http",
        }
    }
}

impl HeaderRules {
    /// Turns an accepted request of a client into the upstream's. The path stays byte for byte, and so
    /// does the query except for a credential in it.
    pub fn to_upstream<B>(&self, request: &mut Request<B>, identity: Identity<'_>) {
        let client = request.extensions().get::<ClientAddr>();
        let client = client.map(|client| client.0);
        let proxies = request.extensions_mut().remove::<ForwardedFields>();
        let host = request.headers().get(HOST).cloned().or_else(|| {
            let authority = request.uri().authority()?;
            header_value(authority.as_str())
        });
        let (caller, dialect) = (identity.caller, identity.dialect);
        dialect.strip_credential(request);
        let (uri, version) = (request.uri().clone(), request.version());
        let headers = request.headers_mut();
        // gRPC asks for trailers with it, and servers demand it.
        let trailers = headers
            .get_all(TE)
            .iter()
            .any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
        retain(headers, |name| {
            is_forwarded(name, &self.forwarded, dialect.as_str())
        });
        join_cookies(headers);

        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let is_public = caller.auth_method() == AuthMethod::Public;
        if let Some(key) = identity.deployment_key.filter(|_| !is_public) {
            dialect.add_deployment_key_for(uri.path(), key, headers);
        }
        self.tell_of_client(headers, client, proxies, host);
        self.proxy_fields.add_via(headers, version);
        if let Some(trace) = identity.trace {
            headers.insert(TRACEPARENT, trace.to_header_value());
        }
        headers.insert(X_REQUEST_ID, caller.request_id().to_header_value());
        if let Some(id) = header_value(caller.key_id()) {
            headers.insert(X_VOXGATE_KEY_ID, id);
        }
    }

    /// `X-Forwarded-*` and `Forwarded`: what trusted proxies say of the client, or else the connection.
    fn tell_of_client(
        &self,
        headers: &mut HeaderMap,
        client: Option<IpAddr>,
        proxies: Option<ForwardedFields>,
        host: Option<HeaderValue>,
    ) {
        let (chain, proto, named, port) = match proxies {
            Some(fields) => (Some(fields.chain), fields.proto, fields.host, fields.port),
            None => {
                let client = client.and_then(|client| header_value(&client.to_string()));
                (client, None, None, None)
            }
        };
        let host = named.or(host);
        let proto = proto.unwrap_or(HeaderValue::from_static(self.scheme));
        let scheme = proto.to_str().unwrap_or(self.scheme);
        self.proxy_fields
            .add_forwarded(headers, client, host.as_ref(), scheme);
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
    }

    /// Turns the upstream's fields into the ones that the client sees. `is_upstream` says whether host
    /// and port in a URL are the upstream's.
    pub fn to_client<B>(
        &self,
        response: &mut Response<B>,
        request_id: RequestId,
        is_upstream: impl Fn(&str) -> bool,
    ) {
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
        location::hide_upstream(headers, is_upstream);
        self.proxy_fields.add_via(headers, version);
        headers.insert(X_REQUEST_ID, request_id.to_header_value());
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
