//! What an accepted request holds until it ends, and what a refused one has instead.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

use crate::denial::Denial;

use super::fields::Fields;
use super::local::Slot;

/// The right to be in flight. Dropping it, on whatever way out, makes room for another.
#[derive(Default)]
pub(crate) struct Permit(Option<Box<Held>>);

/// What a limited request holds. Boxed: most are not limited.
struct Held {
    _slot: Slot,
    #[cfg(feature = "redis")]
    _lease: Option<super::shared::Lease>,
    fields: Fields,
    queued: Option<Duration>,
}

impl Permit {
    pub(super) fn new(slot: Slot, fields: Fields, queued: Option<Duration>) -> Self {
        Self(Some(Box::new(Held {
            _slot: slot,
            #[cfg(feature = "redis")]
            _lease: None,
            fields,
            queued,
        })))
    }

    /// Holds the slots of all replicas, too.
    #[cfg(feature = "redis")]
    pub(super) fn with(mut self, lease: Option<super::shared::Lease>) -> Self {
        if let Some(held) = &mut self.0 {
            held._lease = lease;
        }
        self
    }

    /// How long it waited for it; `None` if it did not.
    pub(crate) fn queued(&self) -> Option<Duration> {
        self.0.as_ref()?.queued
    }

    /// Tells the caller what is left.
    pub(crate) fn write_fields(&self, headers: &mut HeaderMap) {
        if let Some(held) = &self.0 {
            held.fields.write(headers);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// Why a request may not begin.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) denial: Denial,
    /// What the caller is told in its place.
    pub(super) told: Option<Denial>,
    pub(crate) fields: Fields,
    pub(crate) queued: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(denial: Denial, told: Option<Denial>) -> Self {
        Self {
            denial,
            told,
            fields: Fields::default(),
            queued: None,
        }
    }

    pub(crate) fn told(&self) -> &Denial {
        self.told.as_ref().unwrap_or(&self.denial)
    }
}
