//! One key, before it is in a ring.

use std::num::NonZeroU32;
use std::time::SystemTime;

use voxgate_core::error::Problem;

use crate::principal::Principal;
use crate::secret::{Digest, Secret};

use super::file::Takeaways;
use super::revocation::{InvalidRevocation, Revocation};
use super::signing::SigningFile;

/// The hexadecimal digits of a [fingerprint](Key::fingerprint).
pub(super) const FINGERPRINT_DIGITS: usize = 12;

/// One key: the digest of its secret, and whose it is.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) principal: Principal,
    digest: Digest,
    /// Under which it is known, too.
    more: Vec<Digest>,
    /// Whether its secret was given in the clear, and may be one that can be guessed.
    pub(super) in_the_clear: bool,
    /// Where it stands in its file.
    pub(super) line: Option<NonZeroU32>,
    pub(super) created: Option<SystemTime>,
    /// With which its requests are signed, if it may sign.
    pub(super) signing: Option<SigningFile>,
}

impl Key {
    /// A key by its secret. Only the digest is kept.
    #[must_use]
    pub fn from_secret(secret: &Secret, principal: Principal) -> Self {
        let mut key = Self::from_digest(secret.digest(), principal);
        key.in_the_clear = true;
        key
    }

    /// A key by the SHA-256 digest of its secret.
    #[must_use]
    pub fn from_digest(digest: Digest, principal: Principal) -> Self {
        Self {
            principal,
            digest,
            more: Vec::new(),
            in_the_clear: false,
            line: None,
            created: None,
            signing: None,
        }
    }

    /// Knows the key by another digest, too: the same secret in another form.
    #[must_use]
    pub fn or_digest(mut self, digest: Digest) -> Self {
        self.more.push(digest);
        self
    }

    /// Whether the key is known but refused.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.principal = self.principal.disabled(disabled);
        self
    }

    /// Whose it is. When it counts is the principal's [`state`](Principal::state).
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The first 12 hexadecimal digits of the digest: enough to find a key again, and of no use to
    /// anybody who would like to have it, as long as the secret cannot be guessed.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.digest.to_hex()[..FINGERPRINT_DIGITS].to_owned()
    }

    /// What revokes this key at once. The secret of a key in plain text is not identified, because it
    /// might be guessed.
    ///
    /// # Errors
    ///
    /// When its id cannot be in a keys file.
    pub fn revocation(&self) -> Result<Revocation, InvalidRevocation> {
        let fingerprint = (!self.in_the_clear).then(|| self.fingerprint());
        Revocation::new(self.principal.id(), fingerprint.as_deref())
    }

    /// The line of its file in which it begins, if it is from one.
    #[must_use]
    pub fn line(&self) -> Option<NonZeroU32> {
        self.line
    }

    /// When it was made, if its file says so.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.created
    }

    /// Whether its requests may be signed, with the secret in a file that it names.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.signing.is_some()
    }

    pub(super) fn is_refused_by(&self, takeaways: &Takeaways) -> bool {
        let mut digests = self.digests();
        digests.any(|digest| takeaways.name(&self.principal.clone().known_by(digest)))
    }

    /// The digests under which it is known, in the order in which a ring holds them.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + use<> {
        std::iter::once(self.digest).chain(self.more.clone())
    }

    pub(super) fn into_parts(self) -> (Principal, impl Iterator<Item = Digest>) {
        (
            self.principal,
            std::iter::once(self.digest).chain(self.more),
        )
    }

    /// That its id is empty. Audit records could not name its caller.
    pub(super) fn lacks_id(&self, file: &str) -> Option<Problem> {
        let place = match self.line {
            Some(line) => format!("{file}:{line}"),
            None => "a key".to_owned(),
        };
        let lacks = self.principal.id().is_empty();
        lacks.then(|| Problem::new(place, "has an empty id; audit records name callers by it"))
    }

    /// That what it has is another's, too. A key with a line is named by it, in the file of this
    /// name.
    pub(super) fn repeats(&self, what: &str, first: &Self, file: &str) -> Problem {
        let place = match self.line {
            Some(line) => format!("{file}:{line}"),
            None => format!("key `{}`", self.principal.id()),
        };
        let other = match first.line {
            Some(line) => format!("the key in line {line}"),
            None => format!("key `{}`", first.principal.id()),
        };
        Problem::new(
            place,
            format!("has the same {what} as {other}; give each key its own"),
        )
    }
}
