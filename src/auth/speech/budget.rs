//! The memory of all bodies that are held at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bounds the bytes of all bodies that are held at once.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    most: usize,
    used: AtomicUsize,
}

/// Bytes of a budget. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self(Arc::new(BudgetState { most, used }))
    }

    /// An empty reservation.
    pub(super) fn reservation(&self) -> Reservation {
        let budget = self.clone();
        Reservation { budget, bytes: 0 }
    }
}

impl Reservation {
    /// The bytes that it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more bytes, unless the budget is used up.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let BudgetState { most, used } = &*self.budget.0;
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| sum <= most)
        });
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_and_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.reservation();
        let mut second = budget.clone().reservation();
        assert!(first.grow(6) && second.grow(4));
        assert!(!second.grow(1) && !first.grow(usize::MAX));
        drop(first);
        assert!(second.grow(6) && !second.grow(1));
    }
}
