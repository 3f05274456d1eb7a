//! Types for secrets, and the only comparison of secrets.
//!
//! Credentials are compared as SHA-256 digests. All digests have the same length, so that neither
//! the length of a secret nor the position of the first different byte can be measured. (`subtle`
//! returns early for slices of different length.)

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::declassify::declassify;

/// The maximum length of a credential in bytes. A longer credential is always unknown.
pub const MAX_CREDENTIAL_BYTES: usize = 4096;

/// A credential as the caller presented it: untrusted bytes that may contain a secret.
///
/// `Debug` does not show the bytes. There is no `PartialEq`: compare [`RawCredential::digest`] with
/// [`Digest::matches`].
#[derive(Clone, Copy)]
pub struct RawCredential<'a> {
    bytes: &'a [u8],
    is_signature: bool,
}

impl<'a> RawCredential<'a> {
    /// Wraps the bytes of a credential, without its scheme.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            is_signature: false,
        }
    }

    /// Wraps the parameters of a signature: a proof that the caller has a secret, which is not the
    /// secret itself. It must never be looked up as a key.
    #[must_use]
    pub fn signature(parameters: &'a [u8]) -> Self {
        Self {
            bytes: parameters,
            is_signature: true,
        }
    }

    /// Whether this is a [signature](Self::signature) and not a key or a token.
    #[must_use]
    pub fn is_signature(&self) -> bool {
        self.is_signature
    }

    /// The SHA-256 digest of the presented bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes)
    }

    /// Whether the credential is within [`MAX_CREDENTIAL_BYTES`] and not empty.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        !self.bytes.is_empty() && self.bytes.len() <= MAX_CREDENTIAL_BYTES
    }

    /// The secret bytes, for a verifier that must send them to another system.
    ///
    /// Never log them, and never compare them with `==`.
    #[must_use]
    pub fn expose(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for RawCredential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCredential(..)")
    }
}

/// The SHA-256 digest of a credential.
///
/// `Debug` hides it: the digest of a guessable secret is as good as the secret.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `secret`.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Parses 64 hexadecimal digits, as in a keys file. Returns `None` for any other text.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0_u8; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(digest))
    }

    /// A digest that was computed elsewhere.
    #[doc(hidden)]
    #[must_use]
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 64 hexadecimal digits of a keys file, in lower case.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether both are the digest of the same credential, in constant time. This is the only
    /// comparison of credentials in this crate, and its result is declared to be public.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        // Eight bytes at a time, and one comparison with nothing at the end.
        let (own, other) = (self.words(), other.words());
        let differing = own
            .iter()
            .zip(other)
            .fold(0, |differing, (own, other)| differing | (own ^ other));
        declassify(differing.ct_eq(&0).into())
    }

    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
    }

    #[doc(hidden)]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// A secret that this process stores in plain text, such as a deployment key.
///
/// A secret is visible ASCII without spaces, so that it fits into a header. The type has no
/// `Display`, no `PartialEq` and no `Serialize`, and its `Debug` is redacted.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Accepts a non-empty secret of visible ASCII characters, [`MAX_CREDENTIAL_BYTES`] at most.
    ///
    /// # Errors
    ///
    /// [`InvalidSecret`] names the problem and never shows the secret.
    pub fn new(text: &str) -> Result<Self, InvalidSecret> {
        if text.trim().is_empty() {
            return Err(InvalidSecret::Blank);
        }
        if text.len() > MAX_CREDENTIAL_BYTES {
            return Err(InvalidSecret::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSecret::NotVisibleAscii);
        }
        Ok(Self(text.into()))
    }

    /// The secret itself. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digest under which a `KeyRing` knows this secret.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The reason why a text is not a valid secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// The text is empty or only white space.
    Blank,
    /// The text is longer than [`MAX_CREDENTIAL_BYTES`].
    TooLong,
    /// The text contains a space, a control character or a character outside ASCII.
    NotVisibleAscii,
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("is empty or blank"),
            Self::TooLong => write!(f, "is longer than {MAX_CREDENTIAL_BYTES} bytes"),
            Self::NotVisibleAscii => {
                f.write_str("contains a space, a control character or a character outside ASCII")
            }
        }
    }
}

impl std::error::Error for InvalidSecret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::new("hunter2hunter2").expect("a valid secret");
        let shown = format!(
            "{:?} {:?} {:?}",
            secret,
            secret.digest(),
            RawCredential::new(b"hunter2hunter2")
        );
        assert_eq!(shown, "Secret(..) Digest(..) RawCredential(..)");
    }

    #[test]
    fn digests_match_only_the_same_bytes() {
        let digest = Digest::of(b"secret");
        assert!(digest.matches(&RawCredential::new(b"secret").digest()));
        assert!(!digest.matches(&RawCredential::new(b"secret ").digest()));
        assert!(!digest.matches(&RawCredential::new(b"").digest()));
    }

    #[test]
    fn hex_digests_are_read_strictly() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let read = Digest::from_hex(hex).expect("64 hexadecimal digits");
        assert!(read.matches(&Digest::of(b"test")));
        assert_eq!(read.to_hex(), hex);
        assert!(Digest::from_hex(&hex.to_uppercase()).is_some());
        assert!(Digest::from_hex(&hex[1..]).is_none());
        assert!(Digest::from_hex(&format!("+{}", &hex[1..])).is_none());
        assert!(Digest::from_hex(&"é".repeat(32)).is_none());
    }

    #[test]
    fn a_secret_fits_into_a_header() {
        assert_eq!(Secret::new(" \n").unwrap_err(), InvalidSecret::Blank);
        assert_eq!(
            Secret::new("two words").unwrap_err(),
            InvalidSecret::NotVisibleAscii
        );
        assert_eq!(
            Secret::new(&"k".repeat(MAX_CREDENTIAL_BYTES + 1)).unwrap_err(),
            InvalidSecret::TooLong
        );
    }
}
