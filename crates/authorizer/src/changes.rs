//! What a proxy must do to an accepted request before it forwards it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use percent_encoding::percent_decode_str;

/// Headers that the proxy handles itself, because they belong to its connections.
const HANDLED: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Headers of the proxy itself begin with one of these. It is the proxy whose span the server continues.
const OF_PROXIES: [&str; 4] = ["x-forwarded-", "x-envoy-", "traceparent", "tracestate"];

/// The difference between the client's request and the one that the server behind must get. In the
/// extensions of an answer, it says that the request was accepted.
#[derive(Clone, Default)]
pub struct Changes {
    /// Headers to set, in place of the client's own.
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    /// Headers to remove.
    pub(crate) remove: Vec<HeaderName>,
    /// Query parameters to remove, decoded.
    pub(crate) parameters: Vec<String>,
    /// The path and query without a credential.
    pub(crate) target: String,
}

impl Changes {
    /// What turns the request `before` into the request `after`.
    #[must_use]
    pub fn between(before: &Parts, after: &Parts) -> Self {
        let set = after.headers.iter().filter(|(name, value)| {
            let mut given = before.headers.get_all(*name).iter();
            let is_same = given.next() == Some(value) && given.next().is_none();
            !is_handled(name) && !is_same
        });
        let remove = before.headers.keys();
        let remove = remove.filter(|name| !is_handled(name) && !after.headers.contains_key(*name));
        let names = |parts: &Parts| -> BTreeSet<String> {
            let query = parts.uri.query().unwrap_or_default().split('&');
            query.filter(|part| !part.is_empty()).map(name_of).collect()
        };
        let target = after
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        Self {
            set: set
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            remove: remove.cloned().collect(),
            parameters: names(before).difference(&names(after)).cloned().collect(),
            target: target.to_owned(),
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The deployment key is among the headers to set.
        f.write_str("Changes")
    }
}

fn is_handled(name: &HeaderName) -> bool {
    HANDLED.contains(name)
        || OF_PROXIES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix))
}

fn name_of(parameter: &str) -> String {
    let name = parameter.split('=').next().unwrap_or_default();
    let name: Cow<'_, str> = match name.contains('+') {
        true => name.replace('+', " ").into(),
        false => name.into(),
    };
    percent_decode_str(&name).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn credentials_and_spoofed_headers_go_and_the_identity_comes() {
        let before = parts(
            "/v1/x?api_key=secret&a=b",
            &[
                ("authorization", "Bearer secret"),
                ("x-voxgate-key-id", "root"),
                ("x-forwarded-for", "203.0.113.7"),
                ("connection", "Upgrade"),
                ("x-kept", "1"),
            ],
        );
        let after = parts("/v1/x?a=b", &[("x-voxgate-key-id", "ivr"), ("x-kept", "1")]);
        let changes = Changes::between(&before, &after);
        let set: Vec<_> = changes
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        assert_eq!(
            set,
            [("x-voxgate-key-id", &HeaderValue::from_static("ivr"))]
        );
        assert_eq!(changes.remove, ["authorization"]);
        assert_eq!(changes.parameters, ["api_key"]);
        assert_eq!(changes.target, "/v1/x?a=b");
    }
}
