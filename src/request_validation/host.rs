//! The authority of a request: one plain host, with an optional port.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri, Version};

use voxgate_core::denial::DenialKind;

/// Checks `Host` and the authority of the target by RFC 9112 §3.2 and RFC 9113 §8.3.1.
pub(super) fn check(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), DenialKind> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.as_bytes()),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(DenialKind::InvalidHost),
    };
    let target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    for authority in [host, target].into_iter().flatten() {
        if !is_common(authority) {
            plain_authority(authority)?;
        }
    }
    match (host, target) {
        (None, None) if version != Version::HTTP_10 => Err(DenialKind::InvalidHost),
        (None, Some(_)) if version == Version::HTTP_11 => Err(DenialKind::InvalidHost),
        (Some(host), Some(target)) if plain_authority(host)? != plain_authority(target)? => {
            Err(DenialKind::InvalidHost)
        }
        _ => Ok(()),
    }
}

/// Whether this is a name or an IPv4 address, with an optional port: what almost every client sends,
/// and a part of what [`plain_authority`] accepts. Nothing is allocated to find out.
fn is_common(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.iter().rposition(|byte| *byte == b':') {
        Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
        None => (bytes, None),
    };
    let is_port = |port: &[u8]| {
        let digits = std::str::from_utf8(port).ok();
        let number = digits.and_then(|digits| digits.parse::<u16>().ok());
        number.is_some() && port.iter().all(u8::is_ascii_digit)
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.');
    (1..=200).contains(&host.len())
        && host.iter().fold(true, |all, byte| all & plain(byte))
        && port.is_none_or(is_port)
}

/// A host with an optional port and nothing else: no path, no userinfo, no list.
fn plain_authority(bytes: &[u8]) -> Result<Authority, DenialKind> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(plain) {
        return Err(DenialKind::InvalidHost);
    }
    let authority = Authority::try_from(bytes).map_err(|_| DenialKind::InvalidHost)?;
    let after_host = &authority.as_str()[authority.host().len()..];
    if authority.host().is_empty() || (!after_host.is_empty() && authority.port_u16().is_none()) {
        return Err(DenialKind::InvalidHost);
    }
    Ok(authority)
}
