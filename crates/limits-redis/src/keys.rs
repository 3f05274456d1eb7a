//! The keys in Redis.

use voxgate::rate_limit::{AcquireRequest, LimitScope, QuotaCounter};

use crate::quotas;

/// The keys of one deployment. All of them have one hash tag, so that a cluster keeps them on one
/// node, where one script may use them together.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    tag: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            tag: format!("{{{namespace}}}"),
        }
    }

    /// The sorted set of a scope's leases, by the time at which they expire.
    pub(crate) fn slots(&self, request: &AcquireRequest, scope: LimitScope) -> String {
        format!("{}:slots:{}", self.tag, name(request, scope))
    }

    /// The level of a scope's rate. Each rate has its own key, because each rate has its own unit.
    pub(crate) fn level(
        &self,
        request: &AcquireRequest,
        scope: LimitScope,
        drain: u64,
        unit: u64,
    ) -> String {
        format!("{}:rate:{drain}/{unit}:{}", self.tag, name(request, scope))
    }

    /// The counters of a quota.
    pub(crate) fn quota(&self, counter: &QuotaCounter) -> String {
        let name = quotas::name(counter.scope, counter.period, &counter.id);
        format!("{}:quota:{name}", self.tag)
    }

    /// The stream of revoked keys.
    pub(crate) fn revocations(&self) -> String {
        format!("{}:revocations", self.tag)
    }

    /// A single-use token that was used.
    pub(crate) fn spent_token(&self, id: &str) -> String {
        format!("{}:token:{id}", self.tag)
    }

    /// The sorted set of gateways, by the time until which they are considered alive.
    pub(crate) fn gateways(&self) -> String {
        format!("{}:gateways", self.tag)
    }
}

/// The operator's identifier comes last, and each kind of key has its own prefix, so that the
/// identifier does not need to be escaped.
fn name(request: &AcquireRequest, scope: LimitScope) -> String {
    match scope {
        LimitScope::Key => format!("key:{}", request.id(scope)),
        LimitScope::Account => format!("account:{}", request.id(scope)),
        _ => "upstream".to_owned(),
    }
}
