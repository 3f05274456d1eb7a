//! The wait queue: one queue for each key, and keys take turns.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Items that wait, in one queue for each key.
///
/// Items of one key leave in the order of their numbers. Keys take turns: a key whose item was
/// served goes behind all other keys, and a new key goes behind those that wait already.
///
/// The local store and shared stores schedule requests with this queue. The queue has no clock, no
/// maximum length and no lock.
#[derive(Debug)]
pub struct WaitQueue<T> {
    /// By number.
    entries: BTreeMap<u64, Entry<T>>,
    /// The numbers of each key's items, in order. A key without items is not in here.
    queues: HashMap<Arc<str>, VecDeque<u64>>,
    /// The keys that have items. The next turn is first.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Entry<T> {
    key: Arc<str>,
    item: T,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            queues: HashMap::new(),
            turns: VecDeque::new(),
        }
    }
}

impl<T> WaitQueue<T> {
    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no item waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many items of this key wait.
    #[must_use]
    pub fn len_of(&self, key: &str) -> usize {
        self.queues.get(key).map_or(0, VecDeque::len)
    }

    /// The last item of this key.
    #[must_use]
    pub fn last_of(&self, key: &str) -> Option<&T> {
        self.get(*self.queues.get(key)?.back()?)
    }

    /// How many items the key with the most items has, and the number of its last one. Of several
    /// such keys, it is the one whose last item has the highest number.
    #[must_use]
    pub fn longest(&self) -> Option<(usize, u64)> {
        let last = |queue: &VecDeque<u64>| Some((queue.len(), *queue.back()?));
        self.queues.values().filter_map(last).max()
    }

    /// The item with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&T> {
        self.entries.get(&number).map(|entry| &entry.item)
    }

    /// The item with this number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.entries.get_mut(&number).map(|entry| &mut entry.item)
    }

    /// All items with their numbers, the smallest number first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let entries = self.entries.iter();
        entries.map(|(number, entry)| (*number, &entry.item))
    }

    /// Adds an item to its key's queue, in the order of numbers. Each number is used once.
    pub fn insert(&mut self, number: u64, key: &str, item: T) {
        let known = self
            .queues
            .get_key_value(key)
            .map(|(key, _)| Arc::clone(key));
        let key = known.unwrap_or_else(|| {
            let key: Arc<str> = key.into();
            self.turns.push_back(Arc::clone(&key));
            key
        });
        let queue = self.queues.entry(Arc::clone(&key)).or_default();
        let at = queue.partition_point(|other| *other < number);
        queue.insert(at, number);
        self.entries.insert(number, Entry { key, item });
    }

    /// Puts back an item that could not be served. Its key has the next turn again.
    pub fn put_back(&mut self, number: u64, key: &str, item: T) {
        self.insert(number, key, item);
        if let Some(turn) = self.turns.iter().position(|other| **other == *key)
            && let Some(key) = self.turns.remove(turn)
        {
            self.turns.push_front(key);
        }
    }

    /// The first item of the key whose turn comes after `turn` other keys.
    #[must_use]
    pub fn peek(&self, turn: usize) -> Option<(u64, &T)> {
        let queue = self.queues.get(self.turns.get(turn)?)?;
        let number = *queue.front()?;
        Some((number, self.get(number)?))
    }

    /// Serves the first item of the key whose turn is next.
    pub fn pop(&mut self) -> Option<T> {
        let (number, _) = self.peek(0)?;
        self.serve(number)
    }

    /// Removes an item and ends the turn of its key.
    pub fn serve(&mut self, number: u64) -> Option<T> {
        let key = Arc::clone(&self.entries.get(&number)?.key);
        if let Some(turn) = self.turns.iter().position(|other| *other == key) {
            self.turns.remove(turn);
            self.turns.push_back(key);
        }
        self.remove(number)
    }

    /// Removes an item. Its key keeps its turn if it has another item.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let Entry { key, item } = self.entries.remove(&number)?;
        if let Some(queue) = self.queues.get_mut(&key) {
            if let Ok(at) = queue.binary_search(&number) {
                queue.remove(at);
            }
            if queue.is_empty() {
                self.queues.remove(&key);
                // Served keys are last.
                if let Some(turn) = self.turns.iter().rposition(|other| *other == key) {
                    self.turns.remove(turn);
                }
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: &[(u64, &'static str)]) -> WaitQueue<String> {
        let mut queue = WaitQueue::default();
        for (number, key) in items {
            queue.insert(*number, key, format!("{key}{number}"));
        }
        queue
    }

    fn drain(queue: &mut WaitQueue<String>) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn keys_take_turns_and_each_keeps_its_order() {
        let mut queue = queue(&[(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c"), (6, "b")]);
        assert_eq!((queue.len(), queue.len_of("a")), (6, 3));
        assert_eq!(queue.longest(), Some((3, 3)));
        queue.insert(7, "b", "b7".to_owned());
        assert_eq!(queue.longest(), Some((3, 7)), "the newest of equals");
        assert_eq!(queue.remove(7).as_deref(), Some("b7"));
        assert_eq!(queue.last_of("b").map(String::as_str), Some("b6"));
        assert_eq!(drain(&mut queue), ["a1", "b4", "c5", "a2", "b6", "a3"]);
        assert!(queue.is_empty() && queue.queues.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_key_whose_item_is_put_back_keeps_its_turn() {
        let mut queue = queue(&[(1, "a"), (2, "b"), (3, "a")]);
        let first = queue.pop().expect("the first");
        queue.insert(4, "c", "c4".to_owned());
        queue.put_back(1, "a", first);
        assert_eq!(drain(&mut queue), ["a1", "b2", "c4", "a3"]);
    }

    #[test]
    fn a_new_key_comes_after_the_waiting_keys() {
        let mut queue = queue(&[(1, "a"), (2, "b"), (3, "a"), (4, "b")]);
        queue.pop();
        queue.insert(5, "c", "c5".to_owned());
        assert_eq!(drain(&mut queue), ["b2", "a3", "c5", "b4"]);
    }

    #[test]
    fn an_item_with_a_lower_number_is_queued_first() {
        let mut queue = queue(&[(3, "a"), (5, "a")]);
        queue.insert(1, "a", "a1".to_owned());
        queue.insert(4, "a", "a4".to_owned());
        assert_eq!(queue.remove(3).as_deref(), Some("a3"));
        assert_eq!(queue.remove(3), None);
        assert_eq!(drain(&mut queue), ["a1", "a4", "a5"]);
    }

    #[test]
    fn skipped_keys_keep_their_turns() {
        let mut queue = queue(&[(1, "a"), (2, "b"), (3, "c")]);
        let (number, _) = queue.peek(1).expect("the second key");
        assert_eq!(queue.serve(number).as_deref(), Some("b2"));
        assert_eq!(drain(&mut queue), ["a1", "c3"]);
    }
}
