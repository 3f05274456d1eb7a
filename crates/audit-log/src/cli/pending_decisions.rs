//! Accepted requests whose completion has not been read yet.

use std::collections::{BTreeMap, HashMap};

/// Maximum size in bytes. When it is exceeded, the oldest requests are dropped.
const MAX_BYTES: usize = 64 << 20;

/// Lines of decisions, by request id.
pub(super) struct PendingDecisions {
    lines: BTreeMap<u64, (Box<str>, Box<str>)>,
    arrivals: HashMap<Box<str>, u64>,
    next: u64,
    bytes: usize,
    max_bytes: usize,
}

impl PendingDecisions {
    pub(super) fn new() -> Self {
        Self {
            lines: BTreeMap::new(),
            arrivals: HashMap::new(),
            next: 0,
            bytes: 0,
            max_bytes: MAX_BYTES,
        }
    }

    /// Keeps a decision. Returns the decisions that it displaces, the oldest first.
    pub(super) fn insert(&mut self, request_id: &str, line: &str) -> Vec<Box<str>> {
        let mut given_up: Vec<Box<str>> = self.take(request_id).into_iter().collect();
        self.bytes += cost(request_id, line);
        self.arrivals.insert(request_id.into(), self.next);
        self.lines
            .insert(self.next, (request_id.into(), line.into()));
        self.next += 1;
        while self.bytes > self.max_bytes {
            let Some((_, (request_id, line))) = self.lines.pop_first() else {
                break;
            };
            self.arrivals.remove(&request_id);
            self.bytes -= cost(&request_id, &line);
            given_up.push(line);
        }
        given_up
    }

    /// Removes and returns the decision of a request that has ended.
    pub(super) fn take(&mut self, request_id: &str) -> Option<Box<str>> {
        let arrival = self.arrivals.remove(request_id)?;
        let (request_id, line) = self.lines.remove(&arrival)?;
        self.bytes -= cost(&request_id, &line);
        Some(line)
    }

    /// Removes and returns all remaining decisions, the oldest first.
    pub(super) fn take_all(&mut self) -> Vec<Box<str>> {
        self.arrivals.clear();
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        lines.into_values().map(|(_, line)| line).collect()
    }
}

fn cost(request_id: &str, line: &str) -> usize {
    2 * request_id.len() + line.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_decisions_are_dropped_when_there_are_too_many() {
        let mut open = PendingDecisions::new();
        open.max_bytes = 3 * cost("a", "line 1");
        for request in ["a", "b", "c"] {
            assert_eq!(open.insert(request, "line 1").len(), 0);
        }
        assert_eq!(open.take("b").as_deref(), Some("line 1"));
        assert_eq!(open.take("b"), None);
        assert_eq!(open.insert("d", "line 2").len(), 0);
        assert_eq!(open.insert("e", "line 3"), [Box::from("line 1")]);
        assert_eq!(open.insert("d", "line 4"), [Box::from("line 2")]);
        assert_eq!(
            open.take_all(),
            ["line 1", "line 3", "line 4"].map(Box::from)
        );
        assert_eq!(open.bytes, 0);
    }
}
