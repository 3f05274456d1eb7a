//! Keys that another system made.

use std::fmt;

use super::{strength, token};
use crate::dialect::Dialect;
use crate::secret::{Digest, Secret};

const MIN_CHARACTERS: usize = 16;

/// A key in the clear that a vendor or a person made.
#[derive(Clone, Debug)]
pub struct PlainKey {
    secret: Secret,
    digests: Vec<Digest>,
    dialect: Dialect,
}

impl PlainKey {
    /// A key as this dialect's clients hold it. For Inworld that is `id:secret`, or its base64.
    ///
    /// # Errors
    ///
    /// Why it cannot serve; a key of less than 16 characters cannot, because it can be guessed.
    pub fn new(text: &str, dialect: Dialect) -> Result<Self, InvalidKey> {
        let secret = Secret::new(text).map_err(|error| InvalidKey(error.to_string()))?;
        let secret = dialect.decoded(secret);
        if secret.expose().len() < MIN_CHARACTERS {
            return Err(InvalidKey(format!(
                "is shorter than {MIN_CHARACTERS} characters, which can be guessed; use a longer \
                 one"
            )));
        }
        if token::is_mistyped(secret.expose().as_bytes()) {
            return Err(InvalidKey(token::MISTYPED.to_owned()));
        }
        match dialect.digests(&secret) {
            Ok(digests) => Ok(Self {
                secret,
                digests,
                dialect,
            }),
            Err(wrong) => Err(InvalidKey(wrong.to_owned())),
        }
    }

    /// Whether it has less than about 128 bits of randomness: its digest is then as good as the
    /// key itself to a reader who can guess.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        strength::is_weak(self.secret.expose())
    }

    /// Whether it begins or ends with a quotation mark, which counts as part of the key.
    pub(super) fn is_quoted(&self) -> bool {
        is_quoted(self.secret.expose())
    }

    /// The digest by which a keys file knows it. `None` when one is not enough, because `Auto` may
    /// take it for a key of this vendor or that.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match (self.dialect, self.digests.as_slice()) {
            (Dialect::Auto, [_, _, ..]) => None,
            (_, digests) => digests.last().copied(),
        }
    }

    pub(super) fn into_parts(self) -> (Secret, Vec<Digest>) {
        (self.secret, self.digests)
    }
}

/// Whether a key begins or ends with a quotation mark, which was probably not meant as a part of it.
pub(crate) fn is_quoted(secret: &str) -> bool {
    secret.starts_with(['"', '\'']) || secret.ends_with(['"', '\''])
}

/// Why a text cannot serve as a key. It never shows the text.
#[derive(Debug)]
pub struct InvalidKey(String);

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_as_its_clients_present_it() {
        let known = |key: &str, dialect| PlainKey::new(key, dialect).expect("a key").digest();
        for (key, dialect, presented) in [
            ("eu-0123456789abcdef", Dialect::Rime, "eu-0123456789abcdef"),
            ("eu-0123456789abcdef", Dialect::Kugel, "0123456789abcdef"),
            (
                "ivr:0123456789abcdef",
                Dialect::Inworld,
                "ivr:0123456789abcdef",
            ),
            (
                "aXZyOjAxMjM0NTY3ODlhYmNkZWY=",
                Dialect::Inworld,
                "ivr:0123456789abcdef",
            ),
            ("0123456789abcdef", Dialect::Auto, "0123456789abcdef"),
        ] {
            let digest = known(key, dialect).expect("one digest");
            assert!(
                digest.matches(&Digest::of(presented.as_bytes())),
                "{dialect}"
            );
        }
        assert!(known("eu-0123456789abcdef", Dialect::Auto).is_none());
    }

    #[test]
    fn what_cannot_serve_is_refused_without_being_shown() {
        for (text, dialect) in [
            ("", Dialect::Rime),
            ("hunter2", Dialect::Rime),
            ("hunter2 hunter2 hunter2", Dialect::Rime),
            ("vxg_hunter2hunter2hunter2", Dialect::Rime),
            ("hunter2hunter2hunter2", Dialect::Inworld),
            ("aWQ6aHVudGVyMg==", Dialect::Inworld),
        ] {
            let error = PlainKey::new(text, dialect).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let weak = PlainKey::new("hunter2hunter2hunter2", Dialect::Rime).expect("a key");
        assert!(weak.is_weak());
        assert!(!format!("{weak:?}").contains("hunter2"));
    }
}
