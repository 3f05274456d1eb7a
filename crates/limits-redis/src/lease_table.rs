//! The leases of this process, and the releases that Redis has not received yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::command::{EncodedCommand, Part};
use crate::script::Slot;

/// The leases of this process and its pending releases. Redis is updated from this table.
#[derive(Default)]
pub(crate) struct LeaseTable {
    last: u64,
    leases: BTreeMap<u64, HeldLease>,
    pending_releases: Vec<PendingRelease>,
}

/// A lease that a request holds.
struct HeldLease {
    command: Arc<EncodedCommand>,
    /// Whether the lease may be known to Redis.
    sent: bool,
}

/// The slots of one part of a lease, which must be released in Redis.
pub(crate) struct PendingRelease {
    pub(crate) lease: u64,
    pub(crate) command: Arc<EncodedCommand>,
    /// The index of the part.
    pub(crate) part: usize,
    /// When the lease expires by itself.
    pub(crate) until: Instant,
    /// Whether Redis may grant the lease after its release: a command on a lost connection can
    /// arrive later than a command on the next connection.
    pub(crate) may_come_late: bool,
}

impl PendingRelease {
    pub(crate) fn part(&self) -> &Part {
        &self.command.parts()[self.part]
    }

    /// The release of all parts of a lease that hold slots.
    pub(crate) fn all(lease: u64, command: &Arc<EncodedCommand>, until: Instant) -> Vec<Self> {
        let holds = |part: &usize| command.parts()[*part].slots().next().is_some();
        let parts = (0..command.parts().len()).filter(holds);
        let release = |part| Self {
            lease,
            command: Arc::clone(command),
            part,
            until,
            may_come_late: false,
        };
        parts.map(release).collect()
    }
}

