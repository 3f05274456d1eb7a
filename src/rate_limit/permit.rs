//! What a request receives: a permit, or a refusal.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use voxgate_limits::Lease;

use crate::denial::Denial;

use super::header_fields::HeaderFields;

/// Permission to be in flight. Dropping it gives back what the request holds.
#[derive(Default)]
pub(crate) struct Permit(Option<Box<Held>>);

/// What a limited request holds. Boxed, because most requests are not limited.
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

    /// How long the request waited for it; `None` if it did not wait.
    pub(crate) fn queued(&self) -> Option<Duration> {
        self.0.as_ref()?.queued
    }

    /// Adds the header fields that tell the caller what is left.
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

/// Why a request may not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) denial: Denial,
    /// What the caller is told instead.
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
