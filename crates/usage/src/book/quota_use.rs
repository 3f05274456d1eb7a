//! What is used of quotas.

use std::time::SystemTime;

use voxgate::Principal;
use voxgate::rate_limit::{Amounts, LimitScope, Quota, QuotaPeriod};

use super::UsageBook;
use crate::calendar::Today;
use crate::owner::{Owner, owners};
use crate::tally::Entry;

/// A quota and its use in the current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaUse {
    /// Whether it is the quota of a key or of an account.
    pub scope: LimitScope,
    /// The quota.
    pub quota: Quota,
    /// What is used of it; for audio, in milliseconds.
    pub used: u64,
    /// When its next period begins.
    pub resets: SystemTime,
}

/// What a key or an account uses in the current day and month.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerUsage {
    /// A key or an account.
    pub scope: LimitScope,
    /// Its identifier.
    pub id: String,
    /// Used today, and in this month.
    pub used: [Amounts; 2],
    /// Its quotas.
    pub quotas: Vec<QuotaUse>,
}

impl UsageBook {
    /// What this principal and its account use, and their quotas.
    #[must_use]
    pub fn usage(&self, principal: &Principal) -> Vec<OwnerUsage> {
        let today = self.today();
        let state = self.state();
        let owners = owners(principal).map(|owner| {
            let entry = match owner.scope {
                LimitScope::Account => state.accounts.get(owner.id),
                _ => state.keys.get(owner.id),
            };
            usage_of(owner, entry, today)
        });
        owners.collect()
    }

    /// What every key and account with quotas uses, and its quotas, as they were at its last
    /// request. At most `most` keys and as many accounts.
    #[must_use]
    pub fn limited(&self, most: usize) -> Vec<OwnerUsage> {
        let today = self.today();
        let state = self.state();
        let all = [
            (LimitScope::Key, &state.keys),
            (LimitScope::Account, &state.accounts),
        ];
        let limited = all.into_iter().flat_map(|(scope, map)| {
            let with_quotas = map.iter().filter(|(_, entry)| !entry.quotas.is_empty());
            with_quotas.take(most).map(move |(id, entry)| {
                let owner = Owner {
                    scope,
                    id,
                    quotas: &entry.quotas,
                };
                usage_of(owner, Some(entry), today)
            })
        });
        limited.collect()
    }
}

fn usage_of(owner: Owner<'_>, entry: Option<&Entry>, today: Today) -> OwnerUsage {
    let used = |period: QuotaPeriod| {
        let tally = entry.and_then(|entry| entry.get(today.period(period)));
        tally.map_or([0; 3], |tally| tally.used)
    };
    let quotas = owner.quotas.iter().map(|quota| QuotaUse {
        scope: owner.scope,
        quota: *quota,
        used: used(quota.period())[quota.unit() as usize],
        resets: today.ends(quota.period()),
    });
    OwnerUsage {
        scope: owner.scope,
        id: owner.id.to_owned(),
        used: QuotaPeriod::ALL.map(used),
        quotas: quotas.collect(),
    }
}
