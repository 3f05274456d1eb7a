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
    leases: HashMap<u64, Arc<Call>>,
    owed: Vec<Release>,
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

    pub(super) fn hold(&mut self, lease: u64, call: Arc<Call>) {
        self.leases.insert(lease, call);
    }

    /// No longer holds it. `None` if it was not held.
    pub(super) fn let_go(&mut self, lease: u64) -> Option<Arc<Call>> {
        self.leases.remove(&lease)
    }

    pub(super) fn leases(&self) -> Vec<u64> {
        self.leases.keys().copied().collect()
    }

    /// The slots of these leases, as far as they are still held.
    pub(super) fn slots(&self, leases: &[u64]) -> Vec<Slot> {
        let held = leases
            .iter()
            .filter_map(|lease| Some((*lease, self.leases.get(lease)?)));
        let slots = held.flat_map(|(lease, call)| {
            let slot = move |key: &str| Slot {
                lease,
                key: key.to_owned(),
            };
            call.slots().map(slot)
        });
        slots.collect()
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

    use crate::limit::Limits;

    use super::super::keys::Keys;
    use super::super::{Demand, Holder};
    use super::*;

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
        let slots = held.slots(&leases);
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
