//! What this gateway holds, and what it owes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::call::Call;
use super::script::Slot;

/// The leases that are in force here, and those to be given back. What Redis has of them follows.
#[derive(Default)]
pub(super) struct Held {
    last: u64,
    leases: HashMap<u64, Known>,
    owed: Vec<Release>,
}

/// A lease that is in force here.
struct Known {
    call: Arc<Call>,
    /// Redis may have it.
    told: bool,
}

/// A lease to be given back.
pub(super) struct Release {
    pub(super) lease: u64,
    pub(super) call: Arc<Call>,
    /// It has expired by itself then.
    pub(super) until: Instant,
    /// Redis may grant it yet, after it was given back: on a connection that is lost, a question
    /// can arrive after what was sent later on another one.
    pub(super) may_come_late: bool,
}

impl Held {
    pub(super) fn next_lease(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Holds what Redis has granted.
    pub(super) fn hold(&mut self, lease: u64, call: Arc<Call>) {
        self.leases.insert(lease, Known { call, told: true });
    }

    /// Holds what Redis has not heard of.
    pub(super) fn hold_untold(&mut self, lease: u64, call: Arc<Call>) {
        self.leases.insert(lease, Known { call, told: false });
    }

    /// No longer holds it. What is to be given back: `None` if it was not held, or if Redis never
    /// heard of it. Otherwise everything that begins and ends while Redis is away would be owed.
    pub(super) fn let_go(&mut self, lease: u64) -> Option<Arc<Call>> {
        let known = self.leases.remove(&lease)?;
        known.told.then_some(known.call)
    }

    pub(super) fn leases(&self) -> Vec<u64> {
        self.leases.keys().copied().collect()
    }

    /// The slots of these leases, as far as they are still held. Redis is about to be told.
    pub(super) fn slots_to_tell(&mut self, leases: &[u64]) -> Vec<Slot> {
        let mut slots = Vec::new();
        for &lease in leases {
            let Some(known) = self.leases.get_mut(&lease) else {
                continue;
            };
            known.told = true;
            let slot = |key: &str| Slot {
                lease,
                key: key.to_owned(),
            };
            slots.extend(known.call.slots().map(slot));
        }
        slots
    }

    /// Those of the missing slots, by index, whose leases were not given back meanwhile.
    pub(super) fn still_held(&self, slots: Vec<Slot>, missing: &[i64]) -> Vec<Slot> {
        let missing = (0..)
            .zip(slots)
            .filter(|(index, _)| missing.contains(index));
        let held = missing.filter(|(_, slot)| self.leases.contains_key(&slot.lease));
        held.map(|(_, slot)| slot).collect()
    }

    pub(super) fn owe(&mut self, release: Release) {
        self.owed.push(release);
    }

    /// What is to be given back, except what has expired.
    pub(super) fn take_owed(&mut self, now: Instant) -> Vec<Release> {
        let mut owed = std::mem::take(&mut self.owed);
        owed.retain(|release| release.until > now);
        owed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::keys::Keys;
    use super::super::{Demand, Holder};
    use super::*;
    use crate::limit::Limits;

    fn call() -> Arc<Call> {
        let limits = Limits {
            concurrency: NonZeroU32::new(1),
            ..Limits::default()
        };
        let holder = Holder::Upstream;
        Arc::new(Call::new(
            &Keys::new("voxgate"),
            &[Demand { holder, limits }],
        ))
    }

    #[test]
    fn what_redis_never_heard_of_is_not_owed() {
        let mut held = Held::default();
        held.hold_untold(1, call());
        assert!(held.let_go(1).is_none(), "it came and went without Redis");
        held.hold_untold(2, call());
        assert_eq!(held.slots_to_tell(&[1, 2, 3]).len(), 1);
        assert!(held.let_go(2).is_some(), "a heartbeat has told of it");
        held.hold(3, call());
        assert!(held.let_go(3).is_some(), "Redis has granted it");
        assert!(held.let_go(3).is_none(), "it is given back once");
    }

    #[test]
    fn what_was_given_back_meanwhile_is_not_put_back() {
        let limits = Limits {
            concurrency: NonZeroU32::new(9),
            ..Limits::default()
        };
        let demands = [Holder::Key("k"), Holder::Upstream].map(|holder| Demand { holder, limits });
        let call = Arc::new(Call::new(&Keys::new("n"), &demands));
        let mut held = Held::default();
        let leases: Vec<u64> = (0..4).map(|_| held.next_lease()).collect();
        for lease in &leases {
            held.hold(*lease, Arc::clone(&call));
        }
        let slots = held.slots_to_tell(&leases);
        assert_eq!(slots.len(), 8);
        assert!(held.let_go(leases[1]).is_some());
        assert!(held.let_go(leases[1]).is_none(), "it is given back once");
        let lost = held.still_held(slots, &[0, 2, 3, 7]);
        let lost: Vec<_> = lost.iter().map(|it| (it.lease, it.key.as_str())).collect();
        let expected = [
            (leases[0], "{n}:slots:key:k"),
            (leases[3], "{n}:slots:upstream"),
        ];
        assert_eq!(lost, expected);
    }
}
