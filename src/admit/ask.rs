//! What a request asks for.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::limit::{Limit, Limits};
use crate::principal::Principal;

/// Whose limits they are, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Key,
    Account,
    Upstream,
}

impl Holder {
    pub(super) const ALL: [Self; 3] = [Self::Key, Self::Account, Self::Upstream];

    pub(super) fn rate(self) -> Limit {
        match self {
            Self::Key => Limit::KeyRate,
            Self::Account => Limit::AccountRate,
            // It has none, so that nobody hits it.
            Self::Upstream => Limit::UpstreamConcurrency,
        }
    }

    pub(super) fn concurrency(self) -> Limit {
        match self {
            Self::Key => Limit::KeyConcurrency,
            Self::Account => Limit::AccountConcurrency,
            Self::Upstream => Limit::UpstreamConcurrency,
        }
    }
}

/// Who asks, and the limits of everybody concerned.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    principal: Principal,
    limits: [Limits; 3],
}

impl Ask {
    /// `None` when nothing limits this principal.
    pub(super) fn new(
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

    /// Those who limit it.
    pub(super) fn holders(&self) -> impl Iterator<Item = (Holder, Limits)> + '_ {
        let all = Holder::ALL.into_iter().zip(self.limits);
        all.filter(|(_, limits)| !limits.is_empty())
    }

    /// What the holder is known by; nothing for the upstream, of which there is one.
    pub(super) fn id(&self, holder: Holder) -> &str {
        match holder {
            Holder::Key => self.principal.id(),
            Holder::Account => self.principal.account().map_or("", |account| account.id()),
            Holder::Upstream => "",
        }
    }

    pub(super) fn key(&self) -> &str {
        self.principal.id()
    }
}

/// A limit that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) limit: Limit,
    /// When to try again; `None` when nobody knows, since a slot comes free when a stream ends.
    pub(super) retry_after: Option<Duration>,
}

impl Hit {
    /// Whether it helps to wait until another request ends.
    pub(super) fn is_for_a_slot(self) -> bool {
        self.retry_after.is_none()
    }
}
