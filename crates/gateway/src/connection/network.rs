//! The network of one client, for limits and counts by address.

use std::net::{IpAddr, Ipv6Addr};

/// The network of one subscriber: an IPv4 address, or a `/64` of IPv6 (RFC 6177 §2).
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_subscriber_are_one_network() {
        let same = |one: &str, other: &str| {
            let of = |text: &str| network(text.parse().expect("an address"));
            of(one) == of(other)
        };
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }
}
