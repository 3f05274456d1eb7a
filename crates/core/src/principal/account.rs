//! Accounts: groups of keys with common limits.

use std::num::NonZeroU32;
use std::sync::Arc;

use voxgate_limits::{Limits, Quota};

use super::SpeechRights;

/// A group of keys with common limits, such as the keys of one customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    id: Arc<str>,
    max_active_keys: Option<NonZeroU32>,
    limits: Limits,
    quotas: Box<[Quota]>,
    speech: SpeechRights,
}

impl Account {
    /// An account with this id, and limits that its keys share.
    #[must_use]
    pub fn new(id: &str, limits: Limits) -> Self {
        Self {
            id: id.into(),
            max_active_keys: None,
            limits,
            quotas: Box::default(),
            speech: SpeechRights::default(),
        }
    }

    /// Sets the quotas that its keys share.
    #[must_use]
    pub fn with_quotas(mut self, quotas: impl IntoIterator<Item = Quota>) -> Self {
        self.quotas = quotas.into_iter().collect();
        self
    }

    /// Limits what its keys may speak.
    #[must_use]
    pub fn with_speech(mut self, rights: SpeechRights) -> Self {
        self.speech = rights;
        self
    }

    /// The limits of what its keys may speak.
    #[must_use]
    pub fn speech(&self) -> &SpeechRights {
        &self.speech
    }

    /// Sets the maximum number of keys that are neither disabled nor expired.
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
    #[doc(hidden)]
    #[must_use]
    pub fn shared_id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// The maximum number of keys that are neither disabled nor expired.
    #[must_use]
    pub fn max_active_keys(&self) -> Option<NonZeroU32> {
        self.max_active_keys
    }

    /// The common limits of its keys.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The quotas that its keys share.
    #[must_use]
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas
    }
}
