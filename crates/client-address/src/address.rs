//! One address in a header.

use std::net::{IpAddr, SocketAddr};

/// Reads an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80` and
/// `[2001:db8::1]`, as RFC 7239 §6 has them, and `2001:db8::1`, as `X-Forwarded-For` does. `None` for
/// anything else, such as `unknown`. An IPv4 address in the form of IPv6 counts as IPv4.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().map(|address| address.ip()).ok());
    let address = address.or_else(|| {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse().map(IpAddr::V6).ok()
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            (" 192.0.2.1\t", Some("192.0.2.1")),
            ("192.0.2.1:8080", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("192.0.2", None),
            ("192.0.2.01", None),
            ("0xc0000201", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("192.0.2.1 192.0.2.2", None),
            ("localhost", None),
        ] {
            let expected = expected.map(|address| address.parse().expect("an address"));
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
