//! The behaviour of the limiter while the shared store is unavailable.

/// How requests are limited while the shared store is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Each replica enforces its share: the limits, divided by the number of replicas that were
    /// last seen.
    #[default]
    Local,
    /// Limited requests are refused with 503.
    Deny,
    /// Each replica enforces the whole concurrency limits for its own requests, and no rates.
    Allow,
}

impl OnFailure {
    /// Parses `local`, `deny` or `allow`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            "deny" => Some(Self::Deny),
            "allow" => Some(Self::Allow),
            _ => None,
        }
    }
}
