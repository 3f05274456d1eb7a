//! The counters of one key or account.

use voxgate::rate_limit::{Amounts, Quota, QuotaUnit};

/// How many days, and how many months, are kept. A clock that steps back finds its period again.
const KEPT: usize = 3;

/// What one key or account uses, by period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    tallies: Vec<Tally>,
    /// As they were last seen, for metrics.
    pub(crate) quotas: Box<[Quota]>,
    /// Whether it comes from the state file or the audit log: its quotas are not known before its
    /// first request.
    pub(crate) is_restored: bool,
}

/// The counters of one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// 20261128 or 20261100.
    pub(crate) period: u32,
    /// What is used, as far as this process knows: of all replicas, if they share it.
    pub(crate) used: Amounts,
    /// What this process has contributed.
    pub(crate) own: Amounts,
    /// What this process has added since the store last answered.
    pub(crate) unshared: Amounts,
    /// What the store has yet to take back.
    pub(crate) take_back: Amounts,
    /// The units whose 80 % were reported.
    pub(crate) reported: [bool; 3],
}

impl Entry {
    /// The counters of a period, if anything was counted in it.
    pub(crate) fn get(&self, period: u32) -> Option<&Tally> {
        self.tallies.iter().find(|tally| tally.period == period)
    }

    /// Whether the state file has it.
    pub(crate) fn is_persistent(&self) -> bool {
        self.is_restored || !self.quotas.is_empty()
    }

    pub(crate) fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// The counters of a period. The oldest periods are forgotten.
    pub(crate) fn tally(&mut self, period: u32) -> &mut Tally {
        if let Some(at) = self.tallies.iter().position(|it| it.period == period) {
            return &mut self.tallies[at];
        }
        let is_month = |period: u32| period.is_multiple_of(100);
        let of_kind = |tally: &&Tally| is_month(tally.period) == is_month(period);
        if self.tallies.iter().filter(of_kind).count() >= KEPT {
            let oldest = self
                .tallies
                .iter()
                .filter(of_kind)
                .map(|it| it.period)
                .min();
            self.tallies.retain(|tally| Some(tally.period) != oldest);
        }
        self.tallies.push(Tally {
            period,
            ..Tally::default()
        });
        let last = self.tallies.len() - 1;
        &mut self.tallies[last]
    }
}

impl Tally {
    pub(crate) fn add(&mut self, amounts: Amounts) {
        add(&mut self.used, amounts);
        add(&mut self.own, amounts);
        add(&mut self.unshared, amounts);
    }

    /// Takes back what was counted and not used.
    pub(crate) fn give_back(&mut self, amounts: Amounts, is_shared: bool) {
        for (at, amount) in amounts.into_iter().enumerate() {
            let amount = amount.min(self.own[at]);
            self.own[at] -= amount;
            self.used[at] = self.used[at].saturating_sub(amount);
            // What the store does not know is not taken back from it.
            let unknown = amount.min(self.unshared[at]);
            self.unshared[at] -= unknown;
            if is_shared {
                self.take_back[at] = self.take_back[at].saturating_add(amount);
            }
        }
    }

    /// What of its own contribution the store has confirmed.
    pub(crate) fn confirmed(&self) -> Amounts {
        let mut confirmed = self.own;
        for (confirmed, unshared) in confirmed.iter_mut().zip(self.unshared) {
            *confirmed = confirmed.saturating_sub(unshared);
        }
        confirmed
    }

    pub(crate) fn used(&self, unit: QuotaUnit) -> u64 {
        self.used[unit as usize]
    }
}

pub(crate) fn add(sum: &mut Amounts, amounts: Amounts) {
    for (sum, amount) in sum.iter_mut().zip(amounts) {
        *sum = sum.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_periods_are_forgotten_and_a_step_back_is_not() {
        let mut entry = Entry::default();
        entry.tally(20_261_100).add([7, 0, 0]);
        for day in 20_261_101..20_261_131 {
            entry.tally(day).add([1, 1, 1]);
        }
        assert_eq!(entry.tallies().len(), 4);
        assert_eq!(entry.get(20_261_100).map(|it| it.used), Some([7, 0, 0]));
        assert_eq!(entry.tally(20_261_129).used, [1, 1, 1], "the day before");
        assert_eq!(entry.get(20_261_101), None);
    }

    #[test]
    fn nothing_is_given_back_twice() {
        let mut tally = Tally::default();
        tally.add([5, 1, 0]);
        tally.give_back([5, 1, 0], true);
        tally.give_back([5, 1, 9], true);
        assert_eq!((tally.used, tally.own), ([0; 3], [0; 3]));
        assert_eq!(tally.take_back, [5, 1, 0]);
    }
}
