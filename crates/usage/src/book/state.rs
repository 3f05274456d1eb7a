//! The counters of all keys and accounts.

use std::collections::HashMap;

use voxgate::Principal;
use voxgate::rate_limit::{LimitScope, QuotaPeriod};

use crate::calendar::Today;
use crate::owner::{Owner, owners};
use crate::state_file::{Counters, StateFile};
use crate::tally::{Entry, Tally};

/// Maximum number of keys, and of accounts, without quotas that are counted.
const MOST_WITHOUT_QUOTAS: usize = 100_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) keys: HashMap<Box<str>, Entry>,
    pub(super) accounts: HashMap<Box<str>, Entry>,
    pub(super) file: Option<StateFile>,
}

impl State {
    pub(super) fn map(&mut self, scope: LimitScope) -> &mut HashMap<Box<str>, Entry> {
        match scope {
            LimitScope::Account => &mut self.accounts,
            _ => &mut self.keys,
        }
    }

    /// The counters of an owner. `None` if it has no quota and there are too many others.
    pub(super) fn entry(&mut self, owner: Owner<'_>) -> Option<&mut Entry> {
        let map = self.map(owner.scope);
        // Usually the owner is known, and its id does not need to be copied.
        if !map.contains_key(owner.id) {
            if owner.quotas.is_empty() && map.len() >= MOST_WITHOUT_QUOTAS {
                return None;
            }
            map.insert(owner.id.into(), Entry::default());
        }
        let entry = map.get_mut(owner.id)?;
        if *entry.quotas != *owner.quotas {
            entry.quotas = owner.quotas.into();
        }
        Some(entry)
    }

    /// Notes the counters of these owners in the file.
    pub(super) fn persist(&mut self, principal: &Principal, today: Today) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        let limited = owners(principal).filter(|owner| !owner.quotas.is_empty());
        let changed = limited.flat_map(|owner| {
            let entry = match owner.scope {
                LimitScope::Account => self.accounts.get(owner.id),
                _ => self.keys.get(owner.id),
            };
            QuotaPeriod::ALL.into_iter().filter_map(move |period| {
                let tally = entry?.get(today.period(period))?;
                Some(counters(owner.scope, owner.id, tally))
            })
        });
        file.append(changed);
        self.file = Some(file);
    }
}

fn counters<'a>(scope: LimitScope, id: &'a str, tally: &Tally) -> Counters<'a> {
    Counters {
        scope,
        id,
        period: tally.period,
        used: tally.used,
        own: tally.own,
    }
}

impl State {
    /// Every counter that the state file has.
    pub(super) fn persistent(&self) -> impl Iterator<Item = Counters<'_>> {
        let keys = self
            .keys
            .iter()
            .map(|(id, entry)| (LimitScope::Key, id, entry));
        let accounts = self.accounts.iter();
        let accounts = accounts.map(|(id, entry)| (LimitScope::Account, id, entry));
        let all = keys
            .chain(accounts)
            .filter(|(_, _, entry)| entry.is_persistent());
        all.flat_map(|(scope, id, entry)| {
            let tallies = entry.tallies().iter();
            tallies.map(move |tally| counters(scope, id, tally))
        })
    }
}
