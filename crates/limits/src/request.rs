//! A request to a limit store.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::limit::{Limit, Limits};

/// The owner of a limit. Stores check the scopes in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// One key.
    Key,
    /// All keys of one account together.
    Account,
    /// All callers together.
    Upstream,
}

impl LimitScope {
    /// All scopes, in the order in which stores check them.
    pub const ALL: [Self; 3] = [Self::Key, Self::Account, Self::Upstream];

    /// The rate limit of this scope. The upstream has none.
    #[must_use]
    pub fn rate(self) -> Option<Limit> {
        match self {
            Self::Key => Some(Limit::KeyRate),
            Self::Account => Some(Limit::AccountRate),
            Self::Upstream => None,
        }
    }

    /// The concurrency limit of this scope.
    #[must_use]
    pub fn concurrency(self) -> Limit {
        match self {
            Self::Key => Limit::KeyConcurrency,
            Self::Account => Limit::AccountConcurrency,
            Self::Upstream => Limit::UpstreamConcurrency,
        }
    }
}

/// One request that asks a [`LimitStore`](super::LimitStore) for permission to start: the key, its
/// account, and every limit that applies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AcquireRequest {
    key: Arc<str>,
    account: Option<Arc<str>>,
    limits: [Limits; 3],
}

impl AcquireRequest {
    /// A request of the key with this identifier.
    #[must_use]
    pub fn new(key: impl Into<Arc<str>>, limits: Limits) -> Self {
        Self {
            key: key.into(),
            account: None,
            limits: [limits, Limits::default(), Limits::default()],
        }
    }

    /// Adds the account of the key, whose keys share these limits.
    #[must_use]
    pub fn with_account(mut self, account: impl Into<Arc<str>>, limits: Limits) -> Self {
        self.account = Some(account.into());
        self.limits[LimitScope::Account as usize] = limits;
        self
    }

    /// Sets how many requests and tunnels of all callers together may be in flight.
    #[must_use]
    pub fn with_upstream_concurrency(mut self, most: NonZeroU32) -> Self {
        self.limits[LimitScope::Upstream as usize].concurrency = Some(most);
        self
    }

    /// The scopes that have limits, in order, with their limits.
    pub fn scopes(&self) -> impl Iterator<Item = (LimitScope, Limits)> + '_ {
        let all = LimitScope::ALL.into_iter().zip(self.limits);
        all.filter(|(_, limits)| !limits.is_empty())
    }

    /// The identifier of the key or account. Empty for the upstream: there is only one.
    #[must_use]
    pub fn id(&self, scope: LimitScope) -> &str {
        match scope {
            LimitScope::Key => &self.key,
            LimitScope::Account => self.account.as_deref().unwrap_or_default(),
            LimitScope::Upstream => "",
        }
    }

    /// The identifier of the key. Requests that wait are queued by it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}
