//! Basic credentials (RFC 7617): `base64(id:secret)`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// Decodes `id:secret` from standard base64 with padding. Returns `None` if either part is
/// missing.
pub(super) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(encoded).ok()?;
    has_two_parts(&decoded).then_some(decoded)
}

/// The id in the value of an `Authorization` header with Basic credentials.
#[must_use]
pub fn id(authorization: &[u8]) -> Option<String> {
    let (scheme, rest) = authorization.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = decode(rest.trim_ascii_start())?;
    let id = decoded.split(|byte| *byte == b':').next()?;
    String::from_utf8(id.to_vec()).ok()
}

/// Returns the header value for a key that is `id:secret` or already encoded.
pub(super) fn encode(key: &Secret) -> String {
    let text = key.expose();
    match has_two_parts(text.as_bytes()) {
        true => STANDARD.encode(text),
        false => text.to_owned(),
    }
}

/// Whether a key can be presented as Basic: `id:secret`, or its base64.
pub(super) fn is_valid(key: &Secret) -> bool {
    let text = key.expose().as_bytes();
    has_two_parts(text) || decode(text).is_some()
}

/// Whether the text is an id, a colon and a secret (RFC 7617 §2: the id has no colon).
pub(super) fn has_two_parts(text: &[u8]) -> bool {
    let colon = text.iter().position(|byte| *byte == b':');
    colon.is_some_and(|colon| colon > 0 && colon + 1 < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_base64_of_two_parts_is_read() {
        for (encoded, expected) in [
            ("aWQ6c2VjcmV0", Some("id:secret")),
            ("aWQ6czpl", Some("id:s:e")),
            ("aWQ6c2VjcmV0cw==", Some("id:secrets")),
            // Padding is missing, excessive, or in the middle.
            ("aWQ6c2VjcmV0cw", None),
            ("aWQ6c2VjcmV0cw=", None),
            ("aWQ6c2VjcmV0====", None),
            ("aWQ=6c2VjcmV0", None),
            // Unused bits that are not zero.
            ("aWQ6c2VjcmV0cx==", None),
            // White space, and the URL-safe alphabet.
            ("aWQ6 c2VjcmV0", None),
            ("aWQ6c2VjcmV0\n", None),
            ("aWQ6Pz8_Pz8-", None),
            ("aWQ6Pz8/Pz8+", Some("id:?????>")),
            // No colon, no id, no secret, nothing.
            ("c2VjcmV0", None),
            ("OnNlY3JldA==", None),
            ("aWQ6", None),
            ("Og==", None),
            ("", None),
        ] {
            let read = decode(encoded.as_bytes());
            assert_eq!(read.as_deref(), expected.map(str::as_bytes), "{encoded}");
        }
    }

    #[test]
    fn a_key_is_encoded_once() {
        for (key, valid) in [
            ("id:secret", true),
            ("aWQ6c2VjcmV0", true),
            ("secret", false),
        ] {
            let key = Secret::new(key).expect("a secret");
            assert_eq!(is_valid(&key), valid);
            if valid {
                assert_eq!(encode(&key), "aWQ6c2VjcmV0");
            }
        }
    }
}
