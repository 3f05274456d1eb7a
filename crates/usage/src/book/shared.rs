//! The counters that replicas share through a store.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use voxgate::Principal;
use voxgate::rate_limit::{
    Amounts, OnFailure, Quota, QuotaAnswer, QuotaCommand, QuotaCounter, QuotaPeriod, QuotaStore,
};

use super::UsageBook;
use super::alert::report;
use super::outcome::{NotTaken, exhausted};
use super::state::State;
use crate::calendar::Today;
use crate::owner::{Owner, owners};
use crate::tally::add;

/// How long a store keeps the counters of a period that has ended: a clock may be late.
const KEEP_LONGER: Duration = Duration::from_secs(2 * 24 * 3600);
/// Maximum number of answers of the store that were not read yet.
const MOST_ASKED: usize = 256;

impl UsageBook {
    /// The command that adds these amounts in the shared store.
    pub(super) fn command(
        &self,
        principal: &Principal,
        today: Today,
        amounts: Amounts,
    ) -> QuotaCommand {
        let now = self.now();
        let mut state = self.state();
        let mut command = QuotaCommand {
            replica: Arc::clone(&self.0.replica),
            counters: Vec::new(),
            add: amounts,
        };
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for period in QuotaPeriod::ALL
                .into_iter()
                .filter(|it| is_counted(owner, *it))
            {
                let number = today.period(period);
                let tally = entry.tally(number);
                let mut quotas = [0; 3];
                for quota in owner.quotas.iter().filter(|it| it.period() == period) {
                    quotas[quota.unit() as usize] = quota.amount();
                }
                let left = today.ends(period).duration_since(now).unwrap_or_default();
                command.counters.push(QuotaCounter {
                    scope: owner.scope,
                    id: owner.id.into(),
                    period: number,
                    keep_seconds: (left + KEEP_LONGER).as_secs(),
                    contributed: tally.own,
                    confirmed: tally.confirmed(),
                    known: tally.used,
                    take_back: std::mem::take(&mut tally.take_back),
                    quotas,
                });
            }
        }
        command
    }

    /// Applies the answer of the store to a command that adds amounts.
    pub(super) fn conclude(
        &self,
        principal: &Principal,
        today: Today,
        command: &QuotaCommand,
        answer: Option<QuotaAnswer>,
    ) -> Result<(), NotTaken> {
        let now = self.now();
        let mut state = self.state();
        let Some(answer) = answer else {
            return self.without_store(&mut state, principal, today, command);
        };
        for (counter, used) in command.counters.iter().zip(&answer.used) {
            if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                let tally = entry.tally(counter.period);
                (tally.used, tally.unshared) = (*used, [0; 3]);
            }
        }
        let refused = answer.refused.and_then(|(index, unit)| {
            let counter = command.counters.get(index)?;
            let owner = owners(principal).find(|owner| owner.scope == counter.scope)?;
            let quota = owner.quotas.iter().find(|quota| {
                quota.unit() == unit && today.period(quota.period()) == counter.period
            })?;
            Some(exhausted(owner.scope, *quota, today, now))
        });
        if let Some(refused) = refused {
            state.persist(principal, today);
            return Err(refused);
        }
        for owner in owners(principal) {
            let Some(entry) = state.entry(owner) else {
                continue;
            };
            for period in QuotaPeriod::ALL {
                let tally = entry.tally(today.period(period));
                add(&mut tally.own, command.add);
                // The answer of the store contains the amounts of what it counts.
                if !is_counted(owner, period) {
                    add(&mut tally.used, command.add);
                }
            }
            report(owner, entry, today);
        }
        state.persist(principal, today);
        Ok(())
    }

    /// Decides without the store. With `local`, this process may use its share of what was left when
    /// the store last answered.
    pub(super) fn without_store(
        &self,
        state: &mut State,
        principal: &Principal,
        today: Today,
        command: &QuotaCommand,
    ) -> Result<(), NotTaken> {
        let now = self.now();
        for counter in &command.counters {
            if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                add(
                    &mut entry.tally(counter.period).take_back,
                    counter.take_back,
                );
            }
        }
        if self.0.on_failure == OnFailure::Deny {
            return Err(NotTaken::Unavailable);
        }
        if self.0.on_failure == OnFailure::Local {
            let store = self.0.store.as_deref();
            let replicas = u64::from(store.map_or(1, QuotaStore::replicas).max(1));
            for owner in owners(principal) {
                let Some(entry) = state.entry(owner) else {
                    continue;
                };
                for quota in owner.quotas {
                    let (unit, amount) = (quota.unit(), command.add[quota.unit() as usize]);
                    let tally = entry.tally(today.period(quota.period()));
                    let unshared = tally.unshared[unit as usize];
                    // `used` contains what was added since.
                    let known = tally.used(unit).saturating_sub(unshared);
                    let left = quota.amount().saturating_sub(known);
                    let share = Quota::new(left / replicas, unit, quota.period());
                    if !share.is_some_and(|share| share.allows(unshared, amount)) {
                        return Err(exhausted(owner.scope, *quota, today, now));
                    }
                }
            }
        }
        self.add(state, principal, today, command.add);
        Ok(())
    }

    /// Tells the store what this process has contributed, and keeps its answer for
    /// [`refresh`](Self::refresh).
    pub(super) fn ask(&self, principal: &Principal) {
        let store = self.0.store.as_deref().filter(|_| principal.has_quotas());
        let Some(store) = store.filter(|store| store.is_available()) else {
            return;
        };
        let command = self.command(principal, self.today(), [0; 3]);
        let answer = store.count(command.clone());
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MOST_ASKED {
            drop(asked.remove(0));
        }
        asked.push((command, answer));
    }

    /// Learns from the answers that have arrived what other replicas use.
    pub(super) fn refresh(&self) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        asked.retain_mut(
            |(command, answer)| match answer.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    answered.extend(answer.map(|answer| (command.clone(), answer)));
                    false
                }
            },
        );
        drop(asked);
        let mut state = self.state();
        for (command, answer) in answered {
            for (counter, used) in command.counters.iter().zip(answer.used) {
                if let Some(entry) = state.map(counter.scope).get_mut(&counter.id) {
                    let tally = entry.tally(counter.period);
                    for (unit, used) in used.into_iter().enumerate() {
                        // What this process has added since the question is not in the answer.
                        let since = tally.own[unit].saturating_sub(counter.contributed[unit]);
                        tally.used[unit] = used.saturating_add(since);
                        tally.unshared[unit] = since;
                    }
                }
            }
        }
    }

    /// Tells the store what this process has contributed, or takes back. Does not wait.
    pub(super) fn share(&self, principal: &Principal, today: Today) {
        let store = self.0.store.as_deref().filter(|_| principal.has_quotas());
        if let Some(store) = store.filter(|store| store.is_available()) {
            // The command is sent; its answer does not matter, because it adds nothing.
            drop(store.count(self.command(principal, today, [0; 3])));
        }
    }
}

/// Whether the shared store counts this period for an owner.
pub(super) fn is_counted(owner: Owner<'_>, period: QuotaPeriod) -> bool {
    owner.quotas.iter().any(|quota| quota.period() == period)
}
