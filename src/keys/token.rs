//! Keys that we issue: `vxg_`, 43 characters of randomness, and a checksum of 6.

use std::io;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use voxgate_core::declassify::declassify;

use crate::secret::Secret;

/// The prefix by which secret scanners and people recognise a Voxgate key.
const PREFIX: &str = "vxg_";
/// Why a secret in a configuration cannot be right.
pub(crate) const MISTYPED: &str =
    "starts like a Voxgate key, but its checksum is wrong; copy the whole key";
const RANDOM_BYTES: usize = 32;
const CHECKSUM_CHARACTERS: usize = 6;
const LENGTH: usize = PREFIX.len() + (RANDOM_BYTES * 8).div_ceil(6) + CHECKSUM_CHARACTERS;

/// Makes a key: `vxg_`, 256 bits from the operating system, and a checksum of 6 characters.
///
/// It holds only `[A-Za-z0-9_-]`, so that it travels unchanged in headers, URLs and WebSocket
/// subprotocols. The checksum is the start of the SHA-256 of all that stands before it, in base64
/// (RFC 4648 §5); it finds typing errors and protects nothing.
///
/// # Errors
///
/// When the operating system has no randomness to give.
pub fn generate_key() -> io::Result<Secret> {
    let mut random = [0_u8; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut key = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&random));
    let checksum = checksum(key.as_bytes());
    key.extend(checksum.map(char::from));
    Secret::new(&key).map_err(io::Error::other)
}

/// Whether a credential has the form of a key of ours, with or without an id before it
/// (`id:secret`), and is none: it was cut off, or typed.
///
/// That it has our prefix is no secret, nor whether the checksum is right.
pub(crate) fn is_mistyped(presented: &[u8]) -> bool {
    let is_colon = |byte: &u8| declassify(*byte == b':');
    // One fact of the whole, because most credentials have none.
    let colons = presented
        .iter()
        .fold(false, |found, byte| found | (*byte == b':'));
    let start = declassify(colons)
        .then(|| presented.iter().rposition(is_colon))
        .flatten();
    let token = &presented[start.map_or(0, |colon| colon + 1)..];
    let Some((prefix, _)) = token.split_first_chunk::<{ PREFIX.len() }>() else {
        return false;
    };
    let is_ours = declassify(prefix[..].ct_eq(PREFIX.as_bytes()).into());
    is_ours && !is_whole(token)
}

/// Where a whole token of ours stands in a text, as its start and its end.
pub(crate) fn find(text: &[u8]) -> Option<(usize, usize)> {
    let mut windows = text.windows(LENGTH).enumerate();
    windows.find_map(|(start, window)| {
        let is_token = window.starts_with(PREFIX.as_bytes()) && is_whole(window);
        is_token.then_some((start, start + LENGTH))
    })
}

fn is_whole(token: &[u8]) -> bool {
    match token.split_last_chunk::<CHECKSUM_CHARACTERS>() {
        Some((body, given)) if token.len() == LENGTH => {
            declassify(checksum(body).ct_eq(given).into())
        }
        _ => false,
    }
}

/// Encoded in a time that does not depend on what: `base64` looks its characters up in a table.
fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARACTERS] {
    let mut checksum = [0; CHECKSUM_CHARACTERS];
    // Each three bytes become four characters, so that the first six bytes decide the first eight.
    let mut encoded = [0; 8];
    let digest = Sha256::digest(body);
    // The buffer is large enough, which is the only thing that can fail.
    _ = Base64UrlUnpadded::encode(&digest[..6], &mut encoded);
    checksum.copy_from_slice(&encoded[..CHECKSUM_CHARACTERS]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_url_safe_and_all_different() {
        let one = generate_key().expect("randomness");
        let two = generate_key().expect("randomness");
        for key in [one.expose(), two.expose()] {
            assert_eq!(key.len(), 4 + 43 + 6);
            assert!(key.starts_with("vxg_"));
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert!(key.bytes().all(safe));
        }
        assert!(!one.digest().matches(&two.digest()));
    }

    #[test]
    fn any_change_of_one_character_is_noticed() {
        let key = generate_key().expect("randomness");
        let key = key.expose().as_bytes();
        assert!(!is_mistyped(key));
        assert!(!is_mistyped(&[b"ivr:", key].concat()));
        for at in PREFIX.len()..key.len() {
            let mut typed = key.to_vec();
            typed[at] = if typed[at] == b'a' { b'b' } else { b'a' };
            assert!(is_mistyped(&typed), "character {at}");
            assert!(is_mistyped(&[b"ivr:", &typed[..]].concat()));
            assert!(is_mistyped(&key[..at]), "cut at {at}");
        }
        assert!(is_mistyped(&[key, b"a"].concat()));
        assert!(is_mistyped(b"vxg_"));
        for other in [&b"vxg"[..], b"sk-a-key-of-a-vendor", b"", b":"] {
            assert!(!is_mistyped(other));
        }
    }

    /// The form is documented, so that a secret scanner can check it.
    #[test]
    fn the_checksum_is_what_the_documentation_says() {
        let body = format!("vxg_{}", "A".repeat(43));
        assert_eq!(&checksum(body.as_bytes()), CHECKSUM_OF_ZEROS);
    }

    /// `printf %s vxg_AAAA… | openssl dgst -sha256 -binary | base64 | cut -c1-6`
    const CHECKSUM_OF_ZEROS: &[u8; 6] = b"I5jEUK";

    #[test]
    fn a_whole_token_is_found_in_any_text() {
        let key = generate_key().expect("randomness");
        let key = key.expose().as_bytes();
        assert_eq!(find(key), Some((0, LENGTH)));
        let text = [b"/vxg_/", key, b"x"].concat();
        assert_eq!(find(&text), Some((6, 6 + LENGTH)));
        assert_eq!(find(&key[1..]), None);
        assert_eq!(find(&key[..LENGTH - 1]), None);
        let mut typed = key.to_vec();
        typed[9] ^= 1;
        assert_eq!(find(&typed), None);
    }
}
