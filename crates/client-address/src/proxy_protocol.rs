//! The PROXY protocol, versions 1 and 2: a header before the first byte of a connection, in which a load
//! balancer names the client.
//!
//! The source is HAProxy's [specification](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
//! A receiver must know from where it expects the header: it requires it there, and accepts it nowhere
//! else (§2). The gateway decides this by the network of the peer.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ppp::v2::Command;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How version 1 begins (§2.1).
const V1_PREFIX: &[u8] = b"PROXY ";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";
/// The shortest header of both versions: `PROXY UNKNOWN\r\n`.
const SHORTEST: usize = 15;
/// The longest header of version 1 (§2.1).
const V1_LONGEST: usize = 107;
/// The signature, version, family and length of version 2 (§2.2).
const V2_START: usize = 16;
/// The longest header of version 2 that is read. Addresses have at most 216 bytes; the rest is for TLVs,
/// such as the names in a client's certificate.
const V2_LONGEST: usize = 4096;

/// Whether a connection begins as the PROXY protocol does. False for fewer bytes than its signature.
#[must_use]
pub fn is_start(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_PREFIX) || bytes.starts_with(v2::PROTOCOL_PREFIX)
}

/// Why there is no header.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeaderError {
    /// The connection ended or failed before the header was complete.
    Io(io::Error),
    /// The first bytes are no header of version 1 or 2, or one with an unknown command or family.
    Malformed,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the PROXY protocol header is incomplete: {error}"),
            Self::Malformed => f.write_str("the connection begins without a PROXY protocol header"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Reads a header of version 1 or 2, and no byte behind it. Returns the source address; `None` if the
/// header names none: it is a health check of the load balancer itself (`LOCAL`, `UNKNOWN`), or a Unix
/// socket.
///
/// The caller limits the time.
///
/// # Errors
///
/// If the connection does not begin with a header of at most 4 096 bytes.
///
/// # Cancel safety
///
/// Not cancel-safe: bytes that were read are lost. Close the connection.
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; SHORTEST];
    read_exact(stream, &mut header).await?;
    if header.starts_with(V1_PREFIX) {
        // The length is not known before the end.
        while !header.ends_with(b"\r\n") {
            if header.len() >= V1_LONGEST {
                return Err(HeaderError::Malformed);
            }
            header.push(0);
            let end = header.len() - 1;
            read_exact(stream, &mut header[end..]).await?;
        }
        return parse_v1(&header);
    }
    if !header.starts_with(v2::PROTOCOL_PREFIX) {
        return Err(HeaderError::Malformed);
    }
    header.resize(V2_START, 0);
    read_exact(stream, &mut header[SHORTEST..]).await?;
    let rest = u16::from_be_bytes([header[V2_START - 2], header[V2_START - 1]]);
    let length = V2_START + usize::from(rest);
    if length > V2_LONGEST {
        return Err(HeaderError::Malformed);
    }
    header.resize(length, 0);
    read_exact(stream, &mut header[V2_START..]).await?;
    parse_v2(&header)
}

async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Result<(), HeaderError> {
    let read = stream.read_exact(buffer).await;
    read.map(|_| ()).map_err(HeaderError::Io)
}

fn parse_v1(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    // §2.1: what follows is ignored. `ppp` refuses some of it.
    let unknown = header.strip_prefix(V1_UNKNOWN);
    if unknown.is_some_and(|rest| rest.starts_with(b" ") || rest == b"\r\n") {
        return Ok(None);
    }
    // `ppp` accepts a sign before a port.
    if header.contains(&b'+') {
        return Err(HeaderError::Malformed);
    }
    let header = v1::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
    })
}

fn parse_v2(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let header = v2::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    if header.command == Command::Local {
        return Ok(None);
    }
    match (header.protocol, header.addresses) {
        (v2::Protocol::Stream, v2::Addresses::IPv4(tcp)) => {
            Ok(Some((tcp.source_address, tcp.source_port).into()))
        }
        (v2::Protocol::Stream, v2::Addresses::IPv6(tcp)) => {
            Ok(Some((tcp.source_address, tcp.source_port).into()))
        }
        (_, v2::Addresses::Unspecified) | (v2::Protocol::Stream, v2::Addresses::Unix(_)) => {
            Ok(None)
        }
        // Datagrams do not come by a stream.
        _ => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use tokio::runtime::Builder;

    /// The source, and what is left to read.
    fn read_all(bytes: &[u8]) -> Result<(Option<SocketAddr>, &[u8]), HeaderError> {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let mut rest = bytes;
        let source = runtime.block_on(read(&mut rest))?;
        Ok((source, rest))
    }

    fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a short payload");
        let start = [version_command, family];
        [
            v2::PROTOCOL_PREFIX,
            &start[..],
            &length.to_be_bytes()[..],
            payload,
        ]
        .concat()
    }

    const IPV4: &[u8] = &[203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x01, 0xbb];

    fn ipv6() -> Vec<u8> {
        let source = "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address");
        [
            &source.octets()[..],
            &source.octets()[..],
            &[0x9c, 0x40, 0x01, 0xbb][..],
        ]
        .concat()
    }

    #[test]
    fn both_versions_name_the_client_and_leave_the_rest() {
        let tlv = [IPV4, &[0x03, 0x00, 0x02, 1, 2][..]].concat();
        let unix = vec![b'x'; 216];
        let v4 = Some("203.0.113.7:40000");
        for (header, expected) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n".to_vec(),
                v4,
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n".to_vec(),
                Some("[2001:db8::7]:40000"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN TCP4 1.2.3.4 1.2.3.4 1 2 3 4\r\n".to_vec(),
                None,
            ),
            (v2(0x21, 0x11, IPV4), v4),
            (v2(0x21, 0x11, &tlv), v4),
            (v2(0x21, 0x21, &ipv6()), Some("[2001:db8::7]:40000")),
            (v2(0x20, 0x11, IPV4), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &unix), None),
        ] {
            assert!(is_start(&header));
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let (source, rest) = read_all(&bytes).expect("a header");
            assert_eq!(
                source,
                expected.map(|address| address.parse().expect("an address"))
            );
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = v2(0x21, 0x11, &[IPV4, &[0; 4096][..]].concat());
        let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 70000 2\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2 3\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n",
            b"proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n",
            late.as_bytes(),
            &long,
            &v2(0x11, 0x11, IPV4),
            &v2(0x22, 0x11, IPV4),
            &v2(0x21, 0x41, IPV4),
            &v2(0x21, 0x12, IPV4),
            &v2(0x21, 0x11, &IPV4[1..]),
            &v2(0x21, 0x21, IPV4),
        ] {
            let read = read_all(bytes);
            assert!(
                matches!(read, Err(HeaderError::Malformed)),
                "{read:?}: {bytes:?}"
            );
        }
        for bytes in [
            &b""[..],
            b"PROXY TCP4 203.0.113.7",
            &v2(0x21, 0x11, IPV4)[..20],
        ] {
            assert!(
                matches!(read_all(bytes), Err(HeaderError::Io(_))),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            start in any::<[u8; 2]>(),
            length in any::<u16>(),
        ) {
            let _ = read_all(&payload);
            let _ = read_all(&[V1_PREFIX, &payload[..]].concat());
            let mut header = v2(start[0], start[1], &payload);
            let _ = read_all(&header);
            header[14..16].copy_from_slice(&length.to_be_bytes());
            let _ = read_all(&header);
        }
    }
}
