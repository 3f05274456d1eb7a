//! Parses the addresses and networks of peers.

use std::net::{IpAddr, SocketAddr};

/// Returns the address of a record's `peer`, which includes a port.
pub(super) fn address(peer: &str) -> Option<IpAddr> {
    let socket = peer.parse::<SocketAddr>().map(|socket| socket.ip());
    let address = socket.or_else(|_| peer.parse()).ok()?;
    Some(address.to_canonical())
}

/// Returns the port of a record's `peer`.
pub(super) fn port(peer: &str) -> Option<u16> {
    Some(peer.parse::<SocketAddr>().ok()?.port())
}

/// An address, or a network in CIDR form (RFC 4632, RFC 4291 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().ok()?;
        let address = given.to_canonical();
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits(address),
            Some(prefix) => {
                let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix: u32 = prefix.parse().ok().filter(|_| digits)?;
                if prefix > bits(given) {
                    return None;
                }
                // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
                prefix.checked_sub(bits(given) - bits(address))?
            }
        };
        Some(Self { address, prefix })
    }

    pub(super) fn contains(&self, other: IpAddr) -> bool {
        let share = |difference: u128, bits: u32| {
            difference.checked_shr(bits - self.prefix).unwrap_or(0) == 0
        };
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                share(u128::from(own.to_bits() ^ other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => share(own.to_bits() ^ other.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (network, inside, outside) in [
            ("10.1.2.3", "10.1.2.3:80", "10.1.2.4:80"),
            ("10.1.2.3", "[::ffff:10.1.2.3]:80", "[::1]:80"),
            ("10.1.0.0/16", "10.1.255.1:1", "10.2.0.0:1"),
            ("10.1.9.9/16", "10.1.0.1:1", "10.0.255.255:1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9:1", "11.0.0.0:1"),
            ("2001:db8::/32", "[2001:db8:1::1]:5", "[2001:db9::1]:5"),
            ("::1", "[::1]:5", "[::2]:5"),
        ] {
            let found = Network::parse(network).expect(network);
            assert!(found.contains(address(inside).expect(inside)), "{network}");
            assert!(
                !found.contains(address(outside).expect(outside)),
                "{network}"
            );
        }
        let everything = Network::parse("0.0.0.0/0").expect("a network");
        assert!(everything.contains(address("9.9.9.9:1").expect("an address")));
        let everything = Network::parse("::/0").expect("a network");
        assert!(everything.contains(address("[ffff::]:1").expect("an address")));
    }

    #[test]
    fn invalid_networks_are_refused() {
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "/8",
            "::ffff:10.0.0.0/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert_eq!(address("unix"), None);
        assert_eq!((port("[::1]:7"), port("::1")), (Some(7), None));
    }
}
