//! Networks of addresses, such as `10.0.0.0/8`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// A network of IPv4 or IPv6 addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Parses an address, or a network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
    ///
    /// # Errors
    ///
    /// If the text is neither, if bits behind the prefix are set, or if it is an IPv4 network in the
    /// form of IPv6: such a text may not mean what its author thinks.
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        // `ipnet` accepts leading zeros, which some software reads as octal numbers.
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>();
        let address = address.map_err(|_| InvalidNetwork::NoNetwork)?;
        let network = match prefix {
            None => IpNet::from(address),
            Some(prefix) => {
                let length = prefix.parse().ok();
                let length = length.filter(|length: &u8| length.to_string() == prefix);
                let network = length.and_then(|length| IpNet::new(address, length).ok());
                network.ok_or(InvalidNetwork::NoNetwork)?
            }
        };
        if network.addr().to_canonical() != network.addr() {
            return Err(InvalidNetwork::Mapped);
        }
        if network.trunc() != network {
            return Err(InvalidNetwork::HostBits(Self(network.trunc())));
        }
        Ok(Self(network))
    }

    /// Whether an address is in this network. An IPv4 address in the form of IPv6 counts as IPv4
    /// (RFC 4291 §2.5.5.2).
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether each address of `other` is in this network.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Parses a list of networks, separated by commas.
    ///
    /// # Errors
    ///
    /// The sentence that says what is wrong with the first network that cannot be parsed.
    #[doc(hidden)]
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let each = text.split(',').map(|network| {
            let network = network.trim();
            Self::parse(network).map_err(|error| match network {
                "" => "has an empty entry; separate networks by one comma".to_owned(),
                _ => format!("`{network}` {error}"),
            })
        });
        each.collect()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidNetwork {
    /// It is neither an address nor a network.
    NoNetwork,
    /// Bits behind the prefix are set. This is the network without them.
    HostBits(Network),
    /// It is an IPv4 address in the form of IPv6.
    Mapped,
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => {
                f.write_str("is not a network; write it as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1")
            }
            Self::HostBits(network) => {
                write!(
                    f,
                    "has bits behind its prefix; write {network} or one address"
                )
            }
            Self::Mapped => f.write_str("is an IPv4 address as IPv6; write it as IPv4"),
        }
    }
}

impl std::error::Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect(text)
    }

    #[test]
    fn an_address_is_in_its_network_in_either_form() {
        for (text, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "::10.1.2.3", "::1"][..],
            ),
            ("192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]),
            (
                "::/0",
                &["::1", "2001:db8::1"],
                &["1.2.3.4", "::ffff:1.2.3.4"],
            ),
            ("2001:db8::/32", &["2001:db8:1::"], &["2001:db9::"]),
            ("fe80::/10", &["fe80::1"], &["2001:db8::"]),
        ] {
            let is_in = |address: &&&str| network(text).contains(address.parse().expect(address));
            assert_eq!(inside.iter().filter(is_in).count(), inside.len(), "{text}");
            assert_eq!(outside.iter().filter(is_in).count(), 0, "{text}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_refused_with_the_fix() {
        for (text, expected) in [
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
            ("::ffff:10.0.0.1", "write it as IPv4"),
            ("10.0.0.0/33", "is not a network"),
            ("10.0.0/8", "is not a network"),
            ("010.0.0.0/8", "is not a network"),
            ("10.0.0.0/08", "is not a network"),
            ("10.0.0.0/255.0.0.0", "is not a network"),
            ("localhost", "is not a network"),
            ("", "is not a network"),
            ("10.0.0.0/8 ", "is not a network"),
        ] {
            let error = Network::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = Network::parse_list("10.0.0.0/8,,::1").expect_err("an empty entry");
        assert!(error.contains("empty"), "{error}");
        let networks = Network::parse_list("10.0.0.0/8, ::1").expect("two networks");
        assert_eq!(networks, [network("10.0.0.0/8"), network("::1/128")]);
    }

    #[test]
    fn a_network_covers_its_parts() {
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(network("10.0.0.0/8").covers(&network("10.0.0.0/8")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
        assert!(!network("::/0").covers(&network("10.0.0.0/8")));
    }
}
