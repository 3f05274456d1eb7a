//! Credentials in the subprotocols that a WebSocket client offers (RFC 6455 §1.9). Browsers cannot
//! set any other header on an upgrade.

use std::borrow::Cow;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use voxgate_core::denial::DenialKind;

/// The form of a credential in an offer.
#[derive(Clone, Copy)]
pub(super) enum Offer {
    /// One of these names, followed by the credential as the next offer: `token, K`.
    After(&'static [&'static str]),
    /// This prefix, followed by the credential: `bearer_K`.
    Prefix(&'static str),
    /// The same beside this name, which the server selects: `realtime, openai-insecure-api-key.K`.
    PrefixBeside(&'static str, &'static str),
}

impl Offer {
    /// Returns the only credential among the offers.
    pub(super) fn value<'a>(
        self,
        headers: &'a HeaderMap,
    ) -> Result<Option<Cow<'a, [u8]>>, DenialKind> {
        let mut found = None;
        let mut offers = offers(headers);
        while let Some(offer) = offers.next() {
            let credential = match self {
                Self::After(_) if self.name_in(offer).is_some() => offers.next(),
                Self::Prefix(prefix) | Self::PrefixBeside(prefix, _) => {
                    match offer.strip_prefix(prefix.as_bytes()) {
                        Some(credential) => Some(credential),
                        None => continue,
                    }
                }
                Self::After(_) => continue,
            };
            match credential {
                Some(credential) if !credential.is_empty() => {
                    if found.replace(Cow::Borrowed(credential)).is_some() {
                        return Err(DenialKind::ConflictingCredentials);
                    }
                }
                _ => return Err(DenialKind::MalformedCredential),
            }
        }
        Ok(found)
    }

    /// Passes each credential among the offers to `found`.
    pub(super) fn each_value(self, headers: &HeaderMap, found: &mut dyn FnMut(&[u8])) {
        let mut offers = offers(headers);
        while let Some(offer) = offers.next() {
            match self {
                Self::Prefix(prefix) | Self::PrefixBeside(prefix, _) => {
                    offer.strip_prefix(prefix.as_bytes()).map(&mut *found);
                }
                Self::After(_) if self.name_in(offer).is_some() => {
                    offers.next().map(&mut *found);
                }
                Self::After(_) => {}
            }
        }
    }

    /// Removes every credential. The other offers keep their order.
    pub(super) fn remove(self, headers: &mut HeaderMap) {
        let mut left: Vec<&[u8]> = Vec::new();
        let mut removed = false;
        let mut offers = offers(headers);
        while let Some(offer) = offers.next() {
            match self {
                Self::Prefix(prefix) | Self::PrefixBeside(prefix, _)
                    if offer.starts_with(prefix.as_bytes()) =>
                {
                    removed = true;
                }
                Self::After(_) if self.name_in(offer).is_some() => {
                    left.push(offer);
                    removed |= offers.next().is_some();
                }
                _ => left.push(offer),
            }
        }
        drop(offers);
        if removed {
            let left = left.join(&b", "[..]);
            replace(headers, &left);
        }
    }

    /// The public name that accompanies the credential, if it was offered.
    pub(super) fn name(self, headers: &HeaderMap) -> Option<&'static str> {
        offers(headers).find_map(|offer| self.name_in(offer))
    }

    fn name_in(self, offer: &[u8]) -> Option<&'static str> {
        match self {
            Self::After(names) => names.iter().copied().find(|name| name.as_bytes() == offer),
            Self::PrefixBeside(_, name) => Some(name).filter(|name| name.as_bytes() == offer),
            Self::Prefix(_) => None,
        }
    }
}

/// Removes every offer that equals the secret.
pub(super) fn remove_values(headers: &mut HeaderMap, is_secret: impl Fn(&[u8]) -> bool) {
    if offers(headers).any(&is_secret) {
        let left: Vec<&[u8]> = offers(headers).filter(|offer| !is_secret(offer)).collect();
        let left = left.join(&b", "[..]);
        replace(headers, &left);
    }
}

fn replace(headers: &mut HeaderMap, offers: &[u8]) {
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(offers) = HeaderValue::from_bytes(offers)
        && !offers.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offers);
    }
}

fn offers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Offer = Offer::After(&["token", "bearer"]);
    const BEARER: Offer = Offer::Prefix("bearer_");
    const INSECURE: Offer = Offer::PrefixBeside("openai-insecure-api-key.", "realtime");

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_credential_follows_its_name_or_its_prefix() {
        let conflicting = Err(DenialKind::ConflictingCredentials);
        let malformed = Err(DenialKind::MalformedCredential);
        for (offer, lines, expected) in [
            (TOKEN, &[][..], Ok(None)),
            (TOKEN, &["json, k"], Ok(None)),
            (TOKEN, &["token, k"], Ok(Some("k"))),
            (TOKEN, &["json,bearer ,k , x"], Ok(Some("k"))),
            (TOKEN, &["token", "k"], Ok(Some("k"))),
            (TOKEN, &["token"], malformed),
            (TOKEN, &["token, "], malformed),
            (TOKEN, &["token, k, bearer, k"], conflicting),
            (TOKEN, &["Token, k"], Ok(None)),
            (BEARER, &["bearer, k"], Ok(None)),
            (BEARER, &["json, bearer_k"], Ok(Some("k"))),
            (BEARER, &["bearer_"], malformed),
            (BEARER, &["bearer_k, bearer_l"], conflicting),
            (
                INSECURE,
                &["realtime, openai-insecure-api-key.k, openai-beta.realtime-v1"],
                Ok(Some("k")),
            ),
            (INSECURE, &["realtime"], Ok(None)),
            (INSECURE, &["openai-insecure-api-key."], malformed),
        ] {
            let expected = expected.map(|value| value.map(|value| Cow::from(value.as_bytes())));
            assert_eq!(offer.value(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_the_credential_is_removed() {
        for (offer, before, after) in [
            (TOKEN, &["token, k"][..], &["token"][..]),
            (TOKEN, &["json, token, k, x"], &["json, token, x"]),
            (TOKEN, &["json", "token", "k"], &["json, token"]),
            (TOKEN, &["json,  x"], &["json,  x"]),
            (BEARER, &["json, bearer_k"], &["json"]),
            (BEARER, &["bearer_k"], &[]),
            (
                INSECURE,
                &["realtime, openai-insecure-api-key.k, openai-beta.realtime-v1"],
                &["realtime, openai-beta.realtime-v1"],
            ),
        ] {
            let mut left = headers(before);
            offer.remove(&mut left);
            assert_eq!(left, headers(after), "{before:?}");
        }
        assert_eq!(TOKEN.name(&headers(&["x, bearer, k"])), Some("bearer"));
        assert_eq!(BEARER.name(&headers(&["bearer_k"])), None);
        let offers = headers(&["openai-insecure-api-key.k, realtime"]);
        assert_eq!(INSECURE.name(&offers), Some("realtime"));
    }
}
