//! The question whether text may still be spoken.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use voxgate_core::denial::Denial;
use voxgate_core::principal::Principal;

use super::SpeechMeter;

/// Decides whether a caller may have more text spoken. It is asked before the text is forwarded:
/// once for an HTTP request, and for each message of a WebSocket or gRPC stream that has text.
///
/// The characters are added to the meter after the quota allowed them. An implementation that
/// reserves gives back what was not used when the completion record is written.
pub trait TextQuota: Send + Sync {
    /// Reserves `characters` for the owner of this meter's request.
    ///
    /// A request whose text could not be counted has `meter.is_unmetered()` and 0 characters.
    fn reserve(&self, principal: &Principal, meter: &SpeechMeter, characters: u64) -> Reservation;

    /// Reserves `characters` of a WebSocket message, whose relay cannot wait for a shared store.
    ///
    /// # Errors
    ///
    /// The denial, if the owner may not have so much text spoken.
    fn reserve_now(
        &self,
        principal: &Principal,
        meter: &SpeechMeter,
        characters: u64,
    ) -> Result<(), Denial>;

    /// Whether this caller has a quota at all. Bodies of other callers are not held for it.
    fn limits(&self, principal: &Principal) -> bool;
}

/// The answer of a [`TextQuota`].
pub enum Reservation {
    /// The answer is known at once.
    Done(Result<(), Denial>),
    /// The answer of a store that replicas share. Dropping it must give back what it reserved.
    Pending(Pin<Box<dyn Future<Output = Result<(), Denial>> + Send>>),
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(answer) => f.debug_tuple("Done").field(&answer.is_ok()).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}
