//! Time stamps: a time-stamp authority (RFC 3161) confirms that a checkpoint existed at a time.
//!
//! The key that signs checkpoints is on the log's host. A person who takes it can write the whole
//! log again. The key of the authority is elsewhere: a log that is written again cannot get
//! time stamps of the time that it claims to be from.

#[cfg(feature = "time-stamp")]
mod authority;
#[cfg(feature = "time-stamp")]
mod request;
#[cfg(feature = "time-stamp")]
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(feature = "time-stamp")]
pub use self::authority::TimeStampAuthority;
#[cfg(feature = "time-stamp")]
pub use self::request::TimeStampRequest;

/// The longest token that is put into the log.
pub const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What an authority has confirmed about a checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeStamp {
    /// The checkpoint, as it was handed out.
    pub note: String,
    /// The token of the authority (`TimeStampToken`, DER) about the SHA-256 of the checkpoint.
    pub token: Vec<u8>,
}

impl fmt::Debug for TimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeStamp")
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// A token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTimeStamp(pub String);

impl fmt::Display for InvalidTimeStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTimeStamp {}

/// What checks a token about the SHA-256 of a checkpoint, and returns the time that it confirms.
pub type CheckTimeStamp =
    Arc<dyn Fn(&[u8], &[u8; 32]) -> Result<SystemTime, InvalidTimeStamp> + Send + Sync>;

/// Which time stamps a verifier requires.
#[derive(Clone)]
#[non_exhaustive]
pub struct RequiredTimeStamps {
    /// What checks a token.
    pub check: CheckTimeStamp,
    /// Every checkpoint must have existed, by a time stamp of it or of a later one, so long after
    /// its own time at the latest.
    pub within: Duration,
    /// Checkpoints before this time need no time stamp.
    pub since: Option<SystemTime>,
}

impl RequiredTimeStamps {
    /// Time stamps within a day.
    pub fn new(
        check: impl Fn(&[u8], &[u8; 32]) -> Result<SystemTime, InvalidTimeStamp> + Send + Sync + 'static,
    ) -> Self {
        Self {
            check: Arc::new(check),
            within: Duration::from_secs(24 * 60 * 60),
            since: None,
        }
    }
}

impl fmt::Debug for RequiredTimeStamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequiredTimeStamps")
            .field("within", &self.within)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
