//! The authority of a request: one plain host, with an optional port.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri, Version};

use voxgate_core::denial::DenialKind;

/// Checks `Host` and the authority of the target by RFC 9112 §3.2 and RFC 9113 §8.3.1.
pub(super) fn check(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), DenialKind> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(plain_authority(host.as_bytes())?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(DenialKind::InvalidHost),
    };
    let target = match uri.authority() {
        Some(authority) => Some(plain_authority(authority.as_str().as_bytes())?),
        None => None,
    };
    match (host, target) {
        (None, None) if version != Version::HTTP_10 => Err(DenialKind::InvalidHost),
        (None, Some(_)) if version == Version::HTTP_11 => Err(DenialKind::InvalidHost),
        (Some(host), Some(target)) if host != target => Err(DenialKind::InvalidHost),
        _ => Ok(()),
    }
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
