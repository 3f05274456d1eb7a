//! A key that is revoked apart from its keys file.

use std::fmt;
use std::str::FromStr;

use crate::principal::Principal;

use super::key::FINGERPRINT_DIGITS;

/// Stands for every secret that a key has or had.
const ANY_SECRET: &str = "*";
/// As long as the longest id in a keys file.
const MAX_ID_BYTES: usize = 64;

/// A key that a [`SharedKeyRing`](super::SharedKeyRing) refuses at once, whatever its keys file says
/// so far: by its id, and by the fingerprint of its secret, so that a later key with this id is
/// another key. A revocation only takes rights away; it cannot express anything else.
///
/// As text it is the id, a space, and the fingerprint or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revocation {
    id: String,
    fingerprint: Option<String>,
}

/// What a [`Revocation`] finds in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RevocationEffect {
    /// The ring does not have the key.
    Unknown,
    /// The keys themselves refuse it: its file disables it, or it is expired.
    Refused,
    /// It was revoked after the ring was made.
    Revoked,
    /// The key is accepted, or will be when it becomes valid.
    Accepted,
}

impl Revocation {
    /// Revokes the key with this id, and only with the secret that has this
    /// [fingerprint](super::Key::fingerprint), if there is one.
    ///
    /// # Errors
    ///
    /// When one of them is not in its form.
    pub fn new(id: &str, fingerprint: Option<&str>) -> Result<Self, InvalidRevocation> {
        let plain = |byte: u8| byte.is_ascii_graphic();
        let is_id = (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(plain);
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_fingerprint = |text: &str| text.len() == FINGERPRINT_DIGITS && text.bytes().all(hex);
        if !is_id || !fingerprint.is_none_or(is_fingerprint) {
            return Err(InvalidRevocation);
        }
        Ok(Self {
            id: id.to_owned(),
            fingerprint: fingerprint.map(str::to_owned),
        })
    }

    /// The id of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this principal is the key.
    pub(super) fn names(&self, principal: &Principal) -> bool {
        let is_secret = |known: &String| {
            let credential = principal.credential();
            credential.is_some_and(|digest| digest.to_hex().starts_with(known))
        };
        principal.id() == self.id && self.fingerprint.as_ref().is_none_or(is_secret)
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint.as_deref().unwrap_or(ANY_SECRET);
        write!(f, "{} {fingerprint}", self.id)
    }
}

impl FromStr for Revocation {
    type Err = InvalidRevocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, fingerprint) = text.split_once(' ').ok_or(InvalidRevocation)?;
        Self::new(id, Some(fingerprint).filter(|text| *text != ANY_SECRET))
    }
}

/// A text is not a [`Revocation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRevocation;

impl fmt::Display for InvalidRevocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be the id of a key, a space, and the first 12 digits of its digest or *")
    }
}

impl std::error::Error for InvalidRevocation {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Digest;

    #[test]
    fn a_revocation_names_one_key_and_is_read_back() {
        let digest = Digest::of(b"a-long-enough-key-1");
        let fingerprint = &digest.to_hex()[..FINGERPRINT_DIGITS];
        let principal = |id: &str, secret: &[u8]| Principal::new(id).known_by(Digest::of(secret));
        let one = Revocation::new("ivr", Some(fingerprint)).expect("a revocation");
        let any = Revocation::new("ivr", None).expect("a revocation");
        for revocation in [&one, &any] {
            assert_eq!(revocation.to_string().parse().as_ref(), Ok(revocation));
            assert!(revocation.names(&principal("ivr", b"a-long-enough-key-1")));
            assert!(!revocation.names(&principal("ivr-2", b"a-long-enough-key-1")));
        }
        assert!(!one.names(&principal("ivr", b"a-long-enough-key-2")));
        assert!(any.names(&principal("ivr", b"a-long-enough-key-2")));
    }

    #[test]
    fn nothing_else_is_a_revocation() {
        for text in [
            "",
            "ivr",
            "ivr ",
            " *",
            "ivr 9F86D081884C",
            "ivr 9f86d081884",
            "ivr 9f86d081884c7",
            "ivr * *",
            "iv\nr *",
            "+ivr\u{e9} *",
        ] {
            assert!(text.parse::<Revocation>().is_err(), "{text}");
        }
    }
}
