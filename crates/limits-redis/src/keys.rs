//! The keys in Redis.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use voxgate::rate_limit::{AcquireRequest, LimitScope, QuotaCommand, QuotaCounter};

use crate::hash_slot::hash_slot;
use crate::quotas;

/// What an identifier in a hash tag must not contain: the tag ends at the first `}`.
const NOT_IN_A_TAG: &AsciiSet = &CONTROLS.add(b'}').add(b'%');

/// The keys of one deployment.
///
/// On one server, all of them have one hash tag, `{namespace}`, and one script may use them
/// together. A cluster would keep all of them on one node. There, what belongs to an account has
/// the hash tag `{namespace@account:<id>}`, what belongs to a key without an account
/// `{namespace@key:<id>}`, the upstream's limit `{namespace@upstream}`, and each used token its own.
/// A namespace cannot contain an `@`, so that these never are keys of another namespace.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: String,
    is_cluster: bool,
}

impl Keys {
    pub(crate) fn new(namespace: &str, is_cluster: bool) -> Self {
        Self {
            namespace: namespace.to_owned(),
            is_cluster,
        }
    }

    /// The hash slot of a key. One server has one.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        match self.is_cluster {
            true => hash_slot(key),
            false => 0,
        }
    }

    /// The sorted set of a scope's leases, by the time at which they expire.
    pub(crate) fn slots(&self, request: &AcquireRequest, scope: LimitScope) -> String {
        let tag = self.tag_of(request, scope);
        format!("{tag}:slots:{}", name(request, scope))
    }

    /// The level of a scope's rate. Each rate has its own key, because each rate has its own unit.
    pub(crate) fn level(
        &self,
        request: &AcquireRequest,
        scope: LimitScope,
        drain: u64,
        unit: u64,
    ) -> String {
        let tag = self.tag_of(request, scope);
        format!("{tag}:rate:{drain}/{unit}:{}", name(request, scope))
    }

    /// The counters of quotas, in the order of the command. They have one hash tag: that of the
    /// account if the account is counted, otherwise that of the key.
    pub(crate) fn quotas(&self, command: &QuotaCommand) -> Vec<String> {
        let of_account = |counter: &&QuotaCounter| counter.scope == LimitScope::Account;
        let counters = &command.counters;
        let owner = counters.iter().find(of_account).or(counters.first());
        let Some(owner) = owner else {
            return Vec::new();
        };
        let tag = match owner.scope {
            LimitScope::Account => self.tag("account", &owner.id),
            _ => self.tag("key", &owner.id),
        };
        let key = |counter: &QuotaCounter| {
            let name = quotas::name(counter.scope, counter.period, &counter.id);
            format!("{tag}:quota:{name}")
        };
        counters.iter().map(key).collect()
    }

    /// The stream of revoked keys.
    pub(crate) fn revocations(&self) -> String {
        format!("{{{}}}:revocations", self.namespace)
    }

    /// A single-use token that was used.
    pub(crate) fn spent_token(&self, id: &str) -> String {
        match self.is_cluster {
            true => format!("{{{}@token:{id}}}", self.namespace),
            false => format!("{{{}}}:token:{id}", self.namespace),
        }
    }

    /// The sorted set of gateways, by the time until which they are considered alive.
    pub(crate) fn gateways(&self) -> String {
        format!("{{{}}}:gateways", self.namespace)
    }

    fn tag_of(&self, request: &AcquireRequest, scope: LimitScope) -> String {
        let account = request.id(LimitScope::Account);
        match scope {
            LimitScope::Upstream if self.is_cluster => format!("{{{}@upstream}}", self.namespace),
            _ if account.is_empty() => self.tag("key", request.key()),
            _ => self.tag("account", account),
        }
    }

    fn tag(&self, owner: &str, id: &str) -> String {
        if !self.is_cluster {
            return format!("{{{}}}", self.namespace);
        }
        let id: Cow<'_, str> = utf8_percent_encode(id, NOT_IN_A_TAG).into();
        format!("{{{}@{owner}:{id}}}", self.namespace)
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

#[cfg(test)]
mod tests {
    use voxgate::rate_limit::Limits;

    use super::*;

    #[test]
    fn one_server_has_one_tag_and_a_cluster_one_for_each_account() {
        let request = AcquireRequest::new("k", Limits::default());
        let of_account = request.clone().with_account("a", Limits::default());
        let keys = |is_cluster| {
            let keys = Keys::new("n", is_cluster);
            [
                keys.slots(&request, LimitScope::Key),
                keys.slots(&of_account, LimitScope::Key),
                keys.level(&of_account, LimitScope::Account, 1, 2),
                keys.slots(&of_account, LimitScope::Upstream),
                keys.spent_token("0f"),
                keys.gateways(),
                keys.revocations(),
            ]
        };
        let one = [
            "{n}:slots:key:k",
            "{n}:slots:key:k",
            "{n}:rate:1/2:account:a",
            "{n}:slots:upstream",
            "{n}:token:0f",
            "{n}:gateways",
            "{n}:revocations",
        ];
        assert_eq!(keys(false), one, "these names are a promise");
        let cluster = [
            "{n@key:k}:slots:key:k",
            "{n@account:a}:slots:key:k",
            "{n@account:a}:rate:1/2:account:a",
            "{n@upstream}:slots:upstream",
            "{n@token:0f}",
            "{n}:gateways",
            "{n}:revocations",
        ];
        assert_eq!(keys(true), cluster, "these names are a promise");
    }

    /// Identifiers of operators may contain braces.
    #[test]
    fn braces_in_an_identifier_do_not_end_the_tag() {
        let keys = Keys::new("n", true);
        let request = AcquireRequest::new("b}:slots:key:c", Limits::default());
        let tag = |request: &AcquireRequest| keys.slots(request, LimitScope::Key);
        let key = tag(&request);
        assert_eq!(key, "{n@key:b%7D:slots:key:c}:slots:key:b}:slots:key:c");
        let other = AcquireRequest::new("b%7D:slots:key:c", Limits::default());
        assert_ne!(keys.slot(&key), keys.slot(&tag(&other)));
    }
}
