//! Permits and refusals.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use voxgate_core::denial::Denial;
use voxgate_limits::Lease;

use super::header_fields::HeaderFields;

/// The permit of a request in flight. Dropping it releases the request's slots.
#[derive(Default)]
pub(crate) struct Permit(Option<Box<Held>>);

/// The resources of a limited request. Boxed, because most requests have no limits.
struct Held {
    _lease: Lease,
    /// The lease of the local store, if there is a shared one.
    local: Option<Lease>,
    fields: HeaderFields,
    queued: Option<Duration>,
}

impl Permit {
    pub(super) fn new(lease: Lease, fields: HeaderFields, queued: Option<Duration>) -> Self {
        Self(Some(Box::new(Held {
            _lease: lease,
            local: None,
            fields,
            queued,
        })))
    }

    /// Holds the lease of the local store as well.
    pub(super) fn with(mut self, local: Lease) -> Self {
        if let Some(held) = &mut self.0 {
            held.local = Some(local);
        }
        self
    }

    /// How long the request waited for the permit. `None` if it did not wait.
    pub(crate) fn queued(&self) -> Option<Duration> {
        self.0.as_ref()?.queued
    }

    /// Adds the header fields that report the remaining limits. Returns whether there are any.
    pub(crate) fn write_fields(&self, headers: &mut HeaderMap) -> bool {
        self.0
            .as_ref()
            .is_some_and(|held| held.fields.write(headers))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// The reason why a request may not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) denial: Denial,
    /// The denial that is shown to the caller instead.
    pub(super) told: Option<Denial>,
    pub(crate) fields: HeaderFields,
    pub(crate) queued: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(denial: Denial, told: Option<Denial>) -> Self {
        Self {
            denial,
            told,
            fields: HeaderFields::default(),
            queued: None,
        }
    }

    pub(crate) fn told(&self) -> &Denial {
        self.told.as_ref().unwrap_or(&self.denial)
    }
}
