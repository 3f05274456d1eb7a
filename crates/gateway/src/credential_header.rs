//! A header that the operator names as the place of the caller's credential.
//!
//! Rime's API container reads its key from the header that `API_KEY_HEADER` names. Clients of such a
//! container send it there.

use http::{HeaderName, Request};
use voxgate::Dialect;
use voxgate_forwarding::has_another_meaning;

/// The header, and the dialect of the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CredentialHeader(HeaderName);

impl CredentialHeader {
    /// # Errors
    ///
    /// Why the header cannot hold a credential.
    pub(crate) fn parse(name: &str) -> Result<Self, &'static str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let parsed: Option<HeaderName> = name.parse().ok();
        let Some(name) = parsed.filter(|_| name.bytes().all(plain)) else {
            return Err("must be a header name of letters, digits and `-`, such as X-Api-Key");
        };
        match has_another_meaning(&name) {
            true => Err(
                "names a header that has another meaning, or in which a credential is read anyway; \
                 choose another name, such as X-Api-Key",
            ),
            false => Ok(Self(name)),
        }
    }

    /// Moves the credential to where the authentication layer reads it.
    pub(crate) fn adopt<B>(&self, dialect: Dialect, request: &mut Request<B>) {
        dialect.adopt_header(&self.0, request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_another_meaning_is_refused() {
        for name in ["X-Api-Key", "x-rime-key", "apikey"] {
            assert!(CredentialHeader::parse(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "x_api_key",
            "x api",
            "x:",
            "authorization",
            "cookie",
            "Connection",
            "Content-Length",
            "content-type",
            "host",
            "Proxy-Authorization",
            "sec-websocket-key",
            "sec-fetch-mode",
            "te",
            "transfer-encoding",
            "upgrade",
            "x-forwarded-for",
            "x-request-id",
            "x-voxgate-key-id",
            "traceparent",
            "grpc-timeout",
        ] {
            assert!(CredentialHeader::parse(name).is_err(), "{name}");
        }
    }
}
