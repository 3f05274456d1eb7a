//! When a key counts.

use std::time::SystemTime;

/// From when and until when a key counts. Whatever is `None` does not limit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The first moment at which it counts.
    pub not_before: Option<SystemTime>,
    /// The first moment at which it does not count any more.
    pub expires: Option<SystemTime>,
}

/// Whether a key counts, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It counts.
    Active,
    /// It does not count yet.
    NotYetValid,
    /// It does not count any more.
    Expired,
    /// It was disabled, or revoked.
    Disabled,
}

impl KeyState {
    /// The name that people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not yet valid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
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
