//! Permits and refusals.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use voxgate_core::denial::Denial;
use voxgate_limits::Lease;

use super::header_fields::HeaderFields;
use super::load_report;

/// The permit of a request in flight. Dropping it releases the request's slots.
#[derive(Default)]
pub(crate) struct Permit(Option<Box<Held>>);

/// The resources of a limited request. Boxed, because most requests have no limits.
struct Held {
    _lease: Lease,
    /// The lease of the local store, if there is a shared one.
    local: Option<Lease>,
    fields: HeaderFields,
    /// The vendor's names of the fields for the concurrency.
    concurrency_fields: Option<&'static [HeaderName; 2]>,
    load: Option<HeaderValue>,
    queued: Option<Duration>,
}

impl Permit {
    pub(super) fn new(lease: Lease, fields: HeaderFields, queued: Option<Duration>) -> Self {
        Self(Some(Box::new(Held {
            _lease: lease,
            local: None,
            fields,
            concurrency_fields: None,
            load: None,
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

    /// Reports this load, unless the response of the inner service has its own report.
    pub(super) fn with_load(mut self, load: Option<HeaderValue>) -> Self {
        if let Some(held) = &mut self.0 {
            held.load = load;
        }
        self
    }

    /// Also reports the concurrency in these fields: used and allowed.
    pub(crate) fn name_concurrency(&mut self, names: Option<&'static [HeaderName; 2]>) {
        if let Some(held) = &mut self.0 {
            held.concurrency_fields = names;
        }
    }

    /// How long the request waited for the permit. `None` if it did not wait.
    pub(crate) fn queued(&self) -> Option<Duration> {
        self.0.as_ref()?.queued
    }

    /// Adds the header fields that report the remaining limits. Returns whether there are any.
    pub(crate) fn write_fields(&self, headers: &mut HeaderMap) -> bool {
        let Some(held) = &self.0 else {
            return false;
        };
        let any = held.fields.write(headers);
        if let Some(names) = held.concurrency_fields {
            held.fields.write_concurrency(names, headers);
        }
        if let Some(load) = &held.load {
            load_report::write(load, headers);
        }
        any
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
    pub(crate) fields: HeaderFields,
    pub(crate) load: Option<HeaderValue>,
    pub(crate) queued: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(denial: Denial) -> Self {
        Self {
            denial,
            fields: HeaderFields::default(),
            load: None,
            queued: None,
        }
    }

    /// Adds the header fields that report limits and load.
    pub(crate) fn write_fields(
        &self,
        concurrency_fields: Option<&'static [HeaderName; 2]>,
        headers: &mut HeaderMap,
    ) {
        self.fields.write(headers);
        if let Some(names) = concurrency_fields {
            self.fields.write_concurrency(names, headers);
        }
        if let Some(load) = &self.load {
            load_report::write(load, headers);
        }
    }
}
