//! Keys that belong together.

use std::num::NonZeroU32;
use std::sync::Arc;

use voxgate_limits::Limits;

/// A group of keys, such as those of one customer: what they share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    id: Arc<str>,
    max_active_keys: Option<NonZeroU32>,
    limits: Limits,
}

impl Account {
    /// An account that is known by `id`, with limits that its keys share.
    #[must_use]
    pub fn new(id: &str, limits: Limits) -> Self {
        Self {
            id: id.into(),
            max_active_keys: None,
            limits,
        }
    }

    /// Limits how many keys it may have that are neither disabled nor expired.
    #[must_use]
    pub fn with_max_active_keys(mut self, most: NonZeroU32) -> Self {
        self.max_active_keys = Some(most);
        self
    }

    /// The identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identifier, for a type that keeps it.
    pub(crate) fn shared_id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// How many keys it may have that are neither disabled nor expired.
    #[must_use]
    pub fn max_active_keys(&self) -> Option<NonZeroU32> {
        self.max_active_keys
    }

    /// What its keys may do together.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }
}