impl LeaseTable {
    pub(crate) fn next_lease(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Adds a lease that Redis has granted.
    pub(crate) fn hold(&mut self, lease: u64, command: Arc<EncodedCommand>) {
        let sent = true;
        self.leases.insert(lease, HeldLease { command, sent });
    }

    /// Adds a lease that Redis does not know.
    pub(crate) fn hold_unsent(&mut self, lease: u64, command: Arc<EncodedCommand>) {
        let sent = false;
        self.leases.insert(lease, HeldLease { command, sent });
    }

    /// Removes a lease. Returns the command to release in Redis, or `None` if the lease was not
    /// held or Redis never knew it. Requests that start and end while Redis is unavailable
    /// therefore leave nothing behind.
    pub(crate) fn release(&mut self, lease: u64) -> Option<Arc<EncodedCommand>> {
        let held = self.leases.remove(&lease)?;
        held.sent.then_some(held.command)
    }

    /// The leases in each hash slot that this predicate selects.
    pub(crate) fn leases_in(&self, is_in: impl Fn(u16) -> bool) -> BTreeMap<u16, Vec<u64>> {
        let mut leases: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for (&lease, held) in &self.leases {
            for part in held.command.parts() {
                if part.slots().next().is_some() && is_in(part.slot()) {
                    leases.entry(part.slot()).or_default().push(lease);
                }
            }
        }
        leases
    }

    /// The slots in this hash slot of those leases that are still held. They are about to be sent
    /// to Redis.
    pub(crate) fn slots_to_send(&mut self, hash_slot: u16, leases: &[u64]) -> Vec<Slot> {
        let mut slots = Vec::new();
        for &lease in leases {
            let Some(held) = self.leases.get_mut(&lease) else {
                continue;
            };
            held.sent = true;
            let slot = |key: &str| Slot {
                lease,
                key: key.to_owned(),
            };
            let mut parts = held.command.parts().iter();
            let part = parts.find(|part| part.slot() == hash_slot);
            slots.extend(part.into_iter().flat_map(|part| part.slots()).map(slot));
        }
        slots
    }

    /// The missing slots, by index, whose leases were not released meanwhile.
    pub(crate) fn still_held(&self, slots: Vec<Slot>, missing: &[i64]) -> Vec<Slot> {
        let missing = (0..)
            .zip(slots)
            .filter(|(index, _)| missing.contains(index));
        let held = missing.filter(|(_, slot)| self.leases.contains_key(&slot.lease));
        held.map(|(_, slot)| slot).collect()
    }

    /// Keeps a release for the next heartbeat. A part that only rates limit holds nothing.
    pub(crate) fn add_pending(&mut self, release: PendingRelease) {
        if release.part().slots().next().is_some() {
            self.pending_releases.push(release);
        }
    }

    /// Takes the pending releases in the hash slots that this predicate selects, except those of
    /// expired leases.
    pub(crate) fn take_pending(
        &mut self,
        now: Instant,
        is_in: impl Fn(u16) -> bool,
    ) -> Vec<PendingRelease> {
        let pending = std::mem::take(&mut self.pending_releases);
        let pending = pending.into_iter().filter(|release| release.until > now);
        let (taken, others) = pending.partition(|release| is_in(release.part().slot()));
        self.pending_releases = others;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use voxgate::rate_limit::{AcquireRequest, Limits};

    use super::*;
    use crate::keys::Keys;

    fn command(namespace: &str, key: Limits) -> Arc<EncodedCommand> {
        let upstream = NonZeroU32::new(9).expect("a limit");
        let request = AcquireRequest::new("k", key).with_upstream_concurrency(upstream);
        Arc::new(EncodedCommand::new(&Keys::new(namespace, false), &request))
    }

    #[test]
    fn a_lease_unknown_to_redis_is_not_released_in_redis() {
        let command = || command("voxgate", Limits::default());
        let mut table = LeaseTable::default();
        table.hold_unsent(1, command());
        assert!(table.release(1).is_none(), "it came and went without Redis");
        table.hold_unsent(2, command());
        assert_eq!(table.slots_to_send(0, &[1, 2, 3]).len(), 1);
        assert!(table.release(2).is_some(), "a heartbeat has sent it");
        table.hold(3, command());
        assert!(table.release(3).is_some(), "Redis has granted it");
        assert!(table.release(3).is_none(), "it is released once");
    }

    /// In a cluster, a key's rate is a part of its own, next to the upstream's slots.
    #[test]
    fn a_part_without_slots_is_not_released() {
        let limits = Limits {
            rate: voxgate::Rate::parse("5/s"),
            ..Limits::default()
        };
        let upstream = NonZeroU32::new(9).expect("a limit");
        let request = AcquireRequest::new("k", limits).with_upstream_concurrency(upstream);
        let command = Arc::new(EncodedCommand::new(&Keys::new("n", true), &request));
        assert_eq!(command.parts().len(), 2);
        let now = Instant::now();
        let until = now + std::time::Duration::from_secs(1);
        let releases = PendingRelease::all(1, &command, until);
        let parts: Vec<_> = releases.iter().map(|release| release.part).collect();
        assert_eq!(parts, [1], "only the upstream's");
        let mut table = LeaseTable::default();
        table.add_pending(PendingRelease {
            lease: 1,
            command,
            part: 0,
            until,
            may_come_late: true,
        });
        assert!(table.take_pending(now, |_| true).is_empty());
    }

    #[test]
    fn a_released_lease_is_not_put_back() {
        let limits = Limits {
            concurrency: NonZeroU32::new(9),
            ..Limits::default()
        };
        let command = command("n", limits);
        let mut table = LeaseTable::default();
        let leases: Vec<u64> = (0..4).map(|_| table.next_lease()).collect();
        for lease in &leases {
            table.hold(*lease, Arc::clone(&command));
        }
        assert_eq!(table.leases_in(|slot| slot == 0)[&0], leases);
        assert!(table.leases_in(|slot| slot != 0).is_empty());
        let slots = table.slots_to_send(0, &leases);
        assert_eq!(slots.len(), 8);
        assert!(table.release(leases[1]).is_some());
        assert!(table.release(leases[1]).is_none(), "it is released once");
        let lost = table.still_held(slots, &[0, 2, 3, 7]);
        let lost: Vec<_> = lost.iter().map(|it| (it.lease, it.key.as_str())).collect();
        let expected = [
            (leases[0], "{n}:slots:key:k"),
            (leases[3], "{n}:slots:upstream"),
        ];
        assert_eq!(lost, expected);
    }
}
