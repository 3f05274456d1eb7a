//! The identifier that ties a request's answer, audit records and upstream call together.

use std::fmt;

use http::{HeaderName, HeaderValue};
use uuid::{NoContext, Timestamp, Uuid};

/// The header that carries a [`RequestId`], to the upstream and back to the caller.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's identifier: a UUIDv7 (RFC 9562 §5.7), always made here.
///
/// An identifier that the client sends is not adopted: it could collide with, or pose as,
/// another request's in the audit trail.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// An identifier that is made at this time since the Unix epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn new(since_epoch: std::time::Duration) -> Self {
        // `NoContext` because the shared counter of `Uuid::now_v7` is behind a lock, and order
        // within a millisecond is told by the audit record, not by the identifier.
        Self(Uuid::new_v7(Timestamp::from_unix(
            NoContext,
            since_epoch.as_secs(),
            since_epoch.subsec_nanos(),
        )))
    }

    /// The identifier as the value of a header.
    #[must_use]
    pub fn to_header_value(self) -> HeaderValue {
        // Hexadecimal digits and hyphens are always a valid header value.
        self.with_text(|text| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        })
    }

    /// Passes the identifier as a text, which is not allocated.
    #[doc(hidden)]
    pub fn with_text<T>(self, take: impl FnOnce(&str) -> T) -> T {
        take(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
