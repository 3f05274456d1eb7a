//! Delivery guarantees.

use std::time::Duration;

/// How long a request waits until its record is on the disk.
const DURABLE_WITHIN: Duration = Duration::from_millis(250);
/// How long a request waits for room in the queue.
const QUEUED_WITHIN: Duration = Duration::from_millis(50);

/// The guarantee that a decision's record needs before its request is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryGuarantee {
    /// The record is on the disk. The layer forwards no request and sends no answer before the
    /// decision would survive a power failure. After 250 ms the answer is 503.
    Durable,
    /// The record is in the queue and will be written soon. The layer forwards no request before
    /// that. If the queue stays full for 50 ms, the answer is 503.
    Blocking,
    /// No guarantee. No request waits; a full queue drops the record. Each lost record is counted,
    /// and a `gap` record reports it.
    Counted,
}

impl DeliveryGuarantee {
    /// The name of the guarantee in settings and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Blocking => "blocking",
            Self::Counted => "counted",
        }
    }

    /// How long a request waits for its receipt.
    pub(super) fn wait_limit(self) -> Duration {
        match self {
            Self::Durable => DURABLE_WITHIN,
            Self::Blocking | Self::Counted => QUEUED_WITHIN,
        }
    }
}
