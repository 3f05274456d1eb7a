//! `Via` and `Forwarded`, by which proxies tell of themselves. They are sent if the settings say so.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Version};

/// Which of these headers are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFields {
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// The gateway's name in `Via`.
    pub via: Option<ViaName>,
}

/// A pseudonym for `Via` (RFC 9110 §7.6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViaName(Box<str>);

impl ProxyFields {
    /// Reads the name of this gateway.
    ///
    /// # Errors
    ///
    /// The name is not a token (RFC 9110 §5.6.2).
    pub fn via(text: &str) -> Result<ViaName, String> {
        let name = text.trim();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match !name.is_empty() && name.bytes().all(is_token) {
            true => Ok(ViaName(name.into())),
            false => Err("must be a name of letters, digits and `-`, such as voxgate".to_owned()),
        }
    }

    /// Adds this gateway to `Via`, after the proxies that are in it. `received` is the version in which
    /// the message came.
    pub(super) fn add_via(&self, headers: &mut HeaderMap, received: Version) {
        let Some(ViaName(name)) = &self.via else {
            return;
        };
        let version = match received {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        let value = format!("{version} {name}");
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(VIA, value);
        }
    }

    /// Tells the upstream about the client (RFC 7239).
    pub(super) fn add_forwarded(
        &self,
        headers: &mut HeaderMap,
        peer: Option<IpAddr>,
        host: Option<&HeaderValue>,
        scheme: &str,
    ) {
        if !self.forwarded {
            return;
        }
        let mut value = Vec::new();
        match peer {
            Some(IpAddr::V4(peer)) => value.extend_from_slice(format!("for={peer};").as_bytes()),
            Some(IpAddr::V6(peer)) => {
                value.extend_from_slice(format!("for=\"[{peer}]\";").as_bytes());
            }
            None => {}
        }
        if let Some(host) = host {
            value.extend_from_slice(b"host=\"");
            for byte in host.as_bytes() {
                if matches!(byte, b'"' | b'\\') {
                    value.push(b'\\');
                }
                value.push(*byte);
            }
            value.extend_from_slice(b"\";");
        }
        value.extend_from_slice(b"proto=");
        value.extend_from_slice(scheme.as_bytes());
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let name: HeaderName = FORWARDED;
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_tells_of_itself_only_if_it_is_asked_to() {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_static("a\"b\\c");
        let none = ProxyFields::default();
        none.add_via(&mut headers, Version::HTTP_11);
        none.add_forwarded(&mut headers, None, Some(&host), "http");
        assert!(headers.is_empty());

        let all = ProxyFields {
            forwarded: true,
            via: Some(ProxyFields::via(" gate-1 ").expect("a name")),
        };
        headers.insert(VIA, HeaderValue::from_static("1.1 before"));
        all.add_via(&mut headers, Version::HTTP_2);
        let via: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(via, ["1.1 before", "2 gate-1"]);
        let peer = "2001:db8::1".parse().expect("an address");
        all.add_forwarded(&mut headers, Some(peer), Some(&host), "https");
        let expected = r#"for="[2001:db8::1]";host="a\"b\\c";proto=https"#;
        assert_eq!(headers[FORWARDED], expected);
        for wrong in ["", "two words", "a,b", "a:b"] {
            assert!(ProxyFields::via(wrong).is_err(), "{wrong}");
        }
    }
}
