//! What a request needs from the limits.

use std::num::NonZeroU32;

use crate::limit::{Limit, Limits};
use crate::principal::Principal;

/// Whose limit it is. Stores check the scopes in this order.
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

/// One request that asks a [`LimitStore`](super::LimitStore) for permission to start: the caller,
/// and every limit that applies to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AcquireRequest {
    principal: Principal,
    limits: [Limits; 3],
}

impl AcquireRequest {
    /// The request of a principal. The key's own limits come before `defaults`; `upstream` is the
    /// concurrency limit of all callers together. `None` if nothing limits the request.
    #[must_use]
    pub fn new(
        principal: &Principal,
        defaults: Limits,
        upstream: Option<NonZeroU32>,
    ) -> Option<Self> {
        let account = principal.account();
        let limits = [
            principal.limits().or(defaults),
            account.map_or_else(Limits::default, |account| account.limits()),
            Limits {
                concurrency: upstream,
                ..Limits::default()
            },
        ];
        let limited = limits.iter().any(|limits| !limits.is_empty());
        limited.then(|| Self {
            principal: principal.clone(),
            limits,
        })
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
            LimitScope::Key => self.principal.id(),
            LimitScope::Account => self.principal.account().map_or("", |account| account.id()),
            LimitScope::Upstream => "",
        }
    }

    /// The identifier of the key. Requests that wait are queued by it.
    #[must_use]
    pub fn key(&self) -> &str {
        self.principal.id()
    }
}
