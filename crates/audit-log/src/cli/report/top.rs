//! Counts the most frequent names in bounded memory.

use std::collections::HashMap;

/// Minimum number of names to keep. An attacker can send any number of different credentials.
const CAPACITY: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry {
    /// How often the name occurred, at most.
    pub(in super::super) count: u64,
    /// By how much the count may be too high.
    pub(in super::super) error: u64,
    pub(in super::super) first: String,
    pub(in super::super) last: String,
}

/// Drops the rarest names when there are too many (Misra and Gries, 1982). A name that occurred
/// more often than `forgotten` is always kept.
#[derive(Debug, Default)]
pub(in super::super) struct Top {
    entries: HashMap<String, Entry>,
    /// Maximum number of times that a dropped name can have occurred.
    forgotten: u64,
}

impl Top {
    pub(super) fn add(&mut self, name: &str, ts: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.count += 1;
            ts.clone_into(&mut entry.last);
            return;
        }
        let entry = Entry {
            count: self.forgotten + 1,
            error: self.forgotten,
            first: ts.to_owned(),
            last: ts.to_owned(),
        };
        self.entries.insert(name.to_owned(), entry);
        if self.entries.len() >= 2 * CAPACITY {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let mut counts: Vec<u64> = self.entries.values().map(|entry| entry.count).collect();
        let rare = counts.len() - CAPACITY;
        let (_, limit, _) = counts.select_nth_unstable(rare);
        let limit = *limit;
        self.entries.retain(|_, entry| entry.count > limit);
        self.forgotten = self.forgotten.max(limit);
    }

    /// Returns the most frequent names, the most frequent first.
    pub(in super::super) fn most(&self, wanted: usize) -> Vec<(&str, &Entry)> {
        let mut all: Vec<(&str, &Entry)> = self
            .entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
            .collect();
        let surely = |entry: &Entry| entry.count - entry.error;
        all.sort_by(|(a, one), (b, other)| surely(other).cmp(&surely(one)).then(a.cmp(b)));
        all.truncate(wanted);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequent_name_is_found_among_any_number_of_others() {
        let mut top = Top::default();
        for number in 0..100_000 {
            top.add(&format!("made up {number}"), "t");
            if number % 100 == 0 {
                top.add("guesser", "t");
            }
        }
        assert!(top.entries.len() < 2 * CAPACITY);
        let (name, entry) = top.most(10)[0];
        assert_eq!(name, "guesser");
        assert!(
            (entry.count - entry.error..=entry.count).contains(&1000),
            "{entry:?}"
        );
    }

    #[test]
    fn a_few_names_are_counted_exactly() {
        let mut top = Top::default();
        for (name, ts) in [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")] {
            top.add(name, ts);
        }
        let most = top.most(2);
        assert_eq!((most[0].0, most[1].0), ("b", "a"));
        let expected = Entry {
            count: 2,
            error: 0,
            first: "2".to_owned(),
            last: "3".to_owned(),
        };
        assert_eq!(most[0].1, &expected);
    }
}
