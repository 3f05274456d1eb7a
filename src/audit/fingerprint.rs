//! Fingerprints of unknown credentials.

use std::fmt;
use std::io;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use voxgate_core::declassify::declassify;

use crate::secret::RawCredential;

/// The key of fingerprints, for one process or for several processes that share it.
///
/// Without the pepper, a fingerprint cannot be used to check a guess of the credential.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// A pepper of at least 16 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mac = Hmac::new_from_slice(bytes).ok();
        mac.filter(|_| bytes.len() >= 16).map(Self)
    }

    /// A random pepper, for fingerprints that are compared within one process.
    ///
    /// # Errors
    ///
    /// If the operating system cannot supply random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Self::new(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The HMAC-SHA256 of a credential under this pepper, cut to 64 bits (RFC 2104 §5).
    #[must_use]
    pub fn fingerprint(&self, credential: RawCredential<'_>) -> CredentialFingerprint {
        let mut mac = self.0.clone();
        mac.update(credential.expose());
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        CredentialFingerprint(declassify(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

/// Identifies an unknown credential: 16 hexadecimal digits, which are equal for the same credential
/// and the same [`Pepper`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialFingerprint(u64);

impl fmt::Display for CredentialFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_credential_and_the_pepper() {
        let pepper = |text: &[u8]| Pepper::new(text).expect("long enough");
        let of = |pepper: &Pepper, text: &[u8]| pepper.fingerprint(RawCredential::new(text));
        let (one, other) = (pepper(b"0123456789abcdef"), pepper(b"0123456789abcdeF"));
        assert_eq!(of(&one, b"key"), of(&one, b"key"));
        assert_ne!(of(&one, b"key"), of(&one, b"kez"));
        assert_ne!(of(&one, b"key"), of(&other, b"key"));
        // printf %s key | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(of(&one, b"key").to_string(), EXPECTED);
        assert!(Pepper::new(b"short").is_none());
    }

    const EXPECTED: &str = "20a9171a03070f79";
}
