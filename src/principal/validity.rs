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
    /// Whether it is always valid, so that no clock is needed.
    pub(super) fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn state(&self, now: SystemTime) -> KeyState {
        if self.expires.is_some_and(|expires| now >= expires) {
            KeyState::Expired
        } else if self.not_before.is_some_and(|start| now < start) {
            KeyState::NotYetValid
        } else {
            KeyState::Active
        }
    }
}
