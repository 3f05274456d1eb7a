//! New keys.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;

/// Lets secret scanners, and people, tell our keys from others.
const PREFIX: &str = "vxg_";
const CHECKSUM_CHARACTERS: usize = 6;

/// Makes a key: `vxg_`, 256 bits from the operating system, and a checksum of 6 characters.
///
/// It holds only `[A-Za-z0-9_-]`, so that it travels unchanged in headers, URLs and WebSocket
/// subprotocols. The checksum is the start of the SHA-256 of all that stands before it; it finds
/// typing errors and protects nothing.
///
/// # Errors
///
/// When the operating system has no randomness to give.
pub fn generate_key() -> io::Result<Secret> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let checksum = URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_bytes()));
    key.push_str(&checksum[..CHECKSUM_CHARACTERS]);
    Secret::new(&key).map_err(io::Error::other)
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
}
