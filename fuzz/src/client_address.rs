//! What proxies and load balancers say about a client.

use std::net::{IpAddr, SocketAddr};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use voxgate::principal::Network;
use voxgate_client_address::{ClientHeader, TrustedProxies, proxy_protocol as header};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of a connection. The header is read as the model reads it, and no byte behind it.
pub fn proxy_protocol(input: &[u8]) {
    let mut rest = input;
    let Some(read) = header::read(&mut rest).now_or_never() else {
        panic!("a slice is always ready");
    };
    let used = &input[..input.len() - rest.len()];
    match (read, model(input)) {
        (Ok(source), Some((expected, length))) => {
            assert_eq!(source, expected);
            assert_eq!(used.len(), length);
            assert!(header::is_start(used));
        }
        (Err(_), None) => {}
        (read, model) => panic!("{read:?}, and not {model:?}"),
    }
}

/// The source, and the length of the header.
fn model(input: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    match input.strip_prefix(V2) {
        Some(rest) => model_v2(rest),
        None => model_v1(input),
    }
}

fn model_v1(input: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    // The shortest header has 15 bytes, and the longest one 107.
    let line = input.get(..input.len().min(107))?;
    let end = 13 + line.get(13..)?.windows(2).position(|two| two == b"\r\n")?;
    let length = end + 2;
    let text = line[..end].strip_prefix(b"PROXY ")?;
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Some((None, length));
    }
    let text = std::str::from_utf8(text).ok()?;
    let words: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().map(IpAddr::V4).ok(),
            "TCP6" => text.parse().map(IpAddr::V6).ok(),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let is_plain = text == "0" || !text.starts_with(['0', '+']);
        text.parse().ok().filter(|_| is_plain)
    };
    address(destination)?;
    port(destination_port)?;
    Some((Some((address(source)?, port(source_port)?).into()), length))
}

fn model_v2(rest: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let (&[version, family, high, low], rest) = rest.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_short = V2.len() + 4 + length <= 4096;
    let payload = rest.get(..length).filter(|_| is_short)?;
    let needed = match family >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return None,
    };
    if payload.len() < needed || family & 15 > 2 {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let source = match (version, family) {
        (0x20, _) | (0x21, 0x00..=0x02 | 0x31) => None,
        (0x21, 0x11) => {
            let address: [u8; 4] = payload[..4].try_into().ok()?;
            Some((address, port(8)).into())
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = payload[..16].try_into().ok()?;
            Some((address, port(32)).into())
        }
        _ => return None,
    };
    Some((source, V2.len() + 4 + length))
}

/// Headers, one a line, in which a client names another one. A trusted proxy adds what it saw, and
/// that is the client.
pub fn client_address(input: &[u8]) {
    let client = IpAddr::from([203, 0, 113, 7]);
    let proxy = SocketAddr::from(([10, 0, 0, 1], 1));
    for (kind, name) in [
        (ClientHeader::XForwardedFor, "x-forwarded-for"),
        (ClientHeader::Forwarded, "forwarded"),
        (ClientHeader::XRealIp, "x-real-ip"),
    ] {
        let networks = Network::parse_list("10.0.0.0/8").unwrap_or_default();
        let proxies = TrustedProxies::new(networks, kind);
        let mut headers = HeaderMap::new();
        for line in input.split(|byte| *byte == b'\n').take(8) {
            let names = [
                name,
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-forwarded-port",
            ];
            for name in names {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(HeaderName::from_static(name), value);
                }
            }
        }
        assert_eq!(proxies.read(SocketAddr::new(client, 1), &headers), None);
        let named = match kind {
            ClientHeader::Forwarded => "for=203.0.113.7",
            _ => "203.0.113.7",
        };
        if kind == ClientHeader::XRealIp {
            headers.remove(name);
        }
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(named),
        );
        let Some(read) = proxies.read(proxy, &headers) else {
            panic!("the proxy is trusted");
        };
        assert_eq!(read.client, client);
        assert_eq!(read.fields.chain, "203.0.113.7, 10.0.0.1");
        for value in [&read.fields.host, &read.fields.port, &read.fields.proto] {
            let text = value.as_ref().and_then(|value| value.to_str().ok());
            assert!(!text.unwrap_or_default().contains([',', '@', ' ', '/', '"']));
        }
    }
}
