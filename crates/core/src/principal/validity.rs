//! The validity of a key.

use std::time::SystemTime;

use crate::denial::DenialKind;

/// The period in which a key is valid. A field that is `None` does not limit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The start of the period, inclusive.
    pub not_before: Option<SystemTime>,
    /// The end of the period, exclusive.
    pub expires: Option<SystemTime>,
}

/// Whether a key is valid, and the reason if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// The key is valid.
    Active,
    /// The key is not valid yet.
    NotYetValid,
    /// The key has expired.
    Expired,
    /// The key was disabled or revoked.
    Disabled,
}

impl KeyState {
    /// The name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not yet valid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
        }
    }

    /// Why a key in this state is refused. `None` if it is valid.
    #[must_use]
    pub fn denial(self) -> Option<DenialKind> {
        match self {
            Self::Active => None,
            Self::NotYetValid => Some(DenialKind::NotYetValidCredential),
            Self::Expired => Some(DenialKind::ExpiredCredential),
            Self::Disabled => Some(DenialKind::DisabledCredential),
        }
    }
}

impl Validity {
    pub(super) fn state(&self, now: SystemTime) -> KeyState {
        // Both bounds are compared, whatever the first says.
        let has_expired = self.expires.is_some_and(|expires| now >= expires);
        let is_early = self.not_before.is_some_and(|start| now < start);
        match (has_expired, is_early) {
            (true, _) => KeyState::Expired,
            (false, true) => KeyState::NotYetValid,
            (false, false) => KeyState::Active,
        }
    }
}
