//! Tracks the sequence numbers of an instance's records.

/// Maximum number of separate gaps. If there are more, the oldest are taken as final.
const MAX_RANGES: usize = 4096;

/// A set of numbers, stored as ranges that do not touch.
#[derive(Debug, Default)]
struct Ranges {
    ranges: Vec<(u64, u64)>,
    /// How many numbers of the first range are missing.
    holes: u64,
}

impl Ranges {
    /// Adds these numbers. Returns whether the first was already present.
    fn add(&mut self, from: u64, to: u64) -> bool {
        match self.ranges.last_mut() {
            // The usual case: numbers in order.
            Some((_, last)) if from == last.saturating_add(1) => {
                *last = to;
                return false;
            }
            _ => {}
        }
        let after = self.ranges.partition_point(|(begin, _)| *begin <= from);
        let known = after > 0 && self.ranges[after - 1].1 >= from;
        let begin = self
            .ranges
            .partition_point(|(_, end)| end.saturating_add(1) < from);
        let end = self
            .ranges
            .partition_point(|(begin, _)| *begin <= to.saturating_add(1));
        let joined = self.ranges[begin..end]
            .iter()
            .fold((from, to), |range, other| {
                (range.0.min(other.0), range.1.max(other.1))
            });
        self.ranges.splice(begin..end, [joined]);
        if self.ranges.len() > MAX_RANGES {
            let (begin, end) = self.ranges.remove(0);
            self.holes += self.ranges[0].0 - end - 1;
            self.ranges[0].0 = begin;
        }
        known
    }

    fn span(&self) -> Option<(u64, u64)> {
        Some((self.ranges.first()?.0, self.ranges.last()?.1))
    }

    fn count(&self) -> u64 {
        let numbers = self
            .ranges
            .iter()
            .map(|(begin, end)| (end - begin).saturating_add(1));
        numbers
            .fold(0, u64::saturating_add)
            .saturating_sub(self.holes)
    }
}

/// The sequence numbers of one instance.
#[derive(Debug, Default)]
pub(in super::super) struct Sequence {
    seen: Ranges,
    /// Numbers that were seen, or that a gap record names.
    accounted: Ranges,
    pub(in super::super) repeated: u64,
    pub(in super::super) stopped: bool,
}

impl Sequence {
    pub(super) fn saw(&mut self, seq: u64) {
        if self.seen.add(seq, seq) {
            self.repeated += 1;
        }
        self.accounted.add(seq, seq);
    }

    /// Adds the numbers that a gap record names as lost.
    pub(super) fn saw_gap(&mut self, from: u64, to: u64) {
        if from <= to {
            self.accounted.add(from, to);
        }
    }

    /// Returns the first number, if there is any.
    pub(in super::super) fn begins(&self) -> Option<u64> {
        Some(self.accounted.span()?.0)
    }

    /// Returns how many numbers are missing between the first and the last.
    pub(in super::super) fn lost(&self) -> u64 {
        self.span().saturating_sub(self.seen.count())
    }

    /// Returns how many of the missing numbers are not named by a gap record.
    pub(in super::super) fn unaccounted(&self) -> u64 {
        self.span().saturating_sub(self.accounted.count())
    }

    fn span(&self) -> u64 {
        let span = self.accounted.span();
        span.map_or(0, |(begin, end)| (end - begin).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(numbers: &[u64]) -> Sequence {
        let mut sequence = Sequence::default();
        for number in numbers {
            sequence.saw(*number);
        }
        sequence
    }

    #[test]
    fn missing_numbers_are_compared_with_gap_records() {
        let mut some = sequence(&[3, 4, 5, 9, 8, 12]);
        assert_eq!(
            (some.begins(), some.lost(), some.unaccounted()),
            (Some(3), 4, 4)
        );
        some.saw_gap(6, 7);
        assert_eq!((some.lost(), some.unaccounted()), (4, 2));
        some.saw_gap(13, 15);
        assert_eq!((some.lost(), some.unaccounted(), some.repeated), (7, 2, 0));
        some.saw(4);
        assert_eq!((some.lost(), some.repeated), (7, 1));
        some.saw_gap(1, 0);
        some.saw_gap(0, u64::MAX);
        assert_eq!(some.begins(), Some(0));
        assert_eq!(Sequence::default().lost(), 0);
    }

    #[test]
    fn many_gaps_are_counted_in_bounded_memory() {
        let numbers: Vec<u64> = (0..20_000).map(|number| 2 * number + 1).collect();
        let many = sequence(&numbers);
        assert_eq!(many.lost(), 19_999);
        assert!(many.seen.ranges.len() <= MAX_RANGES);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(mut numbers in proptest::collection::vec(1..60_u64, 1..80)) {
            let found = sequence(&numbers);
            let total = numbers.len() as u64;
            numbers.sort_unstable();
            let span = numbers[numbers.len() - 1] - numbers[0] + 1;
            numbers.dedup();
            let different = numbers.len() as u64;
            prop_assert_eq!(found.lost(), span - different);
            prop_assert_eq!(found.repeated, total - different);
        }
    }
}
