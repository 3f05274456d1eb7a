//! Whether every `seq` of an instance is there, or said to be lost.

/// The sequence numbers of one instance, in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The number after the highest one that was seen; `None` before the first one of a log whose
    /// beginning is no longer there.
    next: Option<u64>,
    /// Numbers, first and last, that were neither seen nor said to be lost, and the place where
    /// that showed.
    holes: Vec<(u64, u64, Place)>,
    /// Numbers, first and last, that were said to be lost before that showed.
    announced: Vec<(u64, u64)>,
}

/// The segment and the line that came after a hole.
pub(super) type Place = (u64, u64);

/// A number came twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated;

impl Sequence {
    /// Of an instance whose first line is in the log.
    pub(super) fn from_start() -> Self {
        Self {
            next: Some(1),
            ..Self::default()
        }
    }

    /// Of an instance whose first lines may have been deleted.
    pub(super) fn from_the_middle() -> Self {
        Self::default()
    }

    pub(super) fn saw(&mut self, seq: u64, place: Place) -> Result<(), Repeated> {
        let next = match self.next {
            // Counting may begin with zero.
            Some(1) if seq == 0 && self.holes.is_empty() => return Ok(()),
            Some(next) => next,
            None => seq,
        };
        if seq < next {
            let missing = self
                .holes
                .iter()
                .any(|(from, to, _)| (*from..=*to).contains(&seq));
            self.fill(seq, seq);
            return missing.then_some(()).ok_or(Repeated);
        }
        self.next = Some(seq.saturating_add(1));
        if seq > next {
            self.holes.push((next, seq - 1, place));
            for (from, to) in std::mem::take(&mut self.announced) {
                self.lost(from, to);
            }
        }
        Ok(())
    }

    /// These numbers, first and last, are said to be lost.
    pub(super) fn lost(&mut self, from: u64, to: u64) {
        self.fill(from, to);
        if self.next.is_some_and(|next| to >= next) {
            self.announced.push((from, to));
        }
    }

    /// The first numbers of which nothing is known.
    pub(super) fn hole(&self) -> Option<(u64, u64, Place)> {
        self.holes.iter().min().copied()
    }

    fn fill(&mut self, from: u64, to: u64) {
        let cut = |(first, last, place): (u64, u64, Place)| {
            if to < first || last < from {
                return [Some((first, last, place)), None];
            }
            let before = (first < from).then(|| (first, from - 1, place));
            let after = (to < last).then(|| (to + 1, last, place));
            [before, after]
        };
        let holes = std::mem::take(&mut self.holes);
        self.holes = holes.into_iter().flat_map(cut).flatten().collect();
    }
}
