//! What of a client's address audit records have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use voxgate::RawCredential;
use voxgate::audit::Pepper;

/// What of a client's address audit records have.
#[derive(Clone, Debug)]
pub(crate) enum RecordedAddresses {
    /// All of it, and the port.
    Full,
    /// The network: 24 bits of IPv4, 48 bits of IPv6.
    Prefix,
    /// A pseudonym: an address in the discard-only block `100::/64` (RFC 6666), which no client has. Its
    /// last 64 bits are an HMAC-SHA256 of the address under the pepper, cut to that length.
    Hash(Pepper),
}

impl RecordedAddresses {
    /// The address that stands in records for this one. It has no port unless it is the full address.
    pub(crate) fn of(&self, peer: SocketAddr) -> SocketAddr {
        match self {
            Self::Full => peer,
            _ => SocketAddr::new(self.of_ip(peer.ip()), 0),
        }
    }

    /// The same for an address without a port: that of a client that a proxy named.
    pub(crate) fn of_ip(&self, ip: IpAddr) -> IpAddr {
        match self {
            Self::Full => ip,
            Self::Prefix => prefix(ip),
            Self::Hash(pepper) => pseudonym(pepper, ip),
        }
    }
}

fn prefix(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

fn pseudonym(pepper: &Pepper, ip: IpAddr) -> IpAddr {
    // The words keep it apart from the fingerprint of a credential.
    let named = format!("voxgate address {ip}");
    let digest = pepper
        .fingerprint(RawCredential::new(named.as_bytes()))
        .to_string();
    let bits = u64::from_str_radix(&digest, 16).unwrap_or_default();
    let block = u128::from(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0));
    Ipv6Addr::from(block | u128::from(bits)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_cut_or_replaced() {
        let peers = ["203.0.113.77:4000", "[2001:db8:1:2:3::4]:4000"];
        let peers = peers.map(|peer| peer.parse::<SocketAddr>().expect("an address"));
        let shown = |mode: &RecordedAddresses| peers.map(|peer| mode.of(peer).to_string());
        assert_eq!(
            shown(&RecordedAddresses::Full),
            peers.map(|peer| peer.to_string())
        );
        assert_eq!(
            shown(&RecordedAddresses::Prefix),
            ["203.0.113.0:0", "[2001:db8:1::]:0"]
        );
        let hash = |pepper: &[u8]| RecordedAddresses::Hash(Pepper::new(pepper).expect("a pepper"));
        let (one, other) = (hash(b"0123456789abcdef"), hash(b"0123456789abcdeF"));
        let [first, second] = shown(&one);
        assert!(
            first.starts_with("[100::") && first != second,
            "{first} {second}"
        );
        assert_eq!(
            shown(&one)[0],
            first,
            "the same address has the same pseudonym"
        );
        assert_ne!(shown(&other)[0], first, "another pepper, another pseudonym");
        let another_port = one.of("203.0.113.77:5000".parse().expect("an address"));
        assert_eq!(another_port.to_string(), first);
    }
}
